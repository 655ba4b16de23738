import Addresses

/// A WireGuard device that can be read and changed, whatever it is made of. Calls come from the thread of the socket's server, one
/// at a time for each server.
public protocol WireGuardInterface: Sendable {
    func list() throws -> InterfaceListing

    /// Carries a change out in the order of its fields.
    func apply(_ change: InterfaceChange) throws
}

/// What a request is answered with when it was not carried out. The numbers are those of wireguard-go.
public struct UAPIRefusal: Error, Equatable {
    /// A positive errno value; on the wire it is negative.
    public let code: Int32

    public init(code: Int32) { self.code = code }

    /// Reading or writing failed, or a line has no end.
    public static let inputOutput = UAPIRefusal(code: 5)
    /// A key that there is not, or a value that the key cannot have.
    public static let invalid = UAPIRefusal(code: 22)
    /// Anything that went wrong inside: ENOANO.
    public static let unknown = UAPIRefusal(code: 55)
    /// A line that is not key=value.
    public static let notProtocol = UAPIRefusal(code: 71)
    public static let portInUse = UAPIRefusal(code: 98)
}

/// An endpoint and, for a link-local IPv6 address, the interface that it is behind.
public struct PeerAddress: Hashable, Sendable, CustomStringConvertible {
    public var endpoint: Endpoint
    /// A name, or a number in decimal digits.
    public var zone: String?

    public init(_ endpoint: Endpoint, zone: String? = nil) {
        self.endpoint = endpoint
        self.zone = zone
    }

    public var description: String {
        guard let zone else { return endpoint.description }
        return "[\(endpoint.address)%\(zone)]:\(endpoint.port)"
    }
}

/// A device with its keys, as it is told to whoever may read them.
public struct InterfaceListing: Equatable, Sendable {
    public struct Peer: Equatable, Sendable {
        public var publicKey: PublicKey
        public var presharedKey: PresharedKey?
        public var endpoint: PeerAddress?
        /// Since 1970.
        public var latestHandshake: Duration?
        public var receivedBytes: UInt64 = 0
        public var sentBytes: UInt64 = 0
        /// Seconds; 0 is off.
        public var keepalive: UInt16 = 0
        public var allowedIPs: [IPPrefix] = []

        public init(publicKey: PublicKey) { self.publicKey = publicKey }
    }

    public var privateKey: PrivateKey?
    public var listenPort: UInt16 = 0
    public var fwmark: UInt32 = 0
    public var peers: [Peer] = []

    public init() {}
}

/// What one `set` request asks for; nil leaves a field as it is.
public struct InterfaceChange: Equatable, Sendable {
    public enum Key<Value: Equatable & Sendable>: Equatable, Sendable {
        case set(Value)
        case remove
    }

    public struct Peer: Equatable, Sendable {
        public var publicKey: PublicKey
        public var isRemoved = false
        /// Only if the device has the peer.
        public var updatesOnly = false
        public var preshared: Key<PresharedKey>?
        public var endpoint: PeerAddress?
        public var keepalive: UInt16?
        /// Before `allowedIPs` are added.
        public var replacesAllowedIPs = false
        public var allowedIPs: [IPPrefix] = []
        public var removedAllowedIPs: [IPPrefix] = []

        public init(publicKey: PublicKey) { self.publicKey = publicKey }
    }

    public var privateKey: Key<PrivateKey>?
    public var listenPort: UInt16?
    public var fwmark: UInt32?
    public var replacesPeers = false
    /// In order; one peer may be named more than once.
    public var peers: [Peer] = []

    public init() {}
}
