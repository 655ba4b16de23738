import Addresses

/// The evidence of one attempt to get a session: a control connection, and a call if one was asked for. Facts only; what they mean is
/// what `verdicts` says.
public struct Attempt: Sendable, Equatable, Codable {
    /// How far it came.
    public enum Stage: String, Sendable, Codable, Comparable, CaseIterable {
        /// TCP.
        case connected
        /// Start-Control-Connection.
        case started
        /// Outgoing-Call.
        case called
        /// LCP is open.
        case linked
        case authenticated
        /// Packets flow.
        case open

        public static func < (left: Stage, right: Stage) -> Bool { left.rank < right.rank }
        private var rank: Int { Self.allCases.firstIndex(of: self)! }
    }

    public enum End: String, Sendable, Codable {
        /// Call-Clear-Request, Stop-Control-Connection-Request or LCP Terminate-Request.
        case hungUp = "client-hung-up"
        /// The TCP connection was closed or reset without any of these.
        case cut
        case startTimeout = "start-timeout"
        /// No call for too long.
        case idle
        case controlEchoTimeout = "control-echo-timeout"
        case malformed
        case linkFailed = "lcp-failed"
        case loggedInTooLate = "log-in-timeout"
        case notAuthenticated = "log-in-failed"
        case authenticationRefused = "authentication-refused"
        case encryptionRefused = "encryption-refused"
        case networkFailed = "network-failed"
        case noAddress = "no-address"
        case echoTimeout = "echo-timeout"
        /// Administrator, shutdown, replaced by a newer log-in.
        case byUs = "gateway"
    }

    public enum LogInResult: String, Sendable, Codable {
        case accepted, unknownUser = "unknown-user", wrongPassword = "wrong-password", lockedOut = "locked-out", refused
    }

    public var clientAddress: IPAddress
    public var gatewayAddress: IPAddress
    public var port: UInt16
    public var stage: Stage
    public var end: End?
    /// Since the TCP connection was accepted or, once there is one, since the call was; up to the end or now.
    public var seconds: Double
    /// Of the control connection.
    public var silentSeconds = 0.0
    /// The TCP connection ended with a reset.
    public var wasReset = false

    public var callID: UInt16?
    public var peerCallID: UInt16?
    public var gre = GRE()
    public var negotiation = Negotiation()
    public var logIn: LogInResult?
    /// What the client called itself, made printable; of the last log-in.
    public var userName: String?
    /// Of a refusal: the reason in words.
    public var refusal: String?
    public var encryption = Encryption()
    public var neighbours = Neighbours()
    public var path = Path()
    public var tunnel: Tunnel?

    public init(clientAddress: IPAddress, gatewayAddress: IPAddress, port: UInt16 = 1723, stage: Stage, seconds: Double) {
        self.clientAddress = clientAddress
        self.gatewayAddress = gatewayAddress
        self.port = port
        self.stage = stage
        self.seconds = seconds
    }

    /// Of this session.
    public struct GRE: Sendable, Equatable, Codable {
        public var received: UInt64 = 0
        public var sent: UInt64 = 0
        /// With our call ID, but from another address than the control connection's.
        public var otherSource: UInt64 = 0
        /// With no session's call ID, from this client's address.
        public var unknownCall: UInt64 = 0
        /// The last such call ID.
        public var unknownCallID: UInt16?
        /// Sequence numbers that never came, and packets put back in order.
        public var lost: UInt64 = 0
        public var reordered: UInt64 = 0

        public init() {}
    }

    public struct Encryption: Sendable, Equatable, Codable {
        public var required = true
        /// Allowed by the configuration.
        public var strengths: [Int] = [128]
        public var statefulAllowed = false
        /// Packets that could not be decrypted.
        public var undecryptable: UInt64 = 0
        /// Negotiated anew because the keys had lost their place.
        public var recoveries = 0

        public init() {}
    }

    /// Other sessions from the same address.
    public struct Neighbours: Sendable, Equatable, Codable {
        /// Those that receive GRE.
        public var live = 0
        /// Those that use the same call ID of the client's.
        public var sameCallID = 0
        /// Those whose GRE arrives, and that have answered none of our LCP requests.
        public var unanswered = 0

        public init() {}
    }

    /// Inner octets that fit, where that was probed.
    public struct Path: Sendable, Equatable, Codable {
        /// LCP Echo-Requests of these sizes, outer IP packet included, were answered or not.
        public var largestAnswered: Int?
        public var smallestUnanswered: Int?
        /// Fragments of IP packets that this host could not put together meanwhile.
        public var reassemblyFailures: UInt64 = 0

        public init() {}
    }

    /// Where the session's packets go.
    public struct Tunnel: Sendable, Equatable, Codable {
        public var name: String
        public var interface: String
        public var endpoint: String?
        /// nil: never.
        public var handshakeSeconds: Int?
        public var receivedBytes: UInt64
        public var sentBytes: UInt64
        public var isUp: Bool
        /// Packets of this session that no peer's allowed IPs took.
        public var noPeer: UInt64 = 0
        public var down: UInt64 = 0
        public var innerAddress: IPAddress?

        public init(name: String, interface: String, endpoint: String?, handshakeSeconds: Int?, receivedBytes: UInt64, sentBytes: UInt64, isUp: Bool) {
            self.name = name
            self.interface = interface
            self.endpoint = endpoint
            self.handshakeSeconds = handshakeSeconds
            self.receivedBytes = receivedBytes
            self.sentBytes = sentBytes
            self.isUp = isUp
        }
    }
}
