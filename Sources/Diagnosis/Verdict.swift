/// One thing that is wrong with an attempt, what says so, and what to do about it.
public struct Verdict: Sendable, Equatable, Codable {
    public enum Severity: String, Sendable, Codable, Comparable {
        /// Worth knowing; the session works, or the client itself wanted it so.
        case note
        /// It works, but badly or not for long.
        case warning
        /// This is why it does not work.
        case failure

        public static func < (left: Severity, right: Severity) -> Bool { left.rank < right.rank }
        private var rank: Int { self == .note ? 0 : self == .warning ? 1 : 2 }
    }

    /// The names are part of the API.
    public enum Name: String, Sendable, Codable, CaseIterable {
        // GRE.
        case greBlockedInbound = "gre-blocked-inbound"
        case greBlockedOutbound = "gre-blocked-outbound"
        case greOtherSource = "gre-other-source"
        case greUnknownCall = "gre-unknown-call"
        case natWithoutHelper = "nat-without-pptp-helper"
        // TCP.
        case startMissing = "start-request-missing"
        case callMissing = "call-request-missing"
        case controlCut = "control-connection-cut"
        case idleTimeout = "nat-idle-timeout"
        case malformedControl = "control-connection-malformed"
        // Log-in.
        case unknownUser = "unknown-user"
        case wrongPassword = "wrong-password"
        case lockedOut = "locked-out"
        case loginRefused = "log-in-refused"
        case authenticationRefused = "authentication-protocol-refused"
        case noResponse = "no-log-in"
        // Encryption.
        case encryptionRefused = "encryption-refused"
        case encryptionStrength = "encryption-strength-mismatch"
        case encryptionStateful = "encryption-stateful-mismatch"
        case desynchronised = "encryption-desynchronised"
        // Network.
        case noAddress = "no-address"
        case networkRefused = "ip-refused"
        case peerVanished = "client-vanished"
        // The path.
        case mtuBlackHole = "mtu-black-hole"
        case pathLoss = "path-loss"
        // The tunnel.
        case hubSilent = "hub-silent"
        case hubRefusesAddress = "hub-allowed-ips"
        // Neither of these.
        case notNegotiated = "not-negotiated"
        case hungUpEarly = "client-hung-up-early"
    }

    public var name: Name
    public var severity: Severity
    /// What was seen, with numbers.
    public var evidence: String
    /// What to do.
    public var next: String
    /// That, as commands to be typed as they are.
    public var commands: [String]

    public init(_ name: Name, _ severity: Severity = .failure, evidence: String, next: String, commands: [String] = []) {
        self.name = name
        self.severity = severity
        self.evidence = evidence
        self.next = next
        self.commands = commands
    }

    /// For the log.
    public var line: String { "\(name.rawValue): \(evidence); \(next)" + (commands.isEmpty ? "" : " (\(commands.joined(separator: "; ")))") }
}
