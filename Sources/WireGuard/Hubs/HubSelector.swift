/// Which endpoint of which hub a tunnel uses. A value: times and what handshakes showed go in, decisions come out.
///
/// A tunnel's places are the endpoints of its hubs in the configured order. Timers:
///
///     failover-after   an uplink that has tried for so long without a completed handshake moves the tunnel to the next place, after the
///                      last to the first. Once every place was tried in vain the time doubles with each round, up to eight times.
///     return-after     from a place that works, the ones before it are probed that long after the move, the first one first, and again
///                      that long after none of them has answered; never if there is none.
///     probeTime        how long the handshake of a probe may take, with another hub beside the one in use: two attempts (Rekey-Timeout of
///                      the WireGuard paper is 5 s).
///     trialTime        the same for another endpoint of the hub in use. There the traffic of the uplink that asks waits: one attempt.
///
/// One uplink cannot move the others for a reason of its own, such as a key that the hub does not know or does not know any more: an
/// uplink's trying counts only if nobody has completed a handshake since it began and nobody has heard the hub for failover-after; one
/// that never completed any counts only while no other has. Uplinks with nothing to send say nothing either way: one of them is asked
/// for a new handshake when half of the time is over.
public struct HubSelector: Sendable, Equatable {
    /// An endpoint of a hub, by number.
    public struct Place: Hashable, Sendable {
        public var hub: Int
        public var endpoint: Int

        public init(hub: Int, endpoint: Int) {
            self.hub = hub
            self.endpoint = endpoint
        }
    }

    public struct Timing: Sendable, Equatable {
        public var failoverAfter: Duration
        /// nil: never.
        public var returnAfter: Duration?
        public var probeTime: Duration = .seconds(11)
        public var trialTime: Duration = .seconds(3)

        public init(failoverAfter: Duration, returnAfter: Duration?) {
            self.failoverAfter = failoverAfter
            self.returnAfter = returnAfter
        }
    }

    /// What is known of one uplink of the tunnel.
    public struct Uplink: Sendable, Equatable {
        /// Since its start, at any place.
        public var hasCompleted: Bool
        /// nil: its last handshake is good, or it has nothing to send.
        public var tryingSince: ContinuousClock.Instant?
        /// When something came from the hub, under keys that live.
        public var heardAt: ContinuousClock.Instant?
        /// Its session can be made anew at any time without a loss.
        public var mayBeAsked: Bool

        public init(
            hasCompleted: Bool, tryingSince: ContinuousClock.Instant?, heardAt: ContinuousClock.Instant? = nil, mayBeAsked: Bool = false
        ) {
            self.hasCompleted = hasCompleted
            self.tryingSince = tryingSince
            self.heardAt = heardAt
            self.mayBeAsked = mayBeAsked
        }
    }

    public enum Decision: Sendable, Equatable {
        case stay
        /// The uplink of this number, which has nothing to send, is to make a new handshake with the hub in use.
        case ask(Int)
        /// No handshake completes: all uplinks go there.
        case failover(Place)
        /// One uplink asks whether a better place answers again; the others stay.
        case probe(Place)
        /// It does: all uplinks go back there.
        case goBack(Place)
        /// It does not.
        case endProbe
    }

    private enum Return: Sendable, Equatable {
        case none
        case at(ContinuousClock.Instant, place: Int)
        case probing(until: ContinuousClock.Instant, place: Int)
    }

    public let timing: Timing
    private let places: [Place]
    private var index = 0
    private var movedAt: ContinuousClock.Instant
    private var lastCompletion: ContinuousClock.Instant?
    /// Moves since a handshake was completed.
    private var movesInVain = 0
    private var comingBack = Return.none
    private var lastAsked: ContinuousClock.Instant?
    public private(set) var failovers: UInt64 = 0

    /// - Parameter endpoints: how many each hub has, in order.
    public init(endpoints: [Int], timing: Timing, now: ContinuousClock.Instant) {
        self.timing = timing
        places = endpoints.enumerated().flatMap { hub, count in (0..<count).map { Place(hub: hub, endpoint: $0) } }
        movedAt = now
    }

    /// nil: no hub has an endpoint; then they have to speak first.
    public var current: Place? { places.isEmpty ? nil : places[index] }
    public var isProbing: Bool { if case .probing = comingBack { true } else { false } }
    /// A handshake was completed at the current place.
    public var works: Bool { lastCompletion != nil }

    /// An uplink has completed a handshake at the current place.
    public mutating func completed(at now: ContinuousClock.Instant) {
        lastCompletion = now
        movesInVain = 0
    }

    /// - Parameter probeCompleted: the handshake of the probe was completed.
    public mutating func evaluate(
        _ uplinks: [Uplink], probeCompleted: Bool = false, now: ContinuousClock.Instant
    ) -> Decision {
        guard places.count > 1 else { return .stay }
        if case .probing(_, let place) = comingBack, probeCompleted { return .goBack(move(to: place, now)) }
        if hasFailed(uplinks, now) {
            failovers += 1
            movesInVain += 1
            return .failover(move(to: (index + 1) % places.count, now))
        }
        if let witness = witness(uplinks, now) {
            lastAsked = now
            return .ask(witness)
        }
        switch comingBack {
        case .none:
            guard index != 0, works, let after = timing.returnAfter else { return .stay }
            comingBack = .at(max(now, movedAt + after), place: 0)
            return .stay
        case .at(let due, let place):
            guard now >= due else { return .stay }
            let time = places[place].hub == places[index].hub ? timing.trialTime : timing.probeTime
            comingBack = .probing(until: now + time, place: place)
            return .probe(places[place])
        case .probing(let end, let place):
            guard now >= end else { return .stay }
            comingBack = place + 1 < index ? .at(now, place: place + 1) : .at(now + (timing.returnAfter ?? .zero), place: 0)
            return .endProbe
        }
    }

    private mutating func move(to new: Int, _ now: ContinuousClock.Instant) -> Place {
        index = new
        movedAt = now
        lastCompletion = nil
        lastAsked = nil
        comingBack = .none
        return places[new]
    }

    // ---- What the uplinks say ----

    /// The hub leaves this uplink without an answer and answers others: it may have forgotten that key.
    public func isRefused(_ uplink: Uplink, among uplinks: [Uplink], now: ContinuousClock.Instant) -> Bool {
        guard let since = uplink.tryingSince, now - max(since, movedAt) >= timing.failoverAfter else { return false }
        return hasAnswered(after: since) || isHeard(uplinks, timing.failoverAfter, now)
    }

    private var patience: Duration { timing.failoverAfter * (1 << min(3, movesInVain / max(1, places.count))) }

    private func hasFailed(_ uplinks: [Uplink], _ now: ContinuousClock.Instant) -> Bool {
        !isHeard(uplinks, patience, now) && triesInVain(uplinks, patience, now)
    }

    /// Whom to ask before the hub is given up.
    private func witness(_ uplinks: [Uplink], _ now: ContinuousClock.Instant) -> Int? {
        let half = patience / 2
        if let lastAsked, now - lastAsked < patience { return nil }
        guard !isProbing, !isHeard(uplinks, half, now), triesInVain(uplinks, half, now) else { return nil }
        return uplinks.firstIndex { $0.hasCompleted && $0.tryingSince == nil && $0.mayBeAsked }
    }

    private func triesInVain(_ uplinks: [Uplink], _ time: Duration, _ now: ContinuousClock.Instant) -> Bool {
        let proven = uplinks.filter(\.hasCompleted)
        return (proven.isEmpty ? uplinks : proven).contains { uplink in
            guard let since = uplink.tryingSince, !hasAnswered(after: since) else { return false }
            return now - max(since, movedAt) >= time
        }
    }

    private func hasAnswered(after since: ContinuousClock.Instant) -> Bool { lastCompletion.map { $0 > since } ?? false }

    private func isHeard(_ uplinks: [Uplink], _ time: Duration, _ now: ContinuousClock.Instant) -> Bool {
        uplinks.contains { uplink in uplink.heardAt.map { now - $0 < time } ?? false }
    }
}
