import Addresses
import NIOCore
import PPTP

/// The TCP connection under a control connection. Used on its event loop only.
struct LineChannel {
    let local: IPAddress
    let remote: IPAddress
    private let channel: any Channel

    /// nil if the connection has gone already.
    init?(_ channel: any Channel) {
        guard let local = channel.localAddress?.ipAddress.flatMap(IPAddress.init),
            let remote = channel.remoteAddress?.ipAddress.flatMap(IPAddress.init)
        else { return nil }
        self.local = local
        self.remote = remote
        self.channel = channel
    }

    func send(_ message: Message) {
        channel.writeAndFlush(ByteBuffer(bytes: message.encoded()), promise: nil)
    }

    /// An empty write completes after everything before it.
    func closeWhenWritten() {
        channel.writeAndFlush(ByteBuffer()).whenComplete { [channel] _ in channel.close(promise: nil) }
    }

    func close(promise: EventLoopPromise<Void>?) { channel.close(promise: promise) }

    /// Reads no more, and sends nothing when the socket is closed, not even by the end of the process.
    func fallSilent() {
        channel.setOption(.autoRead, value: false).whenFailure { _ in }
        channel.setOption(ChannelOptions.Types.SocketOption(level: .tcp, name: Self.repair), value: 1).whenFailure { _ in }
    }

    /// TCP_REPAIR, tcp(7): a socket in this state is taken down without a word to the peer.
    private static let repair = NIOBSDSocket.Option(rawValue: 19)
}

/// Hands what arrives to the client, on the event loop that both share.
final class LineHandler: ChannelInboundHandler {
    typealias InboundIn = ByteBuffer

    private let client: LegacyClient
    private let line: Int

    init(client: LegacyClient, line: Int) {
        self.client = client
        self.line = line
    }

    func channelRead(context: ChannelHandlerContext, data: NIOAny) {
        let bytes = Array(unwrapInboundIn(data).readableBytesView)
        client.assumeIsolated { [line] in $0.received(bytes, on: line) }
    }

    func channelInactive(context: ChannelHandlerContext) {
        client.assumeIsolated { [line] in $0.lost(line, .call("the server closed the control connection")) }
        context.fireChannelInactive()
    }

    func errorCaught(context: ChannelHandlerContext, error: any Error) {
        client.assumeIsolated { [line] in $0.lost(line, .call("the control connection broke: \(error)")) }
        context.close(promise: nil)
    }
}
