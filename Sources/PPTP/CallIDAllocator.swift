/// Call IDs that are unique over the whole gateway, so that the call ID of a GRE packet alone finds its session. They are drawn at
/// random: the next one cannot be guessed from the last. A released one rests for a while, so that stray packets of the old
/// call do not reach a new one. Every operation takes constant time, however few are left.
public struct CallIDAllocator: Sendable {
    private struct Resting: Sendable {
        let callID: UInt16
        let until: ContinuousClock.Instant
    }

    private enum Place: Sendable, Equatable {
        /// Index into `free`.
        case free(UInt16)
        case used
        case resting
        /// Call ID 0: legal, but it is what an unanswered call is named with.
        case never
    }

    private let quarantine: Duration
    /// In no order; drawing swaps the last one into the gap.
    private var free: [UInt16]
    private var places: [Place]
    /// Oldest at `oldest`; all rest equally long, so they come back in this order.
    private var resting: [Resting] = []
    private var oldest = 0

    public init(quarantine: Duration = .seconds(30)) {
        self.quarantine = quarantine
        free = Array(1...UInt16.max)
        places = [.never] + free.indices.map { .free(UInt16($0)) }
    }

    public var freeCount: Int { free.count }
    public var restingCount: Int { resting.count - oldest }
    public var usedCount: Int { Int(UInt16.max) - free.count - restingCount }

    /// nil if none is free.
    public mutating func allocate(
        now: ContinuousClock.Instant, using generator: inout some RandomNumberGenerator
    ) -> UInt16? {
        wake(now: now)
        guard let callID = free.randomElement(using: &generator) else { return nil }
        take(callID)
        return callID
    }

    public mutating func allocate(now: ContinuousClock.Instant) -> UInt16? {
        var generator = SystemRandomNumberGenerator()
        return allocate(now: now, using: &generator)
    }

    /// Takes a particular one, for a session that comes from another process; false if it is not free.
    public mutating func reserve(_ callID: UInt16, now: ContinuousClock.Instant) -> Bool {
        wake(now: now)
        guard case .free = places[Int(callID)] else { return false }
        take(callID)
        return true
    }

    /// False, and nothing happens, if it was not in use.
    @discardableResult
    public mutating func release(_ callID: UInt16, now: ContinuousClock.Instant) -> Bool {
        guard places[Int(callID)] == .used else { return false }
        places[Int(callID)] = .resting
        resting.append(Resting(callID: callID, until: now + quarantine))
        return true
    }

    public func isUsed(_ callID: UInt16) -> Bool { places[Int(callID)] == .used }

    private mutating func take(_ callID: UInt16) {
        guard case .free(let index) = places[Int(callID)], let last = free.popLast() else { return }
        places[Int(callID)] = .used
        if last != callID {
            free[Int(index)] = last
            places[Int(last)] = .free(index)
        }
    }

    private mutating func wake(now: ContinuousClock.Instant) {
        while oldest < resting.count, resting[oldest].until <= now {
            let callID = resting[oldest].callID
            places[Int(callID)] = .free(UInt16(free.count))
            free.append(callID)
            oldest += 1
        }
        // Giving the array's head back when half of it is spent keeps the cost of each release constant.
        if oldest > 0, oldest * 2 >= resting.count {
            resting.removeFirst(oldest)
            oldest = 0
        }
    }
}
