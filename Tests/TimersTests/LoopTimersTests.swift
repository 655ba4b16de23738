import Foundation
import NIOCore
import NIOEmbedded
import Testing

@testable import Timers

@Suite struct LoopTimersTests {
    /// The loop's clock is embedded, the timers' is real: a wake-up comes when the test says so, and finds what is due by then.
    @Test func oneWakeUpServesAll() async throws {
        let loop = EmbeddedEventLoop()
        var fired: [Int] = []
        let timers = LoopTimers<Int>(on: loop) { number, _ in fired.append(number) }
        let start = ContinuousClock.now
        _ = timers.schedule(2, at: start + .milliseconds(30))
        let cancelled = timers.schedule(3, at: start + .milliseconds(5))
        _ = timers.schedule(1, at: start + .milliseconds(10))
        timers.cancel(cancelled)
        while ContinuousClock.now < start + .milliseconds(60) { usleep(1000) }
        loop.advanceTime(by: .milliseconds(5))
        #expect(fired.isEmpty, "the loop has not come to the wake-up")
        for _ in 0..<4 { loop.advanceTime(by: .milliseconds(20)) }
        #expect(fired.sorted() == [1, 2])
        #expect(timers.count == 0)
    }

    @Test func aTimerSetWhileOthersFireHasItsTurn() {
        let loop = EmbeddedEventLoop()
        final class Holder { var timers: LoopTimers<Int>? }
        let holder = Holder()
        var fired: [Int] = []
        holder.timers = LoopTimers(on: loop) { number, _ in
            fired.append(number)
            if number < 3 { _ = holder.timers?.schedule(number + 1, at: .now) }
        }
        _ = holder.timers?.schedule(1, at: .now)
        for _ in 0..<20 where fired.count < 3 {
            usleep(11_000)
            loop.advanceTime(by: .milliseconds(50))
        }
        #expect(fired == [1, 2, 3])
        holder.timers = nil
    }

    /// The owner of two that are due in one turn tells by the token that the second is not the one it waits for any more.
    @Test func oneThatIsMovedByAnotherOfItsTurnFiresWithTheOldToken() {
        let loop = EmbeddedEventLoop()
        final class Owner {
            var timers: LoopTimers<Int>?
            var token: TimerWheel<Int>.Token?
        }
        let owner = Owner()
        let start = ContinuousClock.now
        var current = 0, spent = 0
        owner.timers = LoopTimers(on: loop) { number, token in
            guard number == 2 else {
                // Whichever of the two comes first, only one of them can find itself current.
                owner.timers?.cancel(owner.token!)
                owner.token = owner.timers?.schedule(2, at: .now + .seconds(3600))
                return
            }
            if token == owner.token { current += 1 } else { spent += 1 }
        }
        // The list of a slot is taken from its newest end.
        owner.token = owner.timers?.schedule(2, at: start)
        _ = owner.timers?.schedule(1, at: start)
        usleep(25_000)
        loop.advanceTime(by: .milliseconds(50))
        #expect(current == 0)
        #expect(spent == 1)
        #expect(owner.timers?.count == 1, "the new one waits")
        owner.timers = nil
    }

    @Test func stoppedOnesDoNotFire() {
        let loop = EmbeddedEventLoop()
        var fired = 0
        let timers = LoopTimers<Int>(on: loop) { _, _ in fired += 1 }
        _ = timers.schedule(1, at: .now)
        timers.stop()
        usleep(12_000)
        loop.advanceTime(by: .seconds(1))
        #expect(fired == 0)
    }
}
