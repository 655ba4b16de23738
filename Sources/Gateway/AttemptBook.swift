import Addresses
import Diagnosis
import Foundation

/// Attempts that have ended and did not go well, the newest last. It takes what fits: a stranger who fails for ever fills no memory.
struct AttemptBook {
    struct Entry: Sendable {
        /// nil: it never came to a call.
        var session: UInt64?
        var connection: UInt64
        /// The name of the user's entry, once the log-in was right.
        var user: String?
        var endedAt: Date
        var attempt: Attempt
        var verdicts: [Verdict]
    }

    static let capacity = 1000, perSecond = 20
    /// A ring: `oldest` is overwritten next.
    private var ring: [Entry] = []
    private var oldest = 0
    /// Verdicts by name, of all attempts since the start.
    private(set) var counts: [Verdict.Name: UInt64] = [:]
    /// Whoever fails often enough must not fill the disk, nor have all sessions looked through for every failure.
    private var lines = SecondsBudget(limit: perSecond), looks = SecondsBudget(limit: perSecond)

    var entries: [Entry] { Array(ring[oldest...] + ring[..<oldest]) }

    mutating func add(_ entry: Entry) {
        for verdict in entry.verdicts { counts[verdict.name, default: 0] += 1 }
        if ring.count < Self.capacity {
            ring.append(entry)
        } else {
            ring[oldest] = entry
            oldest = (oldest + 1) % Self.capacity
        }
    }

    mutating func mayLog(now: ContinuousClock.Instant) -> Bool { lines.take(now: now) }
    /// At the other sessions of a client's address, however many sessions there are.
    mutating func mayLook(now: ContinuousClock.Instant) -> Bool { looks.take(now: now) }
}

/// So many times in each second.
struct SecondsBudget {
    let limit: Int
    private var taken = 0
    private var since = ContinuousClock.now

    init(limit: Int) { self.limit = limit }

    mutating func take(now: ContinuousClock.Instant) -> Bool {
        if now - since >= .seconds(1) { (taken, since) = (0, now) }
        taken += 1
        return taken <= limit
    }
}

/// GRE of no session, by where it comes from; as many sources as fit, the longest unheard goes first.
struct UnknownCalls {
    struct Sighting {
        var count: UInt64
        var callID: UInt16
        var last: ContinuousClock.Instant
    }

    static let capacity = 256
    private var sightings: [IPAddress: Sighting] = [:]

    mutating func saw(_ callID: UInt16, from source: IPAddress, now: ContinuousClock.Instant) {
        if sightings.count == Self.capacity, sightings[source] == nil, let oldest = sightings.min(by: { $0.value.last < $1.value.last }) {
            sightings[oldest.key] = nil
        }
        sightings[source] = Sighting(count: (sightings[source]?.count ?? 0) + 1, callID: callID, last: now)
    }

    subscript(source: IPAddress) -> Sighting? { sightings[source] }
}
