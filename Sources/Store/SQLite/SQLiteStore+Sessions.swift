import Addresses
import Foundation
import GRDB
import Migration

extension SQLiteStore {
    public func openSession(_ opening: SessionOpening, _ rules: MigrationRules) async throws(StoreError) -> SessionOpened {
        try await writeSession { db, gateway in try Self.open(opening, rules, db, gateway) }
    }

    public func openSessions(_ openings: [SessionOpening], _ rules: MigrationRules) async throws(StoreError) -> [Result<SessionOpened, StoreError>] {
        try await writeSession { db, gateway in
            try openings.map { opening in
                var opened: SessionOpened?
                do {
                    // What one of them has begun to write when it is refused is taken back, and nothing else.
                    try db.inSavepoint {
                        opened = try Self.open(opening, rules, db, gateway)
                        return .commit
                    }
                } catch {
                    let refusal = StoreFile.translate(error)
                    if refusal.isOutage { throw error }
                    return .failure(refusal)
                }
                return .success(opened!)
            }
        }
    }

    private static func open(_ opening: SessionOpening, _ rules: MigrationRules, _ db: Database, _ gateway: Int64) throws -> SessionOpened {
        if let id = try told(opening, db, gateway) { return SessionOpened(id: id, change: nil, isFirstLegacyLogin: false) }
        let user = try userRow(db, opening.user, origin: opening.origin, at: opening.at)
        let device = try opening.device.map { try deviceRow(db, $0, of: user, at: opening.at) }
        // Before the session is there, so that it does not count itself.
        var (migration, _) = try migration(db, of: user)
        let isFirst = opening.kind == .pptp && migration.legacyAt == nil
        try insert(opening, user: user, device: device, db, gateway)
        let id = SessionID(db.lastInsertedRowID)
        if let pool = opening.pool { try lease(opening.address, of: pool, to: user, at: opening.at, db, gateway) }
        let change =
            switch opening.kind {
            case .pptp: migration.legacyOpened(at: opening.at, rules)
            case .native: migration.nativeSeen(at: opening.at, by: "the gateway's access listener", rules)
            }
        try migration.save(db, user: user)
        if let change { try insert(change, of: user, opening.user, db, gateway) }
        if isFirst {
            let event = NewEvent(at: opening.at, kind: "first-legacy-login", user: opening.user, text: "first PPTP log-in of \"\(opening.user)\"")
            try insert(event, db, gateway)
        }
        return SessionOpened(id: id, change: change, isFirstLegacyLogin: isFirst)
    }

    /// The session is there already: the answer to an earlier call did not come in time.
    private static func told(_ opening: SessionOpening, _ db: Database, _ gateway: Int64) throws -> SessionID? {
        let row = try db.row(
            """
            SELECT s.id FROM sessions s JOIN users u ON u.id = s.user
            WHERE s.address = ? AND s.closed_at IS NULL AND s.gateway = ? AND s.kind = ? AND s.opened_at = ? AND u.name = ?
            """, [opening.address.column, gateway, opening.kind.rawValue, opening.at, opening.user])
        return row.map { SessionID($0["id"]) }
    }

    private static func insert(_ opening: SessionOpening, user: Int64, device: Int64?, _ db: Database, _ gateway: Int64) throws {
        do {
            try db.run(
                """
                INSERT INTO sessions (gateway, kind, user, client, address, tunnel, device, only, opened_at, seen_at)
                VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)
                """,
                [
                    gateway, opening.kind.rawValue, user, opening.clientAddress?.column, opening.address.column, opening.tunnel, device,
                    opening.isOnly, opening.at,
                ])
        } catch let error as DatabaseError where error.extendedResultCode == .SQLITE_CONSTRAINT_UNIQUE {
            // Which of the two it was decides what the gateway does next: another address, or no session at all.
            let taken = try db.row("SELECT 1 FROM sessions WHERE address = ? AND closed_at IS NULL", [opening.address.column]) != nil
            throw taken ? StoreError.addressTaken(opening.address) : .alreadyConnected(user: opening.user)
        }
    }

    private static func deviceRow(_ db: Database, _ guess: DeviceGuess, of user: Int64, at now: UnixTime) throws -> Int64 {
        let row = try db.row(
            """
            INSERT INTO devices (user, kind, fingerprint, evidence, first_seen, last_seen, logins) VALUES (?1, ?2, ?3, ?4, ?5, ?5, 1)
            ON CONFLICT (user, fingerprint) DO UPDATE SET kind = ?2, evidence = ?4, last_seen = ?5, logins = logins + 1
            RETURNING id
            """, [user, guess.kind, guess.fingerprint, guess.evidence, now])
        guard let id: Int64 = row?["id"] else { throw StoreError.unusable("a device could not be written") }
        try db.run("UPDATE users SET device = ?2 WHERE id = ?1 AND device IS NOT ?2", [user, id])
        return id
    }

    /// The address stays with its user: it leaves the one who had it, and the user leaves the one that they had in this pool.
    private static func lease(_ address: IPAddress, of pool: String, to user: Int64, at now: UnixTime, _ db: Database, _ gateway: Int64) throws {
        let column = address.column
        let known = try db.row("SELECT user, gateway, pool FROM leases WHERE address = ?", [column])
        if let known, known["user"] == user, known["gateway"] == gateway, known["pool"] == pool {
            try db.run("UPDATE leases SET used_at = ? WHERE address = ?", [now, column])
            return
        }
        try db.run("DELETE FROM leases WHERE user = ? AND gateway = ? AND pool = ?", [user, gateway, pool])
        try db.run(
            """
            INSERT INTO leases (address, user, gateway, pool, generation, used_at) VALUES (?1, ?2, ?3, ?4, 1, ?5)
            ON CONFLICT (address) DO UPDATE SET user = ?2, gateway = ?3, pool = ?4, generation = generation + 1, used_at = ?5
            """, [column, user, gateway, pool, now])
    }

    public func closeSessions(_ closings: [SessionClosing], _ rules: MigrationRules) async throws(StoreError) -> [String: PhaseChange] {
        try await writeSession { db, gateway in
            var changes: [String: PhaseChange] = [:]
            for closing in closings {
                let row = try db.row("SELECT user, kind FROM sessions WHERE id = ? AND closed_at IS NULL", [closing.id.value])
                // Told twice, or closed as one of a dead process: it has ended.
                guard let row else { continue }
                let user: Int64 = row["user"], kind: String = row["kind"]
                try Self.count(closing.total, of: closing.id, at: closing.at, db)
                var (migration, name) = try Self.migration(db, of: user)
                let end = "UPDATE sessions SET closed_at = max(?2, opened_at), seen_at = max(?2, opened_at), cause = ?3 WHERE id = ?1"
                try db.run(end, [closing.id.value, closing.at, closing.cause])
                guard kind == AccessKind.pptp.rawValue else { continue }
                let change = migration.legacyClosed(at: closing.at, rules)
                try migration.save(db, user: user)
                guard let change else { continue }
                try Self.insert(change, of: user, name, db, gateway)
                changes[name] = change
            }
            return changes
        }
    }

    public func record(totals: [SessionID: Traffic], at now: UnixTime) async throws(StoreError) {
        try await writeSession { db, gateway in
            for (id, total) in totals { try Self.count(total, of: id, at: now, db) }
            // Idle sessions are there as well: they end when their gateway was last alive.
            try db.run("UPDATE gateways SET alive_at = max(alive_at, ?) WHERE id = ?", [now, gateway])
        }
    }

    /// What is new since the last time goes to the hour and the day.
    private static func count(_ total: Traffic, of id: SessionID, at now: UnixTime, _ db: Database) throws {
        guard !total.isZero else { return }
        let row = try db.row(
            "SELECT user, kind, packets_in, packets_out, bytes_in, bytes_out FROM sessions WHERE id = ? AND closed_at IS NULL", [id.value])
        guard let row, let user: Int64 = row["user"], let kind: String = row["kind"] else { return }
        let amount = total - Traffic(packetsIn: row["packets_in"], packetsOut: row["packets_out"], bytesIn: row["bytes_in"], bytesOut: row["bytes_out"])
        guard !amount.isZero else { return }
        try db.run(
            """
            UPDATE sessions SET packets_in = packets_in + ?2, packets_out = packets_out + ?3, bytes_in = bytes_in + ?4, bytes_out = bytes_out + ?5,
                seen_at = max(seen_at, ?6) WHERE id = ?1
            """, [id.value, amount.packetsIn, amount.packetsOut, amount.bytesIn, amount.bytesOut, now])
        try db.run(
            """
            INSERT INTO traffic_hours (user, kind, hour, packets_in, packets_out, bytes_in, bytes_out) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
            ON CONFLICT (user, kind, hour) DO UPDATE SET packets_in = packets_in + ?4, packets_out = packets_out + ?5,
                bytes_in = bytes_in + ?6, bytes_out = bytes_out + ?7
            """, [user, kind, now / 3600, amount.packetsIn, amount.packetsOut, amount.bytesIn, amount.bytesOut])
        try db.run(
            """
            INSERT INTO traffic_days (kind, user, day, bytes) VALUES (?1, ?2, ?3, ?4)
            ON CONFLICT (kind, user, day) DO UPDATE SET bytes = bytes + ?4
            """, [kind, user, now / 86_400, amount.bytesIn + amount.bytesOut])
    }

    public func endSessionsOfTheDead(silentSince: UnixTime) async throws(StoreError) -> [String: Int] {
        try await write { db, gateway in try Burial.ofOthers(db, gateway, silentSince: silentSince) }
    }

    public func sessions(_ filter: SessionFilter, before: SessionID?, limit: Int) async throws(StoreError) -> Page<StoredSession, SessionID> {
        let limit = Self.bounded(limit)
        return try await read { db in
            var (query, arguments) = Self.sessionsQuery(filter, before: before)
            arguments += [limit]
            let sessions = try db.rows(query, arguments).map(StoredSession.init)
            return Page(elements: sessions, next: sessions.count == limit ? sessions.last?.id : nil)
        }
    }

    static func sessionsQuery(_ filter: SessionFilter, before: SessionID?) -> (String, StatementArguments) {
        var conditions = ["s.id < ?"], arguments: StatementArguments = [before?.value ?? .max]
        if let user = filter.user {
            conditions.append("s.user = (SELECT id FROM users WHERE name = ?)")
            arguments += [user]
        }
        if filter.openOnly { conditions.append("s.closed_at IS NULL") }
        return (
            """
            SELECT s.*, u.name AS user_name, g.name AS gateway_name, d.kind AS device_kind FROM sessions s JOIN users u ON u.id = s.user
            JOIN gateways g ON g.id = s.gateway LEFT JOIN devices d ON d.id = s.device
            WHERE \(conditions.joined(separator: " AND ")) ORDER BY s.id DESC LIMIT ?
            """, arguments
        )
    }

    public func leases() async throws(StoreError) -> [Lease] {
        let name = file.gateway
        return try await read { db in
            try db.rows(
                """
                SELECT l.*, u.name AS user_name, g.name AS gateway_name FROM leases l JOIN users u ON u.id = l.user JOIN gateways g ON g.id = l.gateway
                WHERE l.gateway = (SELECT id FROM gateways WHERE name = ?)
                """, [name]
            ).map { row in
                Lease(
                    address: IPAddress(column: row["address"]), user: row["user_name"], pool: row["pool"], gateway: row["gateway_name"],
                    generation: row["generation"], usedAt: row["used_at"])
            }
        }
    }
}

extension StoredSession {
    fileprivate init(row: Row) {
        self.init(
            id: SessionID(row["id"]), gateway: row["gateway_name"], kind: AccessKind(rawValue: row["kind"]) ?? .pptp, user: row["user_name"],
            clientAddress: (row["client"] as Data?).map(IPAddress.init(column:)), address: IPAddress(column: row["address"]), tunnel: row["tunnel"],
            device: row["device_kind"], openedAt: row["opened_at"], closedAt: row["closed_at"], cause: row["cause"],
            traffic: Traffic(packetsIn: row["packets_in"], packetsOut: row["packets_out"], bytesIn: row["bytes_in"], bytesOut: row["bytes_out"]))
    }
}
