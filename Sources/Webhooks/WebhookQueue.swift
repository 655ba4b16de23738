/// What waits for one receiver, in order: the next event goes out when the one before it has arrived or has been given up. A value; time and
/// chance come in.
///
/// Its timer: `nextDeadline`, when an event that failed is tried again: after `firstDelay`, doubled each time up to `longestDelay`, less up to
/// a quarter by chance so that many gateways do not come at once. A receiver may ask for more (`Retry-After`, RFC 9110 section 10.2.3).
public struct WebhookQueue: Sendable {
    public struct Limits: Sendable {
        /// Beyond that the oldest one is dropped: what happened last says more.
        public var capacity = 1000
        /// Then the event is given up.
        public var attempts = 10
        public var firstDelay = Duration.seconds(1)
        public var longestDelay = Duration.seconds(300)
        public init() {}
    }

    public struct Delivery: Sendable, Equatable {
        public var event: WebhookEvent
        /// 1 is the first.
        public var attempt: Int
    }

    public enum Outcome: Sendable, Equatable {
        case arrived
        /// Nobody answered, or not now; with the receiver's own wish.
        case failed(String, retryAfter: Duration? = nil)
        /// The receiver does not want it: the same again would be refused again.
        case refused(String)
    }

    public enum Verdict: Sendable, Equatable {
        case arrived
        case again(after: Duration)
        case givenUp(attempts: Int, reason: String)
        /// It was dropped for newer ones while it was on its way.
        case dropped
    }

    public let limits: Limits
    private var waiting: [WebhookEvent] = []
    /// Attempts that the first one has had.
    private var attempts = 0
    private var notBefore: ContinuousClock.Instant?
    private var onTheWay: Delivery?
    public private(set) var dropped: UInt64 = 0

    public init(limits: Limits = Limits()) { self.limits = limits }

    public var count: Int { waiting.count }
    /// Nothing will go out for now: there is nothing, or the receiver has just failed.
    public var rests: Bool { waiting.isEmpty || nextDeadline != nil }
    /// When an event that failed is due again; nil: none is, or `start` has one to give at once.
    public var nextDeadline: ContinuousClock.Instant? { onTheWay != nil || waiting.isEmpty ? nil : notBefore }

    /// False: the oldest one was dropped for it.
    public mutating func add(_ event: WebhookEvent) -> Bool {
        waiting.append(event)
        guard waiting.count > limits.capacity else { return true }
        waiting.removeFirst()
        // The next one is a new event to the receiver, who is not asked any sooner for that.
        attempts = 0
        dropped += 1
        return false
    }

    /// The next one, if it is time; the caller sends it and says with `finished` what became of it.
    public mutating func start(now: ContinuousClock.Instant) -> Delivery? {
        guard onTheWay == nil, let event = waiting.first, notBefore.map({ $0 <= now }) ?? true else { return nil }
        attempts += 1
        let delivery = Delivery(event: event, attempt: attempts)
        onTheWay = delivery
        return delivery
    }

    /// `chance`: 0..<1.
    public mutating func finished(_ outcome: Outcome, now: ContinuousClock.Instant, chance: Double) -> Verdict {
        guard let delivery = onTheWay else { return .dropped }
        onTheWay = nil
        guard waiting.first?.id == delivery.event.id else {
            if case .failed(_, let wish) = outcome, !waiting.isEmpty { notBefore = now + max(limits.firstDelay, min(wish ?? .zero, limits.longestDelay)) }
            return outcome == .arrived ? .arrived : .dropped
        }
        switch outcome {
        case .arrived:
            next()
            return .arrived
        case .refused(let reason):
            next()
            return .givenUp(attempts: delivery.attempt, reason: reason)
        case .failed(let reason, let wish):
            guard delivery.attempt < limits.attempts else {
                next()
                return .givenUp(attempts: delivery.attempt, reason: reason)
            }
            let doubled = min(limits.firstDelay * (1 << min(delivery.attempt - 1, 20)), limits.longestDelay)
            let delay = max(doubled * (1 - chance / 4), min(wish ?? .zero, limits.longestDelay))
            notBefore = now + delay
            return .again(after: delay)
        }
    }

    private mutating func next() {
        waiting.removeFirst()
        attempts = 0
        notBefore = nil
    }
}
