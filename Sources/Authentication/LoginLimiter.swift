import Addresses

/// Slows down guessing: after some failed log-ins a user is locked out *from one source*, for longer each time.
///
/// Counting by (user, source) means that nobody can lock somebody else out. An IPv6 source counts by its /64: its owner has all
/// of them. Memory is bounded: per source, and in all. An attacker who overflows it only makes us forget the attacker's own or
/// the oldest failures.
///
/// Times: failures are forgotten `memory` after the last one; a lock lasts `lockTime`, doubled for each lock in a row up to
/// eightfold.
public struct LoginLimiter: Sendable {
    public struct Limits: Sendable, Equatable {
        /// Failed log-ins that lead to a lock. 0: never lock.
        public var failures: Int
        public var lockTime: Duration
        public var memory: Duration
        public var maxUsersPerSource: Int
        public var maxSources: Int

        public init(
            failures: Int = 10, lockTime: Duration = .seconds(60), memory: Duration = .seconds(900), maxUsersPerSource: Int = 64,
            maxSources: Int = 8192
        ) {
            self.failures = failures
            self.lockTime = lockTime
            self.memory = memory
            self.maxUsersPerSource = maxUsersPerSource
            self.maxSources = maxSources
        }
    }

    private struct Record {
        var failures = 0
        var locks = 0
        var lockedUntil: ContinuousClock.Instant?
        var lastFailure: ContinuousClock.Instant
    }

    private struct Source {
        var users: [[UInt8]: Record] = [:]
        var lastFailure: ContinuousClock.Instant
    }

    public var limits: Limits
    private var sources: [IPPrefix: Source] = [:]

    public init(limits: Limits) { self.limits = limits }

    /// (user, source) pairs with failures on record.
    public var recordCount: Int { sources.values.reduce(0) { $0 + $1.users.count } }

    /// Whether this log-in may be tried. A refused attempt does not lengthen the lock: a device that keeps dialling gets in
    /// again.
    public func permits(user: [UInt8], source: IPAddress, now: ContinuousClock.Instant) -> Bool {
        guard let until = sources[Self.key(source)]?.users[Self.key(user)]?.lockedUntil else { return true }
        return now >= until
    }

    public mutating func failed(user: [UInt8], source: IPAddress, now: ContinuousClock.Instant) {
        guard limits.failures > 0 else { return }
        let sourceKey = Self.key(source)
        let userKey = Self.key(user)
        if sources[sourceKey] == nil, sources.count >= limits.maxSources { evictSources(now) }
        var entry = sources[sourceKey] ?? Source(lastFailure: now)
        entry.lastFailure = now

        var record = entry.users[userKey] ?? Record(lastFailure: now)
        if now - record.lastFailure > limits.memory + lockTime(record.locks) { record = Record(lastFailure: now) }
        record.failures += 1
        record.lastFailure = now
        if record.failures >= limits.failures {
            record.failures = 0
            record.locks = min(record.locks + 1, Self.maxDoublings + 1)
            record.lockedUntil = now + lockTime(record.locks)
        }
        if entry.users[userKey] == nil, entry.users.count >= limits.maxUsersPerSource,
            let oldest = entry.users.min(by: { $0.value.lastFailure < $1.value.lastFailure })
        {
            entry.users[oldest.key] = nil
        }
        entry.users[userKey] = record
        sources[sourceKey] = entry
    }

    /// A good password clears the user's record at that source.
    public mutating func succeeded(user: [UInt8], source: IPAddress) {
        let key = Self.key(source)
        guard sources[key] != nil else { return }
        sources[key]?.users[Self.key(user)] = nil
        if sources[key]?.users.isEmpty == true { sources[key] = nil }
    }

    private static let maxDoublings = 3
    /// Longer names are told apart by their beginning only; CHAP cannot carry more than this anyway in practice.
    private static let maxNameLength = 256

    private func lockTime(_ locks: Int) -> Duration {
        locks == 0 ? .zero : limits.lockTime * (1 << min(locks - 1, Self.maxDoublings))
    }

    /// Makes room for an eighth of the table at once, so that a flood of sources costs a sort now and then and not one scan each.
    private mutating func evictSources(_ now: ContinuousClock.Instant) {
        let memory = limits.memory + lockTime(Self.maxDoublings + 1)
        sources = sources.filter { now - $0.value.lastFailure <= memory }
        let room = max(limits.maxSources / 8, 1)
        guard sources.count > limits.maxSources - room else { return }
        let oldest = sources.sorted { $0.value.lastFailure < $1.value.lastFailure }.prefix(
            sources.count - limits.maxSources + room)
        for (key, _) in oldest { sources[key] = nil }
    }

    /// A user is the same user with and without `DOMAIN\`.
    private static func key(_ user: [UInt8]) -> [UInt8] { Array(MSCHAPv2.withoutDomain(user).prefix(maxNameLength)) }

    private static func key(_ source: IPAddress) -> IPPrefix {
        IPPrefix(containing: source, length: source.family == .v4 ? 32 : 64) ?? IPPrefix(source)
    }
}
