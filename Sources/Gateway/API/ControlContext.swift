import Addresses
import Hummingbird
import NIOCore
import Store
import Tokens

/// One request to the control API, and who asks.
struct ControlContext: RequestContext {
    var coreContext: CoreRequestContextStorage
    /// nil: over the Unix socket.
    let remoteAddress: IPAddress?
    /// Set by the door that the request came in by; nobody before that.
    var caller = Caller.nobody

    init(source: ApplicationRequestContextSource) {
        coreContext = .init(source: source)
        remoteAddress = source.channel.remoteAddress?.ipAddress.flatMap(Self.address)
    }

    /// A socket for both families shows IPv4 addresses as `::ffff:192.0.2.1`; they are counted as what they are.
    static func address(_ text: String) -> IPAddress? {
        let mapped = "::ffff:"
        if text.lowercased().hasPrefix(mapped), let address = IPAddress(String(text.dropFirst(mapped.count))), address.family == .v4 { return address }
        return IPAddress(text)
    }
}

/// On whose behalf a request is carried out.
struct Caller: Sendable, Equatable {
    /// For the history: the name of a token, or what the command on the other end of the socket says about itself.
    var actor: Actor
    /// nil: may do nothing.
    var scope: TokenScope?

    static let nobody = Caller(actor: Actor(name: "", source: ""), scope: nil)
}
