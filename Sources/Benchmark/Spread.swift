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
