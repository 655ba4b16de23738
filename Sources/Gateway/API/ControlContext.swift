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
        remoteAddress = source.channel.remoteAddress?.ipAddress.flatMap(IPAddress.init)
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
