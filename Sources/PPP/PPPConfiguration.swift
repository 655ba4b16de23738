import Addresses

/// What one PPP link may agree to. The same type serves the gateway and the client that tests it.
public struct PPPConfiguration: Sendable, Equatable, Codable {
    /// The server authenticates its peer, gives it an address and asks for encryption; the client does the opposite.
    public enum Role: String, Sendable, Codable {
        case server, client
    }

    public var role: Role
    public var lcp = LCPWishes()
    /// Server: the methods that may be asked for, best first. Client: those that it will go through; it knows MS-CHAPv2 only.
    /// Empty (server): the peer is not authenticated.
    public var authentication: [AuthenticationMethod] = [.msCHAPv2]
    /// Server: the name in our CHAP challenges.
    public var challengeName = "causeway"
    /// Server: how many responses a peer may try; the last failure says "no retry".
    public var authenticationAttempts = 3
    /// Server: an authenticated peer is challenged again after this time.
    public var rechallengeInterval: Duration?
    public var encryption = EncryptionPolicy()
    /// Client: the address to ask for. Nil: 0.0.0.0, "give me one".
    public var requestedAddress: IPAddress?
    /// Client: ask for name servers as well (RFC 1877).
    public var requestsNameServers = false
    /// Client: ask for Van Jacobson compression, as pppd does, and take no for an answer.
    public var requestsHeaderCompression = false
    /// Client: send IPCP together with CCP (Windows) instead of after it (pppd).
    public var negotiatesInParallel = false
    /// Client: try IPV6CP once as well, as pppd does. The answer, a Protocol-Reject, is only noted.
    public var probesIPv6 = false
    /// Client: LCP Identification packets to send once LCP is open (Windows sends "MSRASV5.20" and "MSRAS-0-" and its name).
    public var identifications: [String] = []

    /// LCP Echo-Requests: the interval (nil: none are sent), and how many may stay unanswered before the link is dead.
    public var echoInterval: Duration? = .seconds(20)
    public var echoFailures = 3
    /// From the start (or from a renegotiation of LCP) to a successful authentication.
    public var authenticationTimeout: Duration = .seconds(30)
    /// From a successful authentication to an open network protocol.
    public var negotiationTimeout: Duration = .seconds(40)
    public var retransmission = Retransmission()

    public init(role: Role) {
        self.role = role
        // A client speaks when it is ready; its first request has a server listening.
        if role == .client { retransmission.firstRequests = [] }
    }
}

/// What we ask for in our own LCP Configure-Request.
public struct LCPWishes: Sendable, Equatable, Codable {
    /// The longest packet that we receive. Nil: the option is left out (1500).
    public var mru: UInt16? = 1400
    public var accm: UInt32?
    public var magicNumber = true
    public var protocolFieldCompression = true
    public var addressControlCompression = true
    /// Further options, byte for byte; each is dropped when the peer rejects it (a Windows client asks for callback and multilink).
    public var others: [ConfigurationOption] = []

    public init() {}
}

public enum AuthenticationMethod: String, Sendable, Codable {
    case msCHAPv2
    /// Weak: only where the configuration says so in as many words.
    case msCHAPv1
    /// The password travels in the clear: only where the configuration says so in as many words.
    case pap
}

public struct EncryptionPolicy: Sendable, Equatable, Codable {
    public enum Mode: String, Sendable, Codable {
        /// No encryption: the link is terminated.
        case required
        /// Asked for; without it data goes in the clear.
        case optional
        /// CCP is answered with Protocol-Reject.
        case none
    }

    public var mode = Mode.required
    public var strengths: MPPEStrengths = .bits128
    /// A peer that asks for stateful mode is given it, in the direction in which it asked.
    public var allowsStateful = false
    /// Ask for stateful mode ourselves (tests of the gateway; old clients).
    public var requestsStateful = false

    public init(mode: Mode = .required, strengths: MPPEStrengths = .bits128, allowsStateful: Bool = false) {
        self.mode = mode
        self.strengths = strengths
        self.allowsStateful = allowsStateful
    }
}

/// RFC 3078 section 2.1: the strength bits, ours to allow.
public struct MPPEStrengths: OptionSet, Sendable, Hashable, Codable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }

    public static let bits40 = MPPEStrengths(rawValue: 1)
    public static let bits56 = MPPEStrengths(rawValue: 2)
    public static let bits128 = MPPEStrengths(rawValue: 4)
}

/// RFC 1661 section 4.6: the restart timer and its counters.
public struct Retransmission: Sendable, Equatable, Codable {
    public var restart: Duration = .seconds(3)
    /// The first LCP requests are repeated sooner, and at once when the peer is heard: a client often has not attached to its GRE socket when
    /// the first one arrives.
    public var firstRequests: [Duration] = [.milliseconds(500), .seconds(1)]
    public var maxConfigure = 10
    public var maxTerminate = 2
    public var maxFailure = 5

    public init() {}
}
