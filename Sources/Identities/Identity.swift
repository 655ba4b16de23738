import Addresses
import Authentication
import WireGuard

/// A WireGuard key of ours that stands for one user, or for one group of users, in one tunnel.
///
/// One identity has one live holder. Its inner address stays with it, so the hub sees the user as the peer they will be.
public struct Identity: Sendable, Equatable, Identifiable {
    public enum Kind: String, Sendable, CaseIterable { case user, group }

    /// Whose it is.
    public struct ID: Sendable, Hashable, Comparable, CustomStringConvertible {
        public var tunnel: String
        public var kind: Kind
        /// Of the user, as in logs and views, or of the group.
        public var name: String

        public init(tunnel: String, kind: Kind, name: String) {
            self.tunnel = tunnel
            self.kind = kind
            self.name = name
        }

        public static func < (left: ID, right: ID) -> Bool {
            (left.tunnel, left.kind.rawValue, left.name) < (right.tunnel, right.kind.rawValue, right.name)
        }

        /// `user "ann" of tunnel "hub"`
        public var description: String { "\(kind.rawValue) \"\(name)\" of tunnel \"\(tunnel)\"" }
    }

    public let id: ID
    public var publicKey: PublicKey
    /// 32 bytes. Not on pages of their own like a `PrivateKey`: there may be very many. Empty when it was handed over and wiped here.
    public var privateKey: Secret
    /// Of the user, for good. A group has none: its users' addresses come and go.
    public var addresses: [IPAddress]
    /// Seconds since the Unix epoch.
    public var createdAt: Int64
    /// Grows with every change of the key or an address: who holds a copy sees that it is old.
    public var generation: UInt64
    /// When a handshake was completed last, in seconds since the Unix epoch; nil: never. May be some time behind.
    public var handshakeAt: Int64?
    /// Since when nobody in the configuration needs it any more, in seconds since the Unix epoch. It keeps its key and address
    /// until it is pruned.
    public var retiredAt: Int64?
    /// Since when the user's own device is its one live holder, in seconds since the Unix epoch; nil: we are. We never use it then, and a
    /// hub goes on knowing it.
    public var handedOverAt: Int64?

    public var isRetired: Bool { retiredAt != nil }
    public var isHandedOver: Bool { handedOverAt != nil }
    /// There is no way back: only the user's device has the key.
    public var isWiped: Bool { isHandedOver && privateKey.count == 0 }

    /// - Parameter renewing: under another key.
    public func expectTakeBack(renewing: Bool) throws {
        guard isHandedOver else { throw IdentityError("\(id) was not handed over") }
        guard renewing || !isWiped else { throw IdentityError("the key of \(id) was wiped when the user's device was seen with it: there is no way back") }
    }

    public init(
        id: ID, publicKey: PublicKey, privateKey: Secret, addresses: [IPAddress], createdAt: Int64, generation: UInt64 = 1,
        handshakeAt: Int64? = nil, retiredAt: Int64? = nil, handedOverAt: Int64? = nil
    ) {
        self.id = id
        self.publicKey = publicKey
        self.privateKey = privateKey
        self.addresses = addresses
        self.createdAt = createdAt
        self.generation = generation
        self.handshakeAt = handshakeAt
        self.retiredAt = retiredAt
        self.handedOverAt = handedOverAt
    }

    /// Whether the two keys belong together. A scalar multiplication: some 50 µs.
    public var keysMatch: Bool { privateKey.withUnsafeBytes { PrivateKey(bytes: $0)?.publicKey == publicKey } }
}
