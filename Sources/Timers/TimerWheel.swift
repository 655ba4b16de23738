/// Many timers, most of which are moved or cancelled before they are due: each of that takes constant time, however many there are.
///
/// A tick is 10 ms. Its number is read as digits of six bits, and a timer lies at the level of the highest digit in which it differs from
/// the present tick, in the slot of that digit. Nothing is moved until the present comes to the slot: then its timers are due, or find
/// their places at lower levels.
public struct TimerWheel<Payload> {
    /// Names one scheduled timer; worth nothing once it has fired or been cancelled.
    public struct Token: Hashable, Sendable {
        fileprivate let index: Int32
        fileprivate let serial: UInt32
    }

    private struct Entry {
        var payload: Payload?
        var due: UInt64
        var serial: UInt32
        /// Of the slot's list, or of the free ones.
        var next: Int32
        var previous: Int32
        var slot: Int32
    }

    private static var bits: UInt64 { 6 }
    private static var slots: Int { 64 }
    /// Enough for 64 bits: no time is too far.
    private static var levels: Int { 11 }
    private static var none: Int32 { -1 }
    private static var attosecondsPerTick: Int64 { 10_000_000_000_000_000 }
    private static var ticksPerSecond: Int64 { 100 }

    private let origin: ContinuousClock.Instant
    /// Everything up to this tick has fired.
    private var present: UInt64 = 0
    private var entries: [Entry] = []
    private var firstFree = none
    private var serial: UInt32 = 0
    private var heads = [Int32](repeating: none, count: levels * slots)
    /// A bit for each slot of a level that is not empty.
    private var occupied = [UInt64](repeating: 0, count: levels)
    public private(set) var count = 0

    public init(now: ContinuousClock.Instant) { origin = now }

    /// Never fires before `instant`, and at most a tick after it as far as the wheel is concerned. What is past is due with the next tick.
    public mutating func schedule(_ payload: Payload, at instant: ContinuousClock.Instant) -> Token {
        serial &+= 1
        let index = freeEntry()
        entries[Int(index)].payload = payload
        entries[Int(index)].due = max(present + 1, tick(endingAfter: instant))
        entries[Int(index)].serial = serial
        insert(index)
        count += 1
        return Token(index: index, serial: serial)
    }

    /// False, and nothing happens, if it has fired or was cancelled before.
    @discardableResult
    public mutating func cancel(_ token: Token) -> Bool {
        let index = Int(token.index)
        guard index < entries.count, entries[index].serial == token.serial, entries[index].payload != nil else { return false }
        unlink(token.index)
        release(token.index)
        return true
    }

    /// When `expire` has something to do: a timer is due, or has to be placed anew. nil: there are none.
    public var next: ContinuousClock.Instant? { nextSlot.map { instant(ofTick: $0.start) } }

    /// Takes out what is due, with the tokens that are worth nothing from now on.
    public mutating func expire(now: ContinuousClock.Instant) -> [(payload: Payload, token: Token)] {
        var due: [(payload: Payload, token: Token)] = []
        let last = tick(beginningBefore: now)
        while let (level, slot, start) = nextSlot, start <= last {
            present = start
            var index = heads[level * Self.slots + slot]
            heads[level * Self.slots + slot] = Self.none
            occupied[level] &= ~(1 << UInt64(slot))
            while index != Self.none {
                let following = entries[Int(index)].next
                if entries[Int(index)].due <= present, let payload = entries[Int(index)].payload {
                    due.append((payload, Token(index: index, serial: entries[Int(index)].serial)))
                    release(index)
                } else {
                    insert(index)
                }
                index = following
            }
        }
        present = max(present, last)
        return due
    }

    /// Gives room back that many timers took, once there are none.
    public mutating func trim() {
        guard count == 0 else { return }
        entries = []
        firstFree = Self.none
    }

    // ---- ticks ----

    private func tick(endingAfter instant: ContinuousClock.Instant) -> UInt64 {
        let (seconds, attoseconds) = (instant - origin).components
        let ticks = seconds * Self.ticksPerSecond + (attoseconds + Self.attosecondsPerTick - 1) / Self.attosecondsPerTick
        return UInt64(max(0, ticks))
    }

    private func tick(beginningBefore instant: ContinuousClock.Instant) -> UInt64 {
        let (seconds, attoseconds) = (instant - origin).components
        return UInt64(max(0, seconds * Self.ticksPerSecond + attoseconds / Self.attosecondsPerTick))
    }

    private func instant(ofTick tick: UInt64) -> ContinuousClock.Instant { origin + .milliseconds(10) * Int64(clamping: tick) }

    // ---- slots ----

    /// The slot that the present comes to first: at the lowest level that has one, since higher ones begin where that level ends.
    private var nextSlot: (level: Int, slot: Int, start: UInt64)? {
        for level in 0..<Self.levels where occupied[level] != 0 {
            let slot = occupied[level].trailingZeroBitCount
            let shift = UInt64(level) * Self.bits
            let above = shift + Self.bits < 64 ? (present >> (shift + Self.bits)) << (shift + Self.bits) : 0
            return (level, slot, above | UInt64(slot) << shift)
        }
        return nil
    }

    private mutating func insert(_ index: Int32) {
        let due = entries[Int(index)].due
        let difference = due ^ present
        let level = difference == 0 ? 0 : (63 - difference.leadingZeroBitCount) / Int(Self.bits)
        let digit = due >> (UInt64(level) * Self.bits) & UInt64(Self.slots - 1)
        let slot = level * Self.slots + Int(digit)
        let head = heads[slot]
        entries[Int(index)].slot = Int32(slot)
        entries[Int(index)].previous = Self.none
        entries[Int(index)].next = head
        if head != Self.none { entries[Int(head)].previous = index }
        heads[slot] = index
        occupied[level] |= 1 << digit
    }

    private mutating func unlink(_ index: Int32) {
        let entry = entries[Int(index)]
        if entry.next != Self.none { entries[Int(entry.next)].previous = entry.previous }
        if entry.previous != Self.none {
            entries[Int(entry.previous)].next = entry.next
        } else {
            let slot = Int(entry.slot)
            heads[slot] = entry.next
            if entry.next == Self.none { occupied[slot / Self.slots] &= ~(1 << UInt64(slot % Self.slots)) }
        }
    }

    // ---- entries ----

    private mutating func freeEntry() -> Int32 {
        guard firstFree != Self.none else {
            entries.append(Entry(payload: nil, due: 0, serial: 0, next: Self.none, previous: Self.none, slot: Self.none))
            return Int32(entries.count - 1)
        }
        let index = firstFree
        firstFree = entries[Int(index)].next
        return index
    }

    private mutating func release(_ index: Int32) {
        entries[Int(index)].payload = nil
        entries[Int(index)].next = firstFree
        firstFree = index
        count -= 1
    }
}
