import Testing

@testable import Timers

@Suite struct TimerWheelTests {
    private let start = ContinuousClock.now
    private func wheel() -> Wheel { Wheel(TimerWheel(now: start)) }

    @Test func firesNeverEarlyAndAtMostATickLate() {
        for milliseconds in [0, 1, 9, 10, 11, 639, 640, 641, 40_959, 40_960, 40_961, 2_621_440, 3_600_000] {
            let wheel = wheel()
            let due = start + .milliseconds(milliseconds)
            _ = wheel.schedule(1, at: due)
            #expect(wheel.expire(now: due - .nanoseconds(1)) == [], "\(milliseconds) ms")
            #expect(wheel.expire(now: max(due, start) + .milliseconds(10)) == [1], "\(milliseconds) ms")
            #expect(wheel.count == 0 && wheel.next == nil)
        }
    }

    @Test func whatIsPastIsDueAtOnce() {
        let wheel = wheel()
        #expect(wheel.expire(now: start + .seconds(100)) == [])
        _ = wheel.schedule(1, at: start + .seconds(3))
        #expect(wheel.expire(now: start + .seconds(100)) == [])
        #expect(wheel.expire(now: start + .milliseconds(100_010)) == [1])
    }

    @Test func aCancelledOneDoesNotFire() {
        let wheel = wheel()
        let tokens = (0..<10).map { wheel.schedule($0, at: start + .milliseconds(500)) }
        // First, middle and last of one slot's list.
        for victim in [0, 4, 9] { #expect(wheel.cancel(tokens[victim])) }
        #expect(!wheel.cancel(tokens[4]), "twice")
        #expect(wheel.expire(now: start + .seconds(1)).sorted() == [1, 2, 3, 5, 6, 7, 8])
        #expect(!wheel.cancel(tokens[1]), "it has fired")
    }

    @Test func aTokenIsNotMistakenForItsSuccessor() {
        let wheel = wheel()
        let old = wheel.schedule(1, at: start + .milliseconds(20))
        wheel.cancel(old)
        _ = wheel.schedule(2, at: start + .milliseconds(20))
        #expect(!wheel.cancel(old))
        #expect(wheel.expire(now: start + .seconds(1)) == [2])
    }

    @Test func trimForgetsNothingThatIsScheduled() {
        let wheel = wheel()
        let token = wheel.schedule(1, at: start + .seconds(1))
        wheel.trim()
        #expect(wheel.count == 1)
        wheel.cancel(token)
        wheel.trim()
        #expect(!wheel.cancel(token))
        _ = wheel.schedule(2, at: start + .seconds(1))
        #expect(wheel.expire(now: start + .seconds(2)) == [2])
    }

    @Test func nextIsNeverLaterThanTheEarliest() {
        let wheel = wheel()
        _ = wheel.schedule(1, at: start + .seconds(3600))
        _ = wheel.schedule(2, at: start + .seconds(50))
        var turns = 0
        var fired: [Int] = []
        // Only ever turned when it asks for it.
        while let next = wheel.next, turns < 100 {
            #expect(next <= start + .seconds(fired.isEmpty ? 50 : 3600))
            fired += wheel.expire(now: next)
            turns += 1
        }
        #expect(fired == [2, 1])
        #expect(turns < 12, "a slot of each level at most")
    }

    /// Against a plain list, with random times, cancellations and jumps of the clock.
    @Test func doesWhatAListDoes() {
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20 {
            let wheel = wheel()
            var now = start
            var list: [Int: (due: ContinuousClock.Instant, token: TimerWheel<Int>.Token)] = [:]
            for number in 0..<2000 {
                switch Int.random(in: 0..<10, using: &random) {
                case 0..<6:
                    let span = [100, 5_000, 100_000, 10_000_000].randomElement(using: &random)!
                    let due = now + .microseconds(Int.random(in: 0...span * 1000, using: &random))
                    list[number] = (due, wheel.schedule(number, at: due))
                case 6..<8:
                    guard let victim = list.keys.randomElement(using: &random) else { continue }
                    #expect(wheel.cancel(list.removeValue(forKey: victim)!.token))
                default:
                    now += .microseconds(Int.random(in: 0...[1_000, 1_000_000, 600_000_000].randomElement(using: &random)!, using: &random))
                    for fired in wheel.fire(now: now) {
                        let entry = list.removeValue(forKey: fired.payload)
                        #expect(entry.map { $0.due <= now && $0.token == fired.token } ?? false, "early, cancelled or twice")
                    }
                    #expect(list.values.allSatisfy { $0.due > now - .milliseconds(20) }, "late")
                    #expect(wheel.count == list.count)
                }
            }
        }
    }
}

/// An expectation calls nothing that changes a value.
private final class Wheel {
    private var wheel: TimerWheel<Int>

    init(_ wheel: TimerWheel<Int>) { self.wheel = wheel }

    var count: Int { wheel.count }
    var next: ContinuousClock.Instant? { wheel.next }
    func schedule(_ number: Int, at instant: ContinuousClock.Instant) -> TimerWheel<Int>.Token { wheel.schedule(number, at: instant) }
    @discardableResult func cancel(_ token: TimerWheel<Int>.Token) -> Bool { wheel.cancel(token) }
    func fire(now: ContinuousClock.Instant) -> [(payload: Int, token: TimerWheel<Int>.Token)] { wheel.expire(now: now) }
    func expire(now: ContinuousClock.Instant) -> [Int] { fire(now: now).map(\.payload) }
    func trim() { wheel.trim() }
}
