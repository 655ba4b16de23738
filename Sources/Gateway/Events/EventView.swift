import Addresses
import Foundation

/// Something that happened, as subscribers see it: `GET /v1/events`. Field names are part of the API; what does not apply is left out.
public struct EventView: Codable, Sendable, Equatable {
    public static let kinds = [
        "session-opened", "session-closed", "phase-changed", "first-legacy-login", "last-legacy-login", "login-refused", "tunnel-up", "tunnel-down",
    ]

    /// Grows with everything that happens; a gap is something else that happened.
    public var number: UInt64
    public var at: Date
    public var kind: String
    public var user: String?
    /// The session's id and kind, as in the list of sessions.
    public var session: UInt64?
    public var sessionKind: String?
    public var clientAddress: IPAddress?
    public var innerAddress: IPAddress?
    public var tunnel: String?
    /// Phases.
    public var from: String?
    public var to: String?
    /// Why a session ended, a user moved, a log-in was refused, a tunnel is down.
    public var reason: String?
    /// When PPTP was seen last.
    public var legacyAt: Date?

    init(_ entry: Bulletin.Entry) {
        number = entry.number
        at = entry.at
        switch entry.happening {
        case .sessionOpened(let session):
            kind = "session-opened"
            take(session)
        case .sessionClosed(let session, let text):
            kind = "session-closed"
            take(session)
            reason = text
        case .phaseChanged(let name, let change):
            kind = "phase-changed"
            user = name
            from = change.from.rawValue
            to = change.to.rawValue
            reason = change.reason
        case .firstLegacyLogin(let name):
            kind = "first-legacy-login"
            user = name
        case .lastLegacyLogin(let name, let time):
            kind = "last-legacy-login"
            user = name
            legacyAt = Date(timeIntervalSince1970: Double(time))
        case .loginRefused(let name, let source, let text):
            kind = "login-refused"
            user = name
            clientAddress = source
            reason = text
        case .tunnelUp(let name):
            kind = "tunnel-up"
            tunnel = name
        case .tunnelDown(let name, let problem):
            kind = "tunnel-down"
            tunnel = name
            reason = problem
        }
    }

    private mutating func take(_ known: Happening.Session) {
        user = known.user
        session = known.id
        sessionKind = known.kind
        clientAddress = known.clientAddress
        innerAddress = known.innerAddress
        tunnel = known.tunnel
    }
}
