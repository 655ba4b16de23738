/// What several rounds gave.
public struct Spread: Codable, Sendable, Equatable {
    public var median: Double
    public var least: Double
    public var greatest: Double

    /// nil: there are no values.
    public init?(_ values: [Double]) {
        let sorted = values.sorted()
        guard let first = sorted.first, let last = sorted.last else { return nil }
        let middle = sorted.count / 2
        median = sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
        least = first
        greatest = last
    }
}

/// Round by round, one's value of the other's: what disturbs both of a round alike cancels out. Rounds with a zero say nothing.
func ratios(_ ones: [BenchReport.Sample], _ others: [BenchReport.Sample], _ value: (BenchReport.Sample) -> Double) -> [Double] {
    zip(ones, others).compactMap { one, other in
        let (above, below) = (value(one), value(other))
        return above > 0 && below > 0 ? above / below : nil
    }
}
