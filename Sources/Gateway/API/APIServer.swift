import Addresses
import Hummingbird
import HummingbirdCore
import Logging
import NIOCore
import NIOSSL

/// The control API over TLS.
struct APIServer: Sendable {
    /// Connections at a time; more wait to be accepted.
    static let capacity = 128
    /// For a connection that says nothing: a handshake or a request that does not come.
    static let idleTimeout = TimeAmount.seconds(60)

    private let address: Endpoint
    private let serve: @Sendable () async throws -> Void

    init(
        _ address: Endpoint, _ certificate: APICertificate, router: Router<ControlContext>, logger: Logger,
        onRunning: @escaping @Sendable (any Channel) async -> Void = { _ in }
    ) {
        self.address = address
        var decoder = HTTP1Channel.Configuration.DecoderConfiguration()
        decoder.maxHeaderFieldSize = 8192
        decoder.maxHeaderListSize = 16384
        decoder.maxHeaderFieldCount = 100
        let http = HTTP1Channel.Configuration(idleTimeout: Self.idleTimeout, httpDecoderConfiguration: decoder)
        var quiet = logger
        // What strangers do wrong with TLS is not worth a line each.
        quiet.logLevel = max(logger.logLevel, .critical)
        let application = Application(
            router: router, server: HTTPServerBuilder { responder in TLSConnections(certificate, HTTP1Channel(responder: responder, configuration: http)) },
            configuration: .init(
                address: .hostname("\(address.address)", port: Int(address.port)), serverName: "causeway",
                availableConnectionsDelegate: MaximumAvailableConnections(Self.capacity)),
            onServerRunning: { channel in
                logger.info("control API on https://\(address), with tokens")
                await onRunning(channel)
            }, logger: quiet)
        serve = { try await application.run() }
    }

    /// Until it is told to shut down.
    func run() async throws {
        do { try await serve() } catch let error as IOError {
            throw GatewayError("api.listen: cannot listen on \(address): \(error)")
        }
    }
}

/// Connections that begin with a TLS handshake, each with the certificate of that moment.
private struct TLSConnections: ServerChildChannel {
    typealias Value = HTTP1Channel.Value

    let certificate: APICertificate
    let http: HTTP1Channel

    init(_ certificate: APICertificate, _ http: HTTP1Channel) {
        self.certificate = certificate
        self.http = http
    }

    func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
        let context = certificate.context
        return channel.eventLoop.makeCompletedFuture { try channel.pipeline.syncOperations.addHandler(NIOSSLServerHandler(context: context)) }
            .flatMap { http.setup(channel: channel, logger: logger) }
    }

    func handle(value: Value, logger: Logger) async { await http.handle(value: value, logger: logger) }
}
