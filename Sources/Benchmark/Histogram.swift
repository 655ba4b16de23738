import CLoad

/// Latencies in log-linear buckets, none wider than 1/32 of its value; the generator counts into the same ones.
public struct Histogram: Sendable, Equatable {
    public private(set) var counts: [UInt64]
    public private(set) var total: UInt64

    public init() {
        counts = Array(repeating: 0, count: Int(CLOAD_BUCKETS))
        total = 0
    }

    public init(counts: some Sequence<UInt64>) {
        self.counts = Array(counts)
        precondition(self.counts.count == Int(CLOAD_BUCKETS), "the generator's buckets")
        total = self.counts.reduce(0, +)
    }

    public mutating func record(_ value: UInt64) {
        counts[Int(cload_bucket(value))] += 1
        total += 1
    }

    public mutating func add(_ other: Histogram) {
        for bucket in counts.indices { counts[bucket] += other.counts[bucket] }
        total += other.total
    }

    /// The value that `share` (0...1) of all values do not exceed: the greatest of its bucket. nil: there are none.
    public func value(at share: Double) -> UInt64? {
        guard total > 0 else { return nil }
        let rank = max(1, UInt64((share * Double(total)).rounded(.up)))
        var sum: UInt64 = 0
        for (bucket, count) in counts.enumerated() {
            sum += count
            if sum >= rank { return Self.greatest(of: bucket) }
        }
        return nil
    }

    /// Buckets with something in them: the greatest value of each, and how many values.
    public var filled: [(greatest: UInt64, count: UInt64)] {
        counts.enumerated().compactMap { bucket, count in count == 0 ? nil : (Self.greatest(of: bucket), count) }
    }

    static func greatest(of bucket: Int) -> UInt64 { cload_bucket_start(UInt32(bucket) + 1) - 1 }
}
