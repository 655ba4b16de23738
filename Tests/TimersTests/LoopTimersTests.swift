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
        let timers = LoopTimers<Int>(on: loop) { fired.append($0) }
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
        holder.timers = LoopTimers(on: loop) { number in
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

    @Test func stoppedOnesDoNotFire() {
        let loop = EmbeddedEventLoop()
        var fired = 0
        let timers = LoopTimers<Int>(on: loop) { _ in fired += 1 }
        _ = timers.schedule(1, at: .now)
        timers.stop()
        usleep(12_000)
        loop.advanceTime(by: .seconds(1))
        #expect(fired == 0)
    }
}
