import Addresses
import Foundation
import Identities

/// One identity as operators see it: `causeway hub identities`, `GET /v1/identities`. Field names are part of the API.
public struct IdentityView: Codable, Sendable, Equatable {
    public var tunnel: String
    /// `user` or `group`.
    public var kind: String
    /// Of the user or of the group.
    public var name: String
    public var publicKey: String
    /// Inner addresses that it has for good; a group has none.
    public var addresses: [IPAddress]
    /// Grows with every change of the key or an address.
    public var generation: UInt64
    public var createdAt: Date
    /// nil: a handshake was never completed.
    public var lastHandshake: Date?
    /// Since when the configuration does not need it any more; nil: it does.
    public var retiredSince: Date?
    /// Since when the user's own device holds the key; nil: the gateway does.
    public var handedOverSince: Date?
    /// Whether the engine or the kernel has it now; nil where nobody was asked.
    public var up: Bool?
    /// Open sessions that go through it; nil where nobody was asked.
    public var sessions: Int?

    public init(_ identity: Identity, up: Bool? = nil, sessions: Int? = nil) {
        func date(_ seconds: Int64) -> Date { Date(timeIntervalSince1970: TimeInterval(seconds)) }
        tunnel = identity.id.tunnel
        kind = identity.id.kind.rawValue
        name = identity.id.name
        publicKey = "\(identity.publicKey)"
        addresses = identity.addresses
        generation = identity.generation
        createdAt = date(identity.createdAt)
        lastHandshake = identity.handshakeAt.map(date)
        retiredSince = identity.retiredAt.map(date)
        handedOverSince = identity.handedOverAt.map(date)
        self.up = up
        self.sessions = sessions
    }

    /// Needed, and no hub ever answered it: most likely the hub does not know it.
    public var neverCompleted: Bool { lastHandshake == nil && retiredSince == nil && handedOverSince == nil }
}
