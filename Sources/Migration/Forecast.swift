/// Users in each phase at the end of one day.
public struct DayCount: Sendable, Codable, Equatable {
    /// Days since the Unix epoch.
    public var day: Int
    public var counts: [Phase: Int]

    public init(day: Int, counts: [Phase: Int]) {
        self.day = day
        self.counts = counts
    }

    public var remaining: Int { counts.reduce(0) { $0 + ($1.key.isDone ? 0 : $1.value) } }
    public var done: Int { counts.reduce(0) { $0 + ($1.key.isDone ? $1.value : 0) } }
}

/// When the last user will be done if things go on as they did.
public enum Forecast: Sendable, Equatable {
    /// There is nobody left.
    case done
    /// At this many users a day, the last one is done on that day (days since the Unix epoch).
    case ends(day: Int, perDay: Double)
    /// In the time looked at nobody more was done: at this pace it never ends.
    case stalled
    /// Fewer than two days are known.
    case unknown

    /// - Parameter trend: one entry a day, oldest first; days may be missing. The pace is the one between the oldest entry of the last
    ///   `window` days and the newest.
    public init(trend: [DayCount], window: Int = 30) {
        guard let last = trend.last else {
            self = .unknown
            return
        }
        guard last.remaining > 0 else {
            self = .done
            return
        }
        guard let first = trend.first(where: { $0.day >= last.day - window }), first.day < last.day else {
            self = .unknown
            return
        }
        let pace = Double(last.done - first.done) / Double(last.day - first.day)
        guard pace > 0 else {
            self = .stalled
            return
        }
        let days = (Double(last.remaining) / pace).rounded(.up)
        // Slower than that is no forecast that anybody should plan with.
        self = days > 100 * 366 ? .stalled : .ends(day: last.day + Int(days), perDay: pace)
    }
}
