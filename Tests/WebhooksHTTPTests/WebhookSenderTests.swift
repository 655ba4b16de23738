import Authentication
import Logging
import Migration
import Testing

@testable import Webhooks
@testable import WebhooksHTTP

private func event(_ user: String, _ kind: WebhookEvent.Kind = .firstLegacyLogin) -> WebhookEvent {
    WebhookEvent(id: "id-\(user)", kind: kind, user: user, at: 1_700_000_000, instance: "gw-1")
}

/// Over real sockets.
@Suite(.timeLimit(.minutes(1))) struct WebhookSenderTests {
    private let secret = Secret(utf8: "a secret of the receiver")

    private func limits(attempts: Int = 10, capacity: Int = 1000, delay: Duration = .milliseconds(20)) -> WebhookQueue.Limits {
        var limits = WebhookQueue.Limits()
        limits.firstDelay = delay
        limits.longestDelay = .milliseconds(200)
        limits.attempts = attempts
        limits.capacity = capacity
        return limits
    }

    /// Runs a sender until `done` says so.
    private func run(
        _ url: String, events: [WebhookEvent], only: Set<String> = [], limits: WebhookQueue.Limits, timeout: Duration = .seconds(10),
        until done: (WebhookSender) async -> Bool
    ) async throws {
        let transport = HTTPTransport(timeout: timeout)
        let sender = WebhookSender(
            try WebhookReceiver(url: url, secret: secret, events: only), transport: transport, limits: limits, clock: { 1_700_000_123 },
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let task = Task { await sender.run() }
        for event in events { await sender.add(event) }
        while !(await done(sender)) { try await Task.sleep(for: .milliseconds(5)) }
        task.cancel()
        await task.value
        await transport.shutdown()
    }

    @Test func `a receiver that fails twice gets everything in order, signed`() async throws {
        let server = try ScriptedServer([.status(500), .status(503), .status(200)])
        try await run(server.url, events: ["ann", "bob", "eve"].map { event($0) }, limits: limits()) { await $0.arrived == 3 }
        let requests = server.requests
        #expect(requests.map { $0.header("Causeway-Delivery") } == ["id-ann", "id-ann", "id-ann", "id-bob", "id-eve"])
        #expect(requests.map { $0.header("Causeway-Attempt") } == ["1", "2", "3", "1", "1"])
        for request in requests {
            #expect(request.head.first == "POST /hook HTTP/1.1")
            #expect(request.header("Content-Type") == "application/json")
            #expect(request.header("Causeway-Event") == "first-legacy-login")
            let signature = try #require(request.header(WebhookSignature.header))
            #expect(WebhookSignature.isValid(signature, of: request.body, secret: secret, at: 1_700_000_200))
        }
        #expect(requests.last?.body == event("eve").json)
    }

    @Test func `a receiver that says nothing is given up on after its time, and tried again`() async throws {
        let server = try ScriptedServer([.silence, .status(204)])
        try await run(server.url, events: [event("ann")], limits: limits(), timeout: .milliseconds(300)) { await $0.arrived == 1 }
        #expect(server.requests.map { $0.header("Causeway-Attempt") } == ["1", "2"])
    }

    @Test func `one that hangs up in the middle is tried again`() async throws {
        let server = try ScriptedServer([.hangUp, .status(200)])
        try await run(server.url, events: [event("ann")], limits: limits()) { await $0.arrived == 1 }
        #expect(server.requests.count == 2)
    }

    @Test func `the head of an endless answer is enough`() async throws {
        let server = try ScriptedServer([.endless])
        try await run(server.url, events: [event("ann"), event("bob")], limits: limits()) { await $0.arrived == 2 }
    }

    @Test func `nobody listens`() async throws {
        let server = try ScriptedServer([.status(200)])
        server.stop()
        try await run(server.url, events: [event("ann")], limits: limits(attempts: 3)) { await $0.givenUp == 1 }
        #expect(server.requests.isEmpty)
    }

    /// A redirection would hand the event, and the signature, to somebody else.
    @Test(arguments: [301, 404, 410]) func `a refusal is final and the next event goes out`(status: Int) async throws {
        let other = try ScriptedServer([.status(200)])
        let server = try ScriptedServer([.status(status, headers: ["Location: \(other.url)"]), .status(200)])
        try await run(server.url, events: [event("ann"), event("bob")], limits: limits()) { await $0.arrived == 1 }
        #expect(server.requests.map { $0.header("Causeway-Delivery") } == ["id-ann", "id-bob"])
        #expect(other.requests.isEmpty)
    }

    @Test func `the receiver's own delay is kept`() async throws {
        let server = try ScriptedServer([.status(429, headers: ["Retry-After: 1"]), .status(200)])
        var limits = limits()
        limits.longestDelay = .seconds(5)
        let began = ContinuousClock.now
        try await run(server.url, events: [event("ann")], limits: limits) { await $0.arrived == 1 }
        #expect(ContinuousClock.now - began >= .seconds(1))
    }

    @Test func `only what the receiver asked for`() async throws {
        let server = try ScriptedServer([.status(200)])
        let change = PhaseChange(from: .legacy, to: .invited, at: 5, mover: .evidence, reason: "")
        try await run(server.url, events: [event("ann"), event("bob", .phaseChange(change))], only: ["phase-change"], limits: limits()) { await $0.arrived == 1 }
        #expect(server.requests.map { $0.header("Causeway-Delivery") } == ["id-bob"])
    }

    @Test func `an outage longer than the queue loses the oldest`() async throws {
        let server = try ScriptedServer([.status(500), .status(500), .status(500), .status(200)])
        try await run(server.url, events: (0..<10).map { event("u\($0)") }, limits: limits(capacity: 4, delay: .milliseconds(200))) { await $0.waiting == 0 }
        let last = server.requests.suffix(3).map { $0.header("Causeway-Delivery") }
        #expect(last == ["id-u7", "id-u8", "id-u9"])
    }

    @Test func `a cancelled sender stops at once, even in the middle of a message`() async throws {
        let server = try ScriptedServer([.silence])
        let began = ContinuousClock.now
        // An answer would be waited for ten times as long.
        try await run(server.url, events: [event("ann")], limits: limits(), timeout: .seconds(300)) { _ in server.requests.count == 1 }
        #expect(ContinuousClock.now - began < .seconds(30))
    }
}
