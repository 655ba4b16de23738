import Migration

/// A device that redials every ten seconds is refused every ten seconds; one message an hour says the same.
struct RepeatFilter {
    static let interval: UnixTime = 3600
    /// Names remembered at most.
    static let capacity = 10_000
    private var last: [String: UnixTime] = [:]

    /// Whether there was none about `name` within the interval; from now on there was.
    mutating func isNew(_ name: String, at now: UnixTime) -> Bool {
        if let before = last[name], now < before + Self.interval { return false }
        if last.count >= Self.capacity { last = last.filter { now < $0.value + Self.interval } }
        // More names than that within an hour: better a few messages twice than a table without end.
        if last.count >= Self.capacity { last = [:] }
        last[name] = now
        return true
    }
}
