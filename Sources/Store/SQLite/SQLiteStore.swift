import Foundation
import GRDB
import Migration

/// The store in one SQLite file: write-ahead log, one writer, many readers (https://sqlite.org/wal.html).
///
/// A commit is in the log before the call returns, so a killed process loses nothing. `synchronous = NORMAL`: a power cut may lose the last
/// commits but never damages the file. No call waits for ever: what the disk does not answer in time is `unanswered`. Its files: this one
/// asks, `StoreFile` opens; `+Users`, `+Sessions`, `+Phases`, `+Waves`, `+Links`, `+Events`, `+Status` and `+Retention` are the parts of `Store`.
public struct SQLiteStore: Store {
    let file: StoreFile
    private let patience: Double
    private let writes = AnswerLimit(), reads = AnswerLimit()

    /// Opens the file when it is first used, or later if that is not possible now: each call tries.
    /// - Parameters:
    ///   - path: of the file, made if it is not there; its folder must be writable, since the log lies beside it.
    ///   - gateway: this gateway's name, which rows of its own carry.
    ///   - clock: now. Sessions that are open for this gateway when the file is opened are those of a dead process: they ended when it was last alive.
    ///   - patience: seconds for which a lock of somebody else is waited for.
    ///   - opened: told once, with the number of sessions of the dead process.
    public init(
        path: String, gateway: String, patience: Double = 5, clock: @escaping @Sendable () -> UnixTime,
        opened: @escaping @Sendable (Int) -> Void = { _ in }
    ) {
        file = StoreFile(path: path, gateway: gateway, clock: clock, patience: patience, opened: opened)
        self.patience = patience
    }

    /// Opens it, if it is not open.
    public func open() async throws(StoreError) { try await write { _, _ in } }

    public func close() throws(StoreError) { try file.close() }

    /// For the end of a process: gives up on a disk that does not answer.
    public func close(within seconds: Double) async throws(StoreError) {
        let file = file
        try await writes.ask(within: seconds) {
            await Self.result { () async throws(StoreError) in try await file.onQueue { () throws(StoreError) in try file.close() } }
        }
    }

    // MARK: Access

    /// An administrator's change may be large, and waits for those before it.
    private static let longest = 30.0
    /// A log-in is not kept waiting for longer than a lock would and the disk a little.
    private var longestForSessions: Double { patience * 2 + 1 }

    func write<Value: Sendable>(_ body: @Sendable @escaping (Database, Int64) throws -> Value) async throws(StoreError) -> Value {
        try await write(within: Self.longest, body)
    }

    /// What log-ins wait for.
    func writeSession<Value: Sendable>(_ body: @Sendable @escaping (Database, Int64) throws -> Value) async throws(StoreError) -> Value {
        try await write(within: longestForSessions, body)
    }

    private func write<Value: Sendable>(
        within seconds: Double, _ body: @Sendable @escaping (Database, Int64) throws -> Value
    ) async throws(StoreError) -> Value {
        let file = file
        return try await writes.ask(within: seconds) {
            await Self.result { () async throws(StoreError) in
                let open = try await file.use()
                do { return try await open.pool.write { try body($0, open.gateway) } } catch { throw StoreFile.translate(error) }
            }
        }
    }

    func read<Value: Sendable>(_ body: @Sendable @escaping (Database) throws -> Value) async throws(StoreError) -> Value {
        let file = file
        return try await reads.ask(within: Self.longest) {
            await Self.result { () async throws(StoreError) in
                let reader = try await file.reader()
                do { return try await reader.read(body) } catch { throw StoreFile.translate(error) }
            }
        }
    }

    private static func result<Value>(_ body: () async throws(StoreError) -> Value) async -> Result<Value, StoreError> {
        do throws(StoreError) { return .success(try await body()) } catch { return .failure(error) }
    }
}
