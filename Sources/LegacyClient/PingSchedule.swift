import Addresses

/// Which session pings when, and what came back, as a value. The sessions take turns, spread evenly over the interval, so a
/// thousand of them do not send at once.
public struct PingSchedule: Sendable {
    public struct Target: Sendable, Equatable {
        public var sent = 0
        public var received = 0
        public var duplicates = 0
        public var shortest: Duration?
        public var longest: Duration?
        public var sum = Duration.zero
        /// No more requests are sent from it.
        public var isGone = false

        public var lost: Int { sent - received }
        public var average: Duration? { received > 0 ? sum / received : nil }

        var outstanding: [UInt16: ContinuousClock.Instant] = [:]
    }

    public struct Request: Sendable, Equatable {
        public var source: IPAddress
        public var sequence: UInt16
    }

    /// Requests that one call of `due` returns at most; a late caller does not make a burst.
    static let burst = 64

    public private(set) var targets: [IPAddress: Target]
    private let order: [IPAddress]
    private let count: Int?
    private let interval: Duration
    /// A reply that takes longer counts as lost.
    private let patience: Duration
    private let start: ContinuousClock.Instant
    /// Turns taken: the n-th is the request n / sessions of session n mod sessions.
    private var turn = 0
    private var lastSent: ContinuousClock.Instant?

    /// `count` requests from each source; nil: without end.
    public init(
        sources: [IPAddress], count: Int?, interval: Duration, patience: Duration = .seconds(3), now: ContinuousClock.Instant
    ) {
        order = sources
        targets = Dictionary(uniqueKeysWithValues: Set(sources).map { ($0, Target()) })
        self.count = count
        self.interval = max(interval, .milliseconds(1))
        self.patience = patience
        start = now
    }

    private var turns: Int? { count.map { $0 * order.count } }
    private func time(ofTurn turn: Int) -> ContinuousClock.Instant {
        start + interval * (turn / order.count) + interval * (turn % order.count) / order.count
    }

    /// Everything has been sent, and answered or given up.
    public func isFinished(now: ContinuousClock.Instant) -> Bool {
        guard !order.isEmpty else { return true }
        guard turn >= turns ?? .max || targets.values.allSatisfy(\.isGone) else { return false }
        guard targets.values.contains(where: { !$0.isGone && !$0.outstanding.isEmpty }), let lastSent else { return true }
        return now >= lastSent + patience
    }

    /// When `due` or `isFinished` has something new to say.
    public var deadline: ContinuousClock.Instant? {
        guard !order.isEmpty else { return nil }
        if turn < turns ?? .max { return time(ofTurn: turn) }
        return lastSent.map { $0 + patience }
    }

    public mutating func due(now: ContinuousClock.Instant) -> [Request] {
        var requests: [Request] = []
        while !order.isEmpty, turn < turns ?? .max, requests.count < Self.burst, time(ofTurn: turn) <= now {
            let source = order[turn % order.count]
            let sequence = UInt16(truncatingIfNeeded: turn / order.count + 1)
            turn += 1
            guard var target = targets[source], !target.isGone else { continue }
            target.sent += 1
            target.outstanding = target.outstanding.filter { now - $0.value < patience }
            target.outstanding[sequence] = now
            targets[source] = target
            lastSent = now
            requests.append(Request(source: source, sequence: sequence))
        }
        return requests
    }

    public mutating func received(by source: IPAddress, sequence: UInt16, now: ContinuousClock.Instant) {
        guard var target = targets[source] else { return }
        if let sentAt = target.outstanding.removeValue(forKey: sequence) {
            let time = now - sentAt
            if time < patience {
                target.received += 1
                target.sum += time
                target.shortest = min(target.shortest ?? time, time)
                target.longest = max(target.longest ?? time, time)
            }
        } else {
            target.duplicates += 1
        }
        targets[source] = target
    }

    /// Its session has ended: what is still out counts as lost.
    public mutating func remove(_ source: IPAddress) { targets[source]?.isGone = true }

    /// No further requests; what has not been answered by now and is younger than the patience is not held against the session.
    public mutating func stop(now: ContinuousClock.Instant) {
        for source in order {
            guard var target = targets[source], !target.isGone else { continue }
            target.sent -= target.outstanding.values.count { now - $0 < patience }
            target.isGone = true
            targets[source] = target
        }
    }
}
