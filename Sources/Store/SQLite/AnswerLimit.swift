import Synchronization

/// Bounds how long an answer is waited for. A thread that waits for a disk in the kernel cannot be called back: what was asked goes on, and
/// until it has ended nothing else is asked, so that a disk that hangs collects no threads.
final class AnswerLimit: Sendable {
    private let overdue = Mutex(0)

    func ask<Value: Sendable>(
        within seconds: Double, _ body: @Sendable @escaping () async -> Result<Value, StoreError>
    ) async throws(StoreError) -> Value {
        guard overdue.withLock({ $0 }) == 0 else { throw .unavailable("the disk has not answered an earlier call yet") }
        let answer = Answer<Value>()
        Task {
            let result = await body()
            if !answer.give(result) { overdue.withLock { $0 -= 1 } }
        }
        let timer = Task {
            try await Task.sleep(for: .seconds(seconds))
            // Counted before the caller goes on, who may ask again at once.
            overdue.withLock { $0 += 1 }
            if !answer.give(.failure(.unanswered("for \(seconds) seconds"))) { overdue.withLock { $0 -= 1 } }
        }
        defer { timer.cancel() }
        return try await answer.wait().get()
    }
}

/// The first one given is the answer.
private final class Answer<Value: Sendable>: Sendable {
    private enum State {
        case asked
        case awaited(CheckedContinuation<Result<Value, StoreError>, Never>)
        case given(Result<Value, StoreError>)
        case taken
    }
    private let state = Mutex(State.asked)

    func wait() async -> Result<Value, StoreError> {
        await withCheckedContinuation { continuation in
            let early: Result<Value, StoreError>? = state.withLock { state in
                guard case .given(let result) = state else {
                    state = .awaited(continuation)
                    return nil
                }
                state = .taken
                return result
            }
            if let early { continuation.resume(returning: early) }
        }
    }

    /// False: another one was.
    func give(_ result: Result<Value, StoreError>) -> Bool {
        let waiter: CheckedContinuation<Result<Value, StoreError>, Never>?
        switch state.withLock({ state in
            defer {
                switch state {
                case .asked: state = .given(result)
                case .awaited: state = .taken
                case .given, .taken: break
                }
            }
            return state
        }) {
        case .asked: return true
        case .awaited(let continuation): waiter = continuation
        case .given, .taken: return false
        }
        waiter?.resume(returning: result)
        return true
    }
}
