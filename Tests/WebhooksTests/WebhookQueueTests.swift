import Testing

@testable import Webhooks

func event(_ user: String, _ kind: WebhookEvent.Kind = .firstLegacyLogin) -> WebhookEvent {
    WebhookEvent(id: "id-\(user)", kind: kind, user: user, at: 1_700_000_000, instance: "gw-1")
}

/// `#expect` takes no mutating calls.
private final class Bench {
    private(set) var queue: WebhookQueue
    init(_ limits: WebhookQueue.Limits) { queue = WebhookQueue(limits: limits) }
    var count: Int { queue.count }
    var dropped: UInt64 { queue.dropped }
    var nextDeadline: ContinuousClock.Instant? { queue.nextDeadline }
    func add(_ event: WebhookEvent) -> Bool { queue.add(event) }
    func start(now: ContinuousClock.Instant) -> WebhookQueue.Delivery? { queue.start(now: now) }
    func finished(_ outcome: WebhookQueue.Outcome, now: ContinuousClock.Instant, chance: Double) -> WebhookQueue.Verdict {
        queue.finished(outcome, now: now, chance: chance)
    }
}

@Suite struct WebhookQueueTests {
    private let start = ContinuousClock.now

    private func queue(capacity: Int = 4, attempts: Int = 3) -> Bench {
        var limits = WebhookQueue.Limits()
        limits.capacity = capacity
        limits.attempts = attempts
        limits.longestDelay = .seconds(5)
        return Bench(limits)
    }

    @Test func `in order, one at a time`() {
        let queue = queue()
        #expect(queue.nextDeadline == nil)
        for user in ["a", "b"] { #expect(queue.add(event(user))) }
        #expect(queue.start(now: start) == WebhookQueue.Delivery(event: event("a"), attempt: 1))
        #expect(queue.start(now: start) == nil)
        #expect(queue.nextDeadline == nil)
        #expect(queue.finished(.arrived, now: start, chance: 0) == .arrived)
        #expect(queue.start(now: start)?.event.user == "b")
        #expect(queue.finished(.arrived, now: start, chance: 0) == .arrived)
        #expect(queue.start(now: start) == nil)
        #expect(queue.count == 0)
    }

    @Test func `a queue that is full does not make anybody ask sooner`() {
        let queue = queue(capacity: 2)
        for user in ["a", "b"] { _ = queue.add(event(user)) }
        _ = queue.start(now: start)
        #expect(queue.finished(.failed("status 500"), now: start, chance: 0) == .again(after: .seconds(1)))
        #expect(!queue.add(event("c")))
        #expect(queue.start(now: start + .milliseconds(999)) == nil)
        #expect(queue.start(now: start + .seconds(1)) == WebhookQueue.Delivery(event: event("b"), attempt: 1))
        // It is dropped while it is on its way, and fails.
        #expect(!queue.add(event("d")))
        #expect(queue.finished(.failed("status 500"), now: start + .seconds(2), chance: 0) == .dropped)
        #expect(queue.start(now: start + .seconds(2)) == nil)
        #expect(queue.start(now: start + .seconds(3))?.event.user == "c")
    }

    @Test func `delays double, up to the longest, and the next event waits behind`() {
        let queue = queue(attempts: 5)
        _ = queue.add(event("a"))
        _ = queue.add(event("b"))
        var now = start
        for delay in [1, 2, 4, 5] {
            #expect(queue.start(now: now)?.event.user == "a")
            #expect(queue.finished(.failed("status 500"), now: now, chance: 0) == .again(after: .seconds(delay)))
            #expect(queue.start(now: now + .seconds(delay) - .milliseconds(1)) == nil)
            now += .seconds(delay)
            #expect(queue.nextDeadline == now)
        }
        #expect(queue.start(now: now) == WebhookQueue.Delivery(event: event("a"), attempt: 5))
        #expect(queue.finished(.failed("status 500"), now: now, chance: 0) == .givenUp(attempts: 5, reason: "status 500"))
        #expect(queue.start(now: now) == WebhookQueue.Delivery(event: event("b"), attempt: 1))
    }

    @Test func `chance shortens a delay by a quarter at most`() {
        let queue = queue()
        _ = queue.add(event("a"))
        _ = queue.start(now: start)
        #expect(queue.finished(.failed(""), now: start, chance: 0.5) == .again(after: .milliseconds(875)))
    }

    @Test(arguments: [(3, 3), (1, 1), (3600, 5)]) func `the receiver may ask for more time, within limits`(wish: Int, delay: Int) {
        let queue = queue()
        _ = queue.add(event("a"))
        _ = queue.start(now: start)
        #expect(queue.finished(.failed("", retryAfter: .seconds(wish)), now: start, chance: 0) == .again(after: .seconds(delay)))
    }

    @Test func `what is refused is not tried again`() {
        let queue = queue()
        _ = queue.add(event("a"))
        _ = queue.start(now: start)
        #expect(queue.finished(.refused("status 404"), now: start, chance: 0) == .givenUp(attempts: 1, reason: "status 404"))
        #expect(queue.count == 0)
    }

    @Test func `a full queue drops the oldest`() {
        let queue = queue(capacity: 2)
        #expect(queue.add(event("a")))
        #expect(queue.add(event("b")))
        #expect(!queue.add(event("c")))
        #expect(queue.count == 2)
        #expect(queue.dropped == 1)
        #expect(queue.start(now: start)?.event.user == "b")
    }

    @Test func `one that is dropped while it is on its way`() {
        for (outcome, verdict) in [(WebhookQueue.Outcome.arrived, WebhookQueue.Verdict.arrived), (.failed("x"), .dropped), (.refused("x"), .dropped)] {
            let queue = queue(capacity: 1)
            _ = queue.add(event("a"))
            _ = queue.start(now: start)
            #expect(!queue.add(event("b")))
            #expect(queue.start(now: start) == nil)
            #expect(queue.finished(outcome, now: start, chance: 0) == verdict)
            // A receiver that has just failed is not asked at once.
            let next = verdict == .dropped && outcome != .refused("x") ? start + .seconds(1) : start
            #expect(next == start || queue.start(now: start) == nil)
            #expect(queue.start(now: next) == WebhookQueue.Delivery(event: event("b"), attempt: 1))
        }
    }

    @Test(arguments: [
        (200, WebhookQueue.Outcome.arrived), (204, .arrived), (301, .refused("status 301")), (400, .refused("status 400")), (410, .refused("status 410")),
        (408, .failed("status 408")), (429, .failed("status 429")), (500, .failed("status 500")), (503, .failed("status 503")),
    ])
    func `what a status means`(status: Int, outcome: WebhookQueue.Outcome) { #expect(WebhookResponse(status: status).outcome == outcome) }
}
