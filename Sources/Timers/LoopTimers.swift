import NIOCore

/// A timer wheel that an event loop turns. One wake-up is scheduled there, however many timers there are: the loop's own cost more
/// with each other one when they are cancelled.
///
/// Everything is called on the loop.
public final class LoopTimers<Payload> {
    private let eventLoop: any EventLoop
    private let fire: (Payload, TimerWheel<Payload>.Token) -> Void
    private var wheel: TimerWheel<Payload>
    private var wakeUp: (at: ContinuousClock.Instant, task: Scheduled<Void>)?
    private var isFiring = false

    /// - Parameter fire: called for each timer that is due, with the token that `schedule` returned; it may schedule and cancel others, but
    ///   those that are due in the same turn fire all the same.
    public init(on eventLoop: any EventLoop, fire: @escaping (Payload, TimerWheel<Payload>.Token) -> Void) {
        self.eventLoop = eventLoop
        self.fire = fire
        wheel = TimerWheel(now: .now)
    }

    public var count: Int { wheel.count }

    public func schedule(_ payload: Payload, at instant: ContinuousClock.Instant) -> TimerWheel<Payload>.Token {
        let token = wheel.schedule(payload, at: instant)
        if !isFiring { wakeUpForNext() }
        return token
    }

    /// The wake-up stays: if nothing is due then, nothing happens.
    public func cancel(_ token: TimerWheel<Payload>.Token) { wheel.cancel(token) }

    public func trim() { wheel.trim() }

    /// None fires any more.
    public func stop() {
        wakeUp?.task.cancel()
        wakeUp = nil
        wheel = TimerWheel(now: .now)
    }

    private func wakeUpForNext() {
        guard let next = wheel.next else { return }
        if let wakeUp {
            guard next < wakeUp.at else { return }
            wakeUp.task.cancel()
        }
        let delay = max(.zero, ContinuousClock.now.duration(to: next))
        let this = NIOLoopBound(self, eventLoop: eventLoop)
        wakeUp = (next, eventLoop.scheduleTask(in: TimeAmount(delay)) { this.value.turn() })
    }

    private func turn() {
        wakeUp = nil
        isFiring = true
        for (payload, token) in wheel.expire(now: .now) { fire(payload, token) }
        isFiring = false
        wakeUpForNext()
    }
}
