import AsyncHTTPClient
import NIOCore
import NIOHTTP1
import Webhooks

/// Over HTTP or HTTPS. Follows no redirection and reads no more of an answer than its head.
public final class HTTPTransport: WebhookTransport {
    private let client: HTTPClient
    private let timeout: TimeAmount

    /// - Parameter timeout: from the look-up of the name to the head of the answer.
    public init(timeout: Duration = .seconds(10)) {
        self.timeout = .nanoseconds(Int64(timeout / .nanoseconds(1)))
        var configuration = HTTPClient.Configuration(redirectConfiguration: .disallow)
        configuration.timeout.connect = min(self.timeout, .seconds(5))
        configuration.httpVersion = .http1Only
        configuration.connectionPool.idleTimeout = .seconds(30)
        // Failures are retried by whoever owns the queue, who also counts them.
        configuration.connectionPool.retryConnectionEstablishment = false
        client = HTTPClient(eventLoopGroupProvider: .singleton, configuration: configuration)
    }

    public func send(_ request: WebhookRequest) async throws -> WebhookResponse {
        var message = HTTPClientRequest(url: request.url)
        message.method = .POST
        for (name, value) in request.headers { message.headers.add(name: name, value: value) }
        message.body = .bytes(request.body)
        let answer = try await client.execute(message, timeout: timeout)
        let seconds = answer.headers.first(name: "Retry-After").flatMap(Int.init).flatMap { $0 >= 0 ? $0 : nil }
        return WebhookResponse(status: Int(answer.status.code), retryAfter: seconds.map { .seconds(min($0, 86_400)) })
    }

    public func shutdown() async { try? await client.shutdown() }
}
