import Foundation
import Migration

/// Something that others want to hear of.
public struct WebhookEvent: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        case phaseChange(PhaseChange)
        /// The user's first PPTP log-in ever.
        case firstLegacyLogin
        /// The user has been silent on PPTP for long enough to count as migrated; this was the last time.
        case lastLegacyLogin(at: UnixTime)
        /// The right password, but PPTP is over for this user, or at this hour.
        case loginRefused(reason: String)

        public var name: String {
            switch self {
            case .phaseChange: "phase-change"
            case .firstLegacyLogin: "first-legacy-login"
            case .lastLegacyLogin: "last-legacy-login"
            case .loginRefused: "login-refused"
            }
        }
        public static let names = ["phase-change", "first-legacy-login", "last-legacy-login", "login-refused"]
    }

    /// Never used twice: a receiver that gets it again (our side did not hear the answer) knows it.
    public var id: String
    public var kind: Kind
    public var user: String
    public var at: UnixTime
    /// Name of the gateway.
    public var instance: String

    public init(id: String = UUID().uuidString.lowercased(), kind: Kind, user: String, at: UnixTime, instance: String) {
        self.id = id
        self.kind = kind
        self.user = user
        self.at = at
        self.instance = instance
    }

    /// The body: an object with sorted names. Times are seconds since the Unix epoch.
    public var json: [UInt8] {
        var body = Body(id: id, event: kind.name, user: user, at: at, instance: instance)
        switch kind {
        case .phaseChange(let change):
            body.from = change.from.rawValue
            body.to = change.to.rawValue
            body.reason = change.reason
            body.mover =
                switch change.mover {
                case .evidence: "evidence"
                case .wave(let name): "wave \(name)"
                case .administrator(let name): "administrator \(name)"
                }
        case .firstLegacyLogin: break
        case .lastLegacyLogin(let at): body.legacyAt = at
        case .loginRefused(let reason): body.reason = reason
        }
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        // Strings and integers only: there is nothing that could not be encoded.
        return [UInt8]((try? encoder.encode(body)) ?? Data("{}".utf8))
    }

    private struct Body: Encodable {
        var id: String, event: String, user: String, at: UnixTime, instance: String
        var from: String?, to: String?, reason: String?, mover: String?, legacyAt: UnixTime?
    }
}
