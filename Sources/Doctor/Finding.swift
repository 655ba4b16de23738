/// One thing that was looked at: how it stands, why, and what mends it.
public struct Finding: Sendable, Equatable, Codable {
    public enum Grade: String, Sendable, Codable, Comparable, CaseIterable {
        case ok
        /// It works, or may; something is missing or cannot be seen.
        case warn
        /// Clients cannot get in, or nothing comes back.
        case fail

        public static func < (left: Grade, right: Grade) -> Bool { left.rank < right.rank }
        private var rank: Int { Self.allCases.firstIndex(of: self)! }
    }

    /// The names are part of the output's promise.
    public enum Check: String, Sendable, Codable, CaseIterable {
        case gateway
        case port = "control-port"
        case rawGRE = "raw-gre"
        case otherPPTP = "other-pptp"
        case reversePath = "reverse-path-filter"
        case packetFilter = "packet-filter"
        case helper = "pptp-helper"
        case wireGuard = "wireguard"
        case clock
        case publicAddress = "public-address"
        case tunnel
    }

    public var check: Check
    public var grade: Grade
    /// What was seen.
    public var why: String
    /// To be typed as they are.
    public var commands: [String]

    public init(_ check: Check, _ grade: Grade, _ why: String, _ commands: [String] = []) {
        self.check = check
        self.grade = grade
        self.why = why
        self.commands = commands
    }
}
