import Foundation
import GRDB
import Migration

/// The store in one SQLite file: write-ahead log, one writer, many readers (https://sqlite.org/wal.html).
///
/// A commit is in the log before the call returns, so a killed process loses nothing. `synchronous = NORMAL`: a power cut may lose the last
/// commits but never damages the file. Its files: this one opens it; `+Users`, `+Sessions`, `+Phases`, `+Waves`, `+Links`, `+Events` and
/// `+Status` are the parts of `Store`.
public struct SQLiteStore: Store {
    let pool: DatabasePool
    /// The row of this gateway.
    let gateway: Int64
    /// Sessions that an earlier process left open, and that opening the store has closed.
    public let sessionsOfTheDead: Int

    /// - Parameters:
    ///   - path: of the file, made if it is not there; its folder must be writable, since the log lies beside it.
    ///   - gateway: this gateway's name, which rows of its own carry.
    ///   - now: sessions that are open for this gateway are those of a dead process: they ended when it was last alive.
    ///   - patience: seconds for which a lock of somebody else is waited for.
    public init(path: String, gateway name: String, now: UnixTime, patience: Double = 5) throws(StoreError) {
        (pool, gateway, sessionsOfTheDead) = try Self.translating {
            var configuration = Configuration()
            configuration.busyMode = .timeout(patience)
            configuration.prepareDatabase { db in
                try db.execute(sql: "PRAGMA synchronous = NORMAL; PRAGMA journal_size_limit = 67108864")
                // No other program reads what user names and addresses were in pages that are free.
                try db.execute(sql: "PRAGMA secure_delete = FAST; PRAGMA trusted_schema = OFF")
            }
            let pool = try DatabasePool(path: path, configuration: configuration)
            guard try pool.read(Schema.migrator.hasBeenSuperseded) == false else {
                throw StoreError.unusable("\(path) was written by a newer version")
            }
            try Schema.migrator.migrate(pool)
            let (id, closed) = try pool.write { db in try Self.bury(db, name, now) }
            return (pool, id, closed)
        }
    }

    /// Finds or makes this gateway's row, and ends the sessions of its earlier life.
    private static func bury(_ db: Database, _ name: String, _ now: UnixTime) throws -> (Int64, Int) {
        guard let row = try Row.fetchOne(db, sql: "SELECT id, alive_at FROM gateways WHERE name = ?", arguments: [name]) else {
            try db.execute(sql: "INSERT INTO gateways (name, alive_at) VALUES (?, ?)", arguments: [name, now])
            return (db.lastInsertedRowID, 0)
        }
        let id: Int64 = row["id"]
        // PPTP was last seen when that life was; the count of open sessions goes with them.
        try db.execute(
            sql: """
                UPDATE users SET legacy_at = max(coalesce(legacy_at, 0), ended.at)
                FROM (SELECT user, max(seen_at) AS at FROM sessions WHERE closed_at IS NULL AND kind = 'pptp' AND gateway = ?1 GROUP BY user) AS ended
                WHERE users.id = ended.user
                """, arguments: [id])
        try db.execute(
            sql: """
                UPDATE sessions SET closed_at = seen_at, cause = 'the gateway ended without closing the session (crash, kill or power cut)'
                WHERE closed_at IS NULL AND gateway = ?
                """, arguments: [id])
        let closed = db.changesCount
        try db.execute(sql: "UPDATE gateways SET alive_at = ? WHERE id = ?", arguments: [now, id])
        return (id, closed)
    }

    public func close() throws(StoreError) { try Self.translating { try pool.close() } }

    // MARK: Access

    func write<Value: Sendable>(_ body: @Sendable @escaping (Database) throws -> Value) async throws(StoreError) -> Value {
        try await Self.translating { try await pool.write(body) }
    }

    func read<Value: Sendable>(_ body: @Sendable @escaping (Database) throws -> Value) async throws(StoreError) -> Value {
        try await Self.translating { try await pool.read(body) }
    }

    private static func translating<Value>(_ body: () throws -> Value) throws(StoreError) -> Value {
        do { return try body() } catch { throw translate(error) }
    }

    private static func translating<Value>(_ body: () async throws -> Value) async throws(StoreError) -> Value {
        do { return try await body() } catch { throw translate(error) }
    }

    private static func translate(_ error: any Error) -> StoreError {
        if let error = error as? StoreError { return error }
        guard let error = error as? DatabaseError else { return .unavailable("\(error)") }
        let text = error.message ?? "SQLite error \(error.extendedResultCode.rawValue)"
        switch error.resultCode {
        case .SQLITE_CORRUPT, .SQLITE_NOTADB, .SQLITE_FORMAT, .SQLITE_MISMATCH, .SQLITE_SCHEMA: return .unusable(text)
        default: return .unavailable(text)
        }
    }
}

