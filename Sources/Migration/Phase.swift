/// Seconds since the Unix epoch. Whatever is kept for months is kept in wall-clock time.
public typealias UnixTime = Int64

/// Where a user stands on the way from PPTP to WireGuard.
public enum Phase: String, Sendable, Codable, CaseIterable, Comparable {
    /// Only PPTP so far, or nothing at all.
    case legacy
    /// A peer exists and its configuration was handed out; nobody has used it yet.
    case invited
    /// Seen on both, PPTP not long ago.
    case dual
    /// Seen with WireGuard, and without PPTP for `MigrationRules.quietDays`.
    case migrated
    /// PPTP log-ins are refused.
    case retired

    private var rank: Int { Self.allCases.firstIndex(of: self)! }
    public static func < (left: Phase, right: Phase) -> Bool { left.rank < right.rank }

    /// The user does not need PPTP any more.
    public var isDone: Bool { self >= .migrated }
}

/// Who or what moved a user.
public enum Mover: Sendable, Codable, Hashable {
    /// Seen by this gateway, or by an observer on the hub.
    case evidence
    /// The date of a wave came.
    case wave(String)
    /// An administrator, by the name under which they are known to the control API.
    case administrator(String)
}

/// One step of one user, for the history: a phase, when, why, and who says so.
public struct PhaseChange: Sendable, Codable, Equatable {
    public var from: Phase
    public var to: Phase
    public var at: UnixTime
    public var mover: Mover
    /// For an administrator: "first handshake of the user's own peer".
    public var reason: String

    public init(from: Phase, to: Phase, at: UnixTime, mover: Mover, reason: String) {
        self.from = from
        self.to = to
        self.at = at
        self.mover = mover
        self.reason = reason
    }
}
