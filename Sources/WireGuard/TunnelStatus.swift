import Addresses

/// A peer as the device reports it.
public struct PeerStatus: Equatable, Sendable {
    public var publicKey: PublicKey
    /// The address that the last authenticated packet came from, or the configured one.
    public var endpoint: Endpoint?
    /// Since the Unix epoch; nil if there was none.
    public var latestHandshake: Duration?
    public var receivedBytes: UInt64
    public var sentBytes: UInt64
    public var allowedIPs: Set<IPPrefix>
    /// Seconds; 0 is off.
    public var keepalive: UInt16
    public var hasPresharedKey: Bool
    /// Since the last completed handshake; nil: the device does not tell.
    public var unansweredInitiations: UInt64?
    /// Inner packets that did not get to the peer, at most: refused on the way, or sent to a peer that was taken for dead. nil: the
    /// device does not tell.
    public var lostPackets: UInt64?
    /// The part of them that was sent.
    public var lostUnansweredPackets: UInt64?
    /// Inner packets that nothing from the peer has followed yet; nil: the device does not tell.
    public var unansweredPackets: UInt64?

    public init(
        publicKey: PublicKey, endpoint: Endpoint? = nil, latestHandshake: Duration? = nil, receivedBytes: UInt64 = 0, sentBytes: UInt64 = 0,
        allowedIPs: Set<IPPrefix> = [], keepalive: UInt16 = 0, hasPresharedKey: Bool = false, unansweredInitiations: UInt64? = nil
    ) {
        self.publicKey = publicKey
        self.endpoint = endpoint
        self.latestHandshake = latestHandshake
        self.receivedBytes = receivedBytes
        self.sentBytes = sentBytes
        self.allowedIPs = allowedIPs
        self.keepalive = keepalive
        self.hasPresharedKey = hasPresharedKey
        self.unansweredInitiations = unansweredInitiations
    }

    /// A session lives 180 seconds (Reject-After-Time of the WireGuard paper, section 6.2): an older handshake carries nothing any more.
    public static let handshakeLifetime: Duration = .seconds(180)

    /// `now` is the time since the Unix epoch.
    public func hasLiveSession(now: Duration) -> Bool {
        guard let latestHandshake else { return false }
        return now - latestHandshake < Self.handshakeLifetime
    }
}

/// A tunnel as it is.
public struct TunnelStatus: Equatable, Sendable {
    public enum Health: Equatable, Sendable {
        case running
        /// The device is gone or was taken down by somebody else.
        case broken(reason: String)
    }

    public var interfaceName: String
    public var health: Health
    public var publicKey: PublicKey?
    public var listenPort: UInt16
    public var fwmark: UInt32
    /// In the order of the keys.
    public var peers: [PeerStatus]
}
