import Addresses
import Migration

/// Something that happens in the running gateway and that others may want to hear of at once.
enum Happening: Sendable, Equatable {
    /// One session, as far as it is known to everybody.
    struct Session: Sendable, Equatable {
        var id: UInt64
        /// `pptp` or `wireguard`, as in the list of sessions.
        var kind: String
        var user: String?
        var clientAddress: IPAddress?
        var innerAddress: IPAddress?
        var tunnel: String?
    }

    case sessionOpened(Session)
    case sessionClosed(Session, reason: String)
    case phaseChanged(user: String, PhaseChange)
    case firstLegacyLogin(user: String)
    /// PPTP has been silent long enough; that was the last time.
    case lastLegacyLogin(user: String, at: UnixTime)
    /// The right password, refused by phase or policy.
    case loginRefused(user: String, source: IPAddress, reason: String)
    case tunnelUp(String)
    case tunnelDown(String, problem: String)
}
