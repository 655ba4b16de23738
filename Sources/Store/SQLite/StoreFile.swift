import Dispatch
import Foundation
import GRDB
import Migration
import Synchronization

/// The database file: opened when it is first needed, and if that fails (full disk, somebody else's lock), tried again by the next call.
final class StoreFile: Sendable {
    struct Open: Sendable {
        let pool: DatabasePool
        /// The row of this gateway.
        let gateway: Int64
    }
    private enum State {
        case closed
        /// Cannot be written yet, but could be read.
        case readable(DatabaseQueue)
        case open(Open)
        case ended
    }

    let path: String
    let gateway: String
    private let clock: @Sendable () -> UnixTime
    private let patience: Double
    private let opened: @Sendable (Int) -> Void
    private let state = Mutex(State.closed)
    /// The day before which no traffic is left.
    let trafficPrunedBefore = Mutex(UnixTime.min)
    /// Opening waits for the disk: on a thread that may.
    private let queue = DispatchQueue(label: "causeway.store.open")

    init(path: String, gateway: String, clock: @escaping @Sendable () -> UnixTime, patience: Double, opened: @escaping @Sendable (Int) -> Void) {
        self.path = path
        self.gateway = gateway
        self.clock = clock
        self.patience = patience
        self.opened = opened
    }

    /// What is open.
    var current: Open? {
        state.withLock { state in
            guard case .open(let open) = state else { return nil }
            return open
        }
    }

    func use() async throws(StoreError) -> Open {
        if let current { return current }
        return try await onQueue { () throws(StoreError) in try self.open() }
    }

    /// To read from: the whole store, or the file as it was left if it cannot be written now.
    func reader() async throws(StoreError) -> any DatabaseReader {
        if let current { return current.pool }
        return try await onQueue { () throws(StoreError) in
            do throws(StoreError) { return try self.open().pool } catch {
                guard case .unavailable = error, let reader = self.readable() else { throw error }
                return reader
            }
        }
    }

    /// On the queue, or before anybody else knows the store.
    func open() throws(StoreError) -> Open {
        switch state.withLock({ $0 }) {
        case .open(let open): return open
        case .ended: throw .unavailable("it has been closed")
        case .closed, .readable: break
        }
        let (open, closed) = try Self.translating { try self.make() }
        state.withLock { state in
            if case .readable(let reader) = state { try? reader.close() }
            state = .open(open)
        }
        opened(closed)
        return open
    }

    private func make() throws -> (Open, Int) {
        let pool = try DatabasePool(path: path, configuration: configuration)
        try refuseNewer(pool)
        try Schema.migrator.migrate(pool)
        let (id, closed) = try pool.write { [gateway, clock] db in try Burial.ofEarlierLife(db, gateway, at: clock()) }
        return (Open(pool: pool, gateway: id), closed)
    }

    private var configuration: Configuration {
        var configuration = Configuration()
        configuration.busyMode = .timeout(patience)
        configuration.prepareDatabase { db in
            try db.execute(sql: "PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 67108864")
            // No other program reads what user names and addresses were in pages that are free.
            try db.execute(sql: "PRAGMA secure_delete = FAST; PRAGMA trusted_schema = OFF")
        }
        return configuration
    }

    private func refuseNewer(_ reader: some DatabaseReader) throws {
        guard try reader.read(Schema.migrator.hasBeenSuperseded) == false else {
            throw StoreError.unusable("\(path) was written by a newer version")
        }
    }

    private func readable() -> DatabaseQueue? {
        if case .readable(let reader) = state.withLock({ $0 }) { return reader }
        var configuration = Configuration()
        configuration.readonly = true
        configuration.busyMode = .timeout(patience)
        guard let reader = try? DatabaseQueue(path: path, configuration: configuration),
            (try? reader.read(Schema.migrator.hasCompletedMigrations)) == true
        else { return nil }
        state.withLock { $0 = .readable(reader) }
        return reader
    }

    func close() throws(StoreError) {
        let before = state.withLock { state in
            defer { state = .ended }
            return state
        }
        switch before {
        case .open(let open):
            // Readers are closed last, and they cannot empty the log: without it, the one file is all that a backup needs.
            _ = try? open.pool.writeWithoutTransaction { db in try db.checkpoint(.truncate) }
            try Self.translating { try open.pool.close() }
        case .readable(let reader): try Self.translating { try reader.close() }
        case .closed, .ended: break
        }
    }

    func onQueue<Value: Sendable>(_ body: @Sendable @escaping () throws(StoreError) -> Value) async throws(StoreError) -> Value {
        let result: Result<Value, StoreError> = await withCheckedContinuation { continuation in
            queue.async { continuation.resume(returning: Result(catching: body)) }
        }
        return try result.get()
    }

    // MARK: Errors

    static func translating<Value>(_ body: () throws -> Value) throws(StoreError) -> Value {
        do { return try body() } catch { throw translate(error) }
    }

    static func translate(_ error: any Error) -> StoreError {
        if let error = error as? StoreError { return error }
        guard let error = error as? DatabaseError else { return .unavailable("\(error)") }
        let text = error.message ?? "SQLite error \(error.extendedResultCode.rawValue)"
        switch error.resultCode {
        case .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_FORMAT, .SQLITE_SCHEMA: return .unusable(text)
        // Of this row, not of the file.
        case .SQLITE_CONSTRAINT, .SQLITE_MISMATCH, .SQLITE_TOOBIG, .SQLITE_RANGE: return .violates(text)
        default: return .unavailable(text)
        }
    }
}
