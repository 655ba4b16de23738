import Addresses
import DataPath

/// Who dials.
public struct LegacyAccount: Sendable {
    public var user: String
    public var password: Password
    /// Networks behind the client's router: their traffic goes through the session, too.
    public var prefixes: [IPPrefix]

    public init(user: String, password: Password, prefixes: [IPPrefix] = []) {
        self.user = user
        self.password = password
        self.prefixes = prefixes
    }
}

/// How far a session has come.
public enum SessionPhase: String, Sendable, Codable {
    /// For its turn, or for its control connection.
    case waiting
    /// TCP, then Start-Control-Connection and Outgoing-Call.
    case connecting
    /// LCP, authentication, CCP, IPCP.
    case negotiating
    case up
    case closing
    /// Ended by us, after having been up or not.
    case closed
    case failed
}

/// Why a session never came up, or did not stay up.
public enum SessionFailure: Error, Sendable, Equatable, CustomStringConvertible {
    /// TCP: refused, unreachable, timed out.
    case connection(String)
    /// The control connection or the call was refused or broke before the call was there.
    case call(String)
    /// The code of the server's message (RFC 2759 section 6); 0 if it had none.
    case authentication(code: Int)
    /// The server could not prove that it knows the password.
    case serverNotAuthentic
    case negotiation(String)
    /// No network within the time that we give a session.
    case timeOut
    /// Up, and then no more.
    case lost(String)
    /// This host refused something: an address, a command to the data path.
    case local(String)

    public enum Kind: String, Sendable, Codable {
        case connection, call, authentication, negotiation, lost, local
    }

    public var kind: Kind {
        switch self {
        case .connection: .connection
        case .call: .call
        case .authentication, .serverNotAuthentic: .authentication
        case .negotiation, .timeOut: .negotiation
        case .lost: .lost
        case .local: .local
        }
    }

    public var description: String {
        switch self {
        case .connection(let text): "no connection: \(text)"
        case .call(let text): "no call: \(text)"
        case .authentication(let code): "authentication failed (E=\(code))"
        case .serverNotAuthentic: "the server does not know the password"
        case .negotiation(let text): "PPP: \(text)"
        case .timeOut: "no network in time"
        case .lost(let text): "lost: \(text)"
        case .local(let text): text
        }
    }
}

/// What IPCP and CCP agreed on.
public struct SessionNetwork: Sendable, Equatable {
    public var address: IPAddress
    /// The server's end of the link.
    public var peer: IPAddress
    public var dns: [IPAddress]
    public var nbns: [IPAddress]
    /// Inner packets towards the server are at most this long.
    public var mtu: UInt16
    /// Strength in bits; 0: data is in the clear.
    public var encryptionBits: Int
    /// In the direction in which we receive, and send.
    public var statelessReceive: Bool
    public var statelessTransmit: Bool
}

/// One session as the owner may show it.
public struct SessionStatus: Sendable {
    /// From 1.
    public var number: Int
    public var user: String
    public var phase: SessionPhase
    public var failure: SessionFailure?
    public var network: SessionNetwork?
    public var localCallID: UInt16?
    public var peerCallID: UInt16?
    /// From the session's turn to its call, and to its network.
    public var callTime: Duration?
    public var upTime: Duration?
    /// When it came up first.
    public var upAt: ContinuousClock.Instant?
    public var counters: Counters?
}

/// What happens to sessions, by number.
public enum SessionEvent: Sendable {
    case up(Int, SessionNetwork)
    /// The network is being negotiated again.
    case down(Int)
    case failed(Int, SessionFailure)
    case closed(Int)
}
