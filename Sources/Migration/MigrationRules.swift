/// What makes a user's phase change without anybody's command.
public struct MigrationRules: Sendable, Equatable {
    /// Days without PPTP after which a user who has WireGuard counts as migrated; 0...365: with 0 as soon as no PPTP session is open.
    public var quietDays: Int
    /// Days in `migrated` after which PPTP is refused for good; nil: only by command or by a wave.
    public var retireAfterDays: Int?

    public init(quietDays: Int = 14, retireAfterDays: Int? = nil) {
        self.quietDays = quietDays
        self.retireAfterDays = retireAfterDays
    }

    static let day: UnixTime = 86_400
    var quiet: UnixTime { UnixTime(quietDays) * Self.day }
    var retireAfter: UnixTime? { retireAfterDays.map { UnixTime($0) * Self.day } }
}
