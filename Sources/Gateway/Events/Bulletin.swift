import Foundation
import Synchronization

/// Hands what happens to everybody who has subscribed. Whoever tells never waits: a subscriber who does not keep up loses the oldest ones and
/// is told how many.
final class Bulletin: Sendable {
    struct Entry: Sendable, Equatable {
        /// Counts all that was told, subscribed to or not.
        var number: UInt64
        var at: Date
        var happening: Happening
    }

    enum Signal: Sendable, Equatable {
        case entry(Entry)
        /// Nothing happened; somebody wanted the subscriber to look around.
        case wake
    }

    /// Ends when it is let go of, or with the bulletin.
    final class Subscription: Sendable {
        let signals: AsyncStream<Signal>
        private let continuation: AsyncStream<Signal>.Continuation
        private let lost: Lost
        private let cancel: @Sendable () -> Void

        fileprivate init(
            _ signals: AsyncStream<Signal>, _ continuation: AsyncStream<Signal>.Continuation, _ lost: Lost, cancel: @escaping @Sendable () -> Void
        ) {
            self.signals = signals
            self.continuation = continuation
            self.lost = lost
            self.cancel = cancel
        }
        deinit { cancel() }

        /// What waits can still be read.
        func end() { cancel() }

        /// How many were lost since the last call.
        func takeLost() -> Int { lost.count.exchange(0, ordering: .relaxed) }
        func wake() { lost.note(continuation.yield(.wake)) }
    }

    fileprivate final class Lost: Sendable {
        let count = Atomic<Int>(0)

        func note(_ result: AsyncStream<Signal>.Continuation.YieldResult) {
            if case .dropped(.entry) = result { count.add(1, ordering: .relaxed) }
        }
    }

    private struct Subscriber {
        var continuation: AsyncStream<Signal>.Continuation
        var lost: Lost
    }
    private struct State {
        var number: UInt64 = 0
        var isOver = false
        var subscribers: [Int: Subscriber] = [:]
        var nextKey = 0
    }
    private let state = Mutex(State())
    /// Subscribers who may be there at once.
    let capacity: Int

    init(capacity: Int = 64) { self.capacity = capacity }

    func tell(_ happening: @autoclosure () -> Happening) {
        state.withLock { state in
            state.number += 1
            guard !state.subscribers.isEmpty else { return }
            let entry = Entry(number: state.number, at: Date(), happening: happening())
            for subscriber in state.subscribers.values {
                subscriber.lost.note(subscriber.continuation.yield(.entry(entry)))
            }
        }
    }

    /// Hears everything from now on. nil: there are too many subscribers already, or the bulletin is over.
    /// - Parameter backlog: entries that wait for a subscriber who is slow.
    func subscribe(backlog: Int) -> Subscription? {
        state.withLock { state in
            guard !state.isOver, state.subscribers.count < capacity else { return nil }
            let (signals, continuation) = AsyncStream.makeStream(of: Signal.self, bufferingPolicy: .bufferingNewest(backlog))
            let key = state.nextKey
            state.nextKey += 1
            let lost = Lost()
            state.subscribers[key] = Subscriber(continuation: continuation, lost: lost)
            return Subscription(signals, continuation, lost) { [weak self] in
                self?.state.withLock { $0.subscribers.removeValue(forKey: key) }?.continuation.finish()
            }
        }
    }

    var subscriberCount: Int { state.withLock { $0.subscribers.count } }

    /// Subscribers get what waits for them, then their streams end.
    func finish() {
        state.withLock { state in
            state.isOver = true
            for subscriber in state.subscribers.values { subscriber.continuation.finish() }
        }
    }
}
