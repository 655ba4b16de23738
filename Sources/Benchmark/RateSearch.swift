/// Looks for the highest rate that is carried (RFC 2544 section 26.1): doubles until one is not, halves the distance until it is
/// small, and confirms what it found; a rate that does not hold twice is given up for a lower one.
///
/// A trial that fails is tried once more before it counts: on a machine that others use, one pause of the scheduler loses more than
/// the tolerance.
public struct RateSearch: Sendable {
    public enum Step: Sendable, Equatable {
        case trial(Double)
        /// nil: not even the lowest rate was carried.
        case done(Double?)
    }

    private enum State {
        /// `carried`: the rate before was.
        case climbing(Double, carried: Bool)
        /// Nothing was carried yet, `high` was not.
        case descending(Double, high: Double)
        case halving(low: Double, high: Double)
        case confirming(Double, left: Int)
        case done(Double?)
    }

    private let lowest: Double
    private let ceiling: Double
    private let precision: Double
    private let confirmations: Int
    private var state: State
    private var hasFailedOnce = false
    public private(set) var trials = 0

    /// A rate is found once the next one that fails is less than `precision` (0.05: 5 %) above it.
    public init(from first: Double = 4000, lowest: Double = 250, ceiling: Double, precision: Double = 0.05, confirmations: Int = 1) {
        precondition(lowest > 0 && first >= lowest && ceiling >= lowest && precision > 0 && confirmations >= 0)
        self.lowest = lowest
        self.ceiling = ceiling
        self.precision = precision
        self.confirmations = confirmations
        state = .climbing(min(first, ceiling), carried: false)
    }

    public var next: Step {
        switch state {
        case .climbing(let rate, _), .descending(let rate, _), .confirming(let rate, _): .trial(rate)
        case .halving(let low, let high): .trial(Self.middle(low, high))
        case .done(let rate): .done(rate)
        }
    }

    /// What became of the trial that `next` asked for.
    public mutating func report(carried: Bool) {
        trials += 1
        if !carried, !hasFailedOnce {
            hasFailedOnce = true
            return
        }
        hasFailedOnce = false
        switch state {
        case .climbing(let rate, let lowerWas):
            if carried {
                state = rate >= ceiling ? confirming(rate) : .climbing(min(rate * 2, ceiling), carried: true)
            } else {
                state = lowerWas ? narrowed(low: rate / 2, high: rate) : below(rate)
            }
        case .descending(let rate, let high): state = carried ? narrowed(low: rate, high: high) : below(rate)
        case .halving(let low, let high):
            let rate = Self.middle(low, high)
            state = carried ? narrowed(low: rate, high: high) : narrowed(low: low, high: rate)
        case .confirming(let rate, let left):
            if carried { state = left > 1 ? .confirming(rate, left: left - 1) : .done(rate) } else { state = lower(than: rate) }
        case .done: break
        }
    }

    private static func middle(_ low: Double, _ high: Double) -> Double { (low * high).squareRoot() }

    private func below(_ rate: Double) -> State { rate > lowest ? .descending(max(lowest, rate / 2), high: rate) : .done(nil) }

    private func narrowed(low: Double, high: Double) -> State { high <= low * (1 + precision) ? confirming(low) : .halving(low: low, high: high) }

    private func confirming(_ rate: Double) -> State { confirmations == 0 ? .done(rate) : .confirming(rate, left: confirmations) }

    private func lower(than rate: Double) -> State {
        guard rate > lowest else { return .done(nil) }
        return .confirming(max(lowest, rate / (1 + 2 * precision)), left: max(1, confirmations))
    }
}
