import Addresses
import CDataPath

/// Set-up of the engine's WireGuard side. Defaults are the C core's.
public struct WireGuardConfiguration: Sendable, Equatable {
    /// 1...65,535 private keys.
    public var identityCapacity = 4096
    /// 1...262,144 peers of all identities.
    public var peerCapacity = 8192
    /// Packets held for one peer while its handshake runs, 0...128; the oldest goes first.
    public var stagedPackets = 128
    /// Our initiations to one endpoint that may wait for a response at one time, 1...4,096.
    public var outstanding = 64
    /// MAC1 checks per second spent on finding whom a foreign initiation is for.
    public var scanBudget = 200_000

    public init() {}

    var native: cw_wg_config {
        var native = cw_wg_config()
        cw_wg_config_defaults(&native)
        native.identity_capacity = UInt32(clamping: identityCapacity)
        native.peer_capacity = UInt32(clamping: peerCapacity)
        native.staged_packets = UInt32(clamping: stagedPackets)
        native.outstanding = UInt32(clamping: outstanding)
        native.scan_budget = UInt32(clamping: scanBudget)
        return native
    }
}

extension WireGuardEngine {
    /// An open UDP port of both families, or of one.
    public struct Port: Hashable, Sendable {
        let number: UInt32
        /// An identity on no port: it neither sends nor receives.
        public static let none = Port(number: 0)
    }

    /// A private key with peers of its own: one WireGuard interface, as others see it.
    public struct Identity: Hashable, Sendable, CustomStringConvertible {
        let handle: UInt32
        init(handle: UInt32) { self.handle = handle }
        public var description: String { "identity \(handle)" }
    }

    public struct PortConfiguration: Sendable, Equatable {
        /// 0: the kernel chooses.
        public var port: UInt16
        public var ipv4: Bool
        public var ipv6: Bool
        /// SO_MARK of what leaves; 0: none.
        public var firewallMark: UInt32
        public init(port: UInt16 = 0, ipv4: Bool = true, ipv6: Bool = true, firewallMark: UInt32 = 0) {
            self.port = port
            self.ipv4 = ipv4
            self.ipv6 = ipv6
            self.firewallMark = firewallMark
        }
    }

    /// One peer to make, change or remove. What is nil stays as it is.
    public struct PeerChange: Sendable, Equatable {
        public enum Operation: Sendable, Equatable {
            /// Makes the peer if it does not exist.
            case set
            /// Changes only a peer that exists.
            case update
            case remove
        }

        public var publicKey: [UInt8]
        public var operation: Operation
        /// `WireGuardSecret.none` takes it away.
        public var presharedKey: WireGuardSecret?
        public var endpoint: Endpoint?
        /// Interface index of an IPv6 link-local endpoint.
        public var endpointScope: UInt32 = 0
        /// 0: off.
        public var keepaliveSeconds: UInt16?
        /// Takes away what the peer had first.
        public var replacesAllowedIPs: Bool
        /// Added; one that another peer of the identity had moves here.
        public var allowedIPs: [IPPrefix]

        public init(
            publicKey: [UInt8], operation: Operation = .set, presharedKey: WireGuardSecret? = nil, endpoint: Endpoint? = nil,
            keepaliveSeconds: UInt16? = nil, replacesAllowedIPs: Bool = false, allowedIPs: [IPPrefix] = []
        ) {
            self.publicKey = publicKey
            self.operation = operation
            self.presharedKey = presharedKey
            self.endpoint = endpoint
            self.keepaliveSeconds = keepaliveSeconds
            self.replacesAllowedIPs = replacesAllowedIPs
            self.allowedIPs = allowedIPs
        }
    }

    public struct PeerInfo: Sendable, Equatable {
        public var publicKey: [UInt8]
        public var presharedKey: WireGuardSecret?
        public var endpoint: Endpoint?
        public var endpointScope: UInt32
        /// 0: off.
        public var keepaliveSeconds: UInt16
        public var allowedIPCount: Int
        /// Wall clock, nanoseconds since 1970, of the last completed handshake.
        public var lastHandshake: UInt64?
        /// As `wg show`: WireGuard messages without UDP and IP headers.
        public var receivedBytes: UInt64
        public var sentBytes: UInt64
        /// Since the last completed handshake.
        public var initiationsSent: UInt64
    }

    /// What is to be watched of a peer. Times are nanoseconds as `WireGuardEngine.now` has them.
    public struct PeerActivity: Sendable, Equatable {
        public var identity: Identity
        public var publicKey: [UInt8]
        public var endpoint: Endpoint?
        /// 0: off.
        public var keepaliveSeconds: UInt16
        /// Wall clock, nanoseconds since 1970, of the last completed handshake.
        public var lastHandshake: UInt64?
        /// In vain, since the last completed handshake or the last that was given up.
        public var initiationsSent: UInt64
        /// Handshakes that were given up because nobody answered, since the last that was completed.
        public var handshakesGivenUp: Int
        public var receivedBytes: UInt64
        public var sentBytes: UInt64
        /// The last message of any kind that was proven to come from the peer: handshake, keepalive, data.
        public var receivedAt: UInt64?
        /// The last that was data.
        public var dataReceivedAt: UInt64?
        /// Inner packets that were sent since `receivedAt`, or since we changed the endpoint.
        public var unansweredPackets: UInt64
        public var lost: Lost

        /// Inner packets that did not get through, since the peer was made.
        public struct Lost: Sendable, Equatable, Codable {
            /// Sent, but nothing came back before the peer was taken for dead or before we changed its endpoint: an upper bound.
            public var unanswered: UInt64 = 0
            /// Too many waited for a handshake, or it failed.
            public var staged: UInt64 = 0
            /// The peer's address was not known.
            public var withoutEndpoint: UInt64 = 0
            /// By the socket.
            public var refused: UInt64 = 0

            public init() {}
            public var total: UInt64 { unanswered + staged + withoutEndpoint + refused }
        }
    }

    public struct IdentityInfo: Sendable, Equatable {
        /// nil: the identity has no key.
        public var privateKey: WireGuardSecret?
        public var publicKey: [UInt8]
        public var port: Port
        public var listenPort: UInt16
        public var isUp: Bool
        public var firewallMark: UInt32
        public var peerCount: Int
    }

    /// Of all identities together.
    public struct Counters: Sendable, Equatable, Codable {
        public var packetsIn: UInt64 = 0
        /// Bytes are inner IP packet bytes.
        public var bytesIn: UInt64 = 0
        public var packetsOut: UInt64 = 0
        public var bytesOut: UInt64 = 0
        public var keepalivesIn: UInt64 = 0
        public var keepalivesOut: UInt64 = 0
        public var initiationsIn: UInt64 = 0
        public var initiationsOut: UInt64 = 0
        public var responsesIn: UInt64 = 0
        public var responsesOut: UInt64 = 0
        public var cookiesIn: UInt64 = 0
        public var cookiesOut: UInt64 = 0
        /// Completed, as initiator or responder.
        public var handshakes: UInt64 = 0
        /// Now: our initiations that wait for their turn.
        public var waiting: UInt64 = 0
        /// Now: our initiations that wait for a response.
        public var outstanding: UInt64 = 0
        /// Dropped packets by cause; causes that did not happen are left out.
        public var drops: [String: UInt64] = [:]

        public init() {}
    }
}

// MARK: From and to C

extension Endpoint {
    /// nil for an address of no family.
    init?(_ native: cw_wg_endpoint) {
        guard let address = IPAddress(native.address) else { return nil }
        self.init(address, native.port)
    }
}

extension WireGuardEngine.PeerChange {
    var native: cw_wg_peer_change {
        var native = cw_wg_peer_change()
        withUnsafeMutableBytes(of: &native.public_key) { $0.copyBytes(from: publicKey.prefix($0.count)) }
        switch operation {
        case .set: break
        case .update: native.mask |= UInt32(CW_WG_PEER_UPDATE_ONLY)
        case .remove: native.mask |= UInt32(CW_WG_PEER_REMOVE)
        }
        if let presharedKey {
            native.mask |= UInt32(CW_WG_PEER_PRESHARED_KEY)
            presharedKey.withBytes { key in withUnsafeMutableBytes(of: &native.preshared_key) { $0.copyMemory(from: key) } }
        }
        if let endpoint {
            native.mask |= UInt32(CW_WG_PEER_ENDPOINT)
            native.endpoint.address = cw_address(endpoint.address)
            native.endpoint.port = endpoint.port
            native.endpoint.scope = endpointScope
        }
        if let keepaliveSeconds {
            native.mask |= UInt32(CW_WG_PEER_KEEPALIVE)
            native.keepalive_seconds = keepaliveSeconds
        }
        if replacesAllowedIPs { native.mask |= UInt32(CW_WG_PEER_REPLACE_ALLOWED_IPS) }
        return native
    }
}

extension WireGuardEngine.PeerInfo {
    init(_ native: cw_wg_peer_info) {
        publicKey = withUnsafeBytes(of: native.public_key) { Array($0) }
        let preshared = withUnsafeBytes(of: native.preshared_key) { WireGuardSecret(copying: $0)! }
        presharedKey = preshared.isNone ? nil : preshared
        endpoint = Endpoint(native.endpoint)
        endpointScope = native.endpoint.scope
        keepaliveSeconds = native.keepalive_seconds
        allowedIPCount = Int(native.allowed_ip_count)
        lastHandshake = native.handshake_unix_nanoseconds == 0 ? nil : native.handshake_unix_nanoseconds
        receivedBytes = native.received_bytes
        sentBytes = native.sent_bytes
        initiationsSent = native.initiations_sent
    }
}

extension WireGuardEngine.PeerActivity {
    init(_ native: cw_wg_activity) {
        func time(_ nanoseconds: UInt64) -> UInt64? { nanoseconds == 0 ? nil : nanoseconds }
        identity = WireGuardEngine.Identity(handle: native.identity)
        publicKey = withUnsafeBytes(of: native.public_key) { Array($0) }
        endpoint = Endpoint(native.endpoint)
        keepaliveSeconds = native.keepalive_seconds
        lastHandshake = time(native.handshake_unix_nanoseconds)
        initiationsSent = native.initiations_sent
        handshakesGivenUp = Int(native.given_up)
        receivedBytes = native.received_bytes
        sentBytes = native.sent_bytes
        receivedAt = time(native.received_at)
        dataReceivedAt = time(native.data_received_at)
        unansweredPackets = native.unanswered_packets
        lost = Lost()
        lost.unanswered = native.lost_unanswered
        lost.staged = native.lost_staged
        lost.withoutEndpoint = native.lost_no_endpoint
        lost.refused = native.lost_refused
    }
}

extension WireGuardEngine.IdentityInfo {
    init(_ native: cw_wg_identity_info) {
        privateKey = native.has_key ? withUnsafeBytes(of: native.private_key) { WireGuardSecret(copying: $0) } : nil
        publicKey = withUnsafeBytes(of: native.public_key) { Array($0) }
        port = WireGuardEngine.Port(number: native.port)
        listenPort = native.listen_port
        isUp = native.up
        firewallMark = native.fwmark
        peerCount = Int(native.peer_count)
    }
}

extension WireGuardEngine.Counters {
    init(_ native: cw_wg_counters) {
        packetsIn = native.packets_in
        bytesIn = native.bytes_in
        packetsOut = native.packets_out
        bytesOut = native.bytes_out
        keepalivesIn = native.keepalives_in
        keepalivesOut = native.keepalives_out
        initiationsIn = native.initiations_in
        initiationsOut = native.initiations_out
        responsesIn = native.responses_in
        responsesOut = native.responses_out
        cookiesIn = native.cookies_in
        cookiesOut = native.cookies_out
        handshakes = native.handshakes
        waiting = native.waiting
        outstanding = native.outstanding
        withUnsafeBytes(of: native.drops) { bytes in
            for (index, count) in bytes.bindMemory(to: UInt64.self).enumerated() where count > 0 {
                guard let cause = cw_wg_drop(rawValue: UInt32(index)), let name = cw_wg_drop_name(cause) else { continue }
                drops[String(cString: name)] = count
            }
        }
    }
}
