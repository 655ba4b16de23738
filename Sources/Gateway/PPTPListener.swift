import Addresses
import NIOCore
import NIOPosix
import PPTP
import Settings

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// TCP port 1723 of one listening address: bytes to the controller, nothing else.
struct PPTPListener {
    let channel: any Channel
    /// Connections that wait to be accepted; net.core.somaxconn is the kernel's own bound. Where more come, the kernel drops their SYNs, and
    /// each of them is a second late: all clients come back at once after a restart.
    static let backlog: CInt = 4096

    /// - Parameter descriptor: a socket that listens already (from before the change of user, or from systemd).
    static func open(
        _ listener: CausewayConfiguration.Listener, descriptor: CInt?, controller: SessionController, group: any EventLoopGroup
    ) async throws -> PPTPListener {
        let bootstrap = ServerBootstrap(group: group)
            .serverChannelOption(.backlog, value: backlog)
            .serverChannelOption(.maxMessagesPerRead, value: 32)
            .serverChannelOption(.socketOption(.so_reuseaddr), value: 1)
            .childChannelOption(.socketOption(.tcp_nodelay), value: 1)
            .childChannelOption(.socketOption(.so_keepalive), value: 1)
            // A client that sends faster than it can be answered waits in TCP, not in our memory.
            .childChannelOption(.maxMessagesPerRead, value: 4)
            .childChannelOption(.writeBufferWaterMark, value: .init(low: 8 * 1024, high: 32 * 1024))
            .childChannelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(ControlChannelHandler(listener: listener, controller: controller))
                }
            }
        if let descriptor {
            let channel = try await bootstrap.withBoundSocket(descriptor).get()
            // The bootstrap has listened with a backlog of its own choice, whatever the option says.
            _ = Glibc.listen(descriptor, backlog)
            return PPTPListener(channel: channel)
        }
        do {
            return PPTPListener(
                channel: try await bootstrap.bind(host: listener.address.description, port: Int(listener.port)).get())
        } catch let error as IOError {
            throw GatewayError(Self.explain(errno: error.errnoCode, listener))
        }
    }

    static func explain(errno code: CInt, _ listener: CausewayConfiguration.Listener) -> String {
        let place = "TCP \(Endpoint(listener.address, listener.port))"
        switch code {
        case EADDRINUSE: return "cannot listen on \(place): another program does (see: ss -ltnp sport = :\(listener.port)); stop it first"
        case EADDRNOTAVAIL: return "cannot listen on \(place): this host has no such address (see: ip address)"
        case EACCES: return "cannot listen on \(place): start the gateway as root, or give it the socket (systemd socket unit)"
        default: return "cannot listen on \(place): \(String(cString: strerror(code)))"
        }
    }
}

/// One accepted TCP connection. Runs on the controller's event loop.
private final class ControlChannelHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let listener: CausewayConfiguration.Listener
    private let controller: SessionController
    private var id: ConnectionID?
    private var wasReset = false

    init(listener: CausewayConfiguration.Listener, controller: SessionController) {
        self.listener = listener
        self.controller = controller
    }

    func channelActive(context: ChannelHandlerContext) {
        let channel = context.channel
        guard let remote = IPAddress(channel.remoteAddress), let local = IPAddress(channel.localAddress) else {
            return context.close(promise: nil)
        }
        id = controller.assumeIsolated { [listener] in $0.connected(channel, listener: listener, remote: remote, local: local) }
        if id == nil { context.close(promise: nil) }
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Array(unwrapInboundIn(data).readableBytesView)
        guard let id else { return }
        controller.assumeIsolated { $0.received(bytes, on: id) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        if let id { controller.assumeIsolated { [wasReset] in $0.disconnected(id, wasReset: wasReset) } }
        id = nil
    }

    // A peer that never reads would let replies pile up: it is not a PPTP client.
    func channelWritabilityChanged(context: ChannelHandlerContext) {
        if !context.channel.isWritable { context.close(promise: nil) }
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        wasReset = true
        context.close(promise: nil)
    }
}

extension IPAddress {
    init?(_ address: SocketAddress?) {
        switch address {
        case .v4(let v4): self.init(v4: UInt32(bigEndian: v4.address.sin_addr.s_addr))
        case .v6(let v6): self.init(bytes: withUnsafeBytes(of: v6.address.sin6_addr) { Array($0) })
        default: return nil
        }
    }
}
