import Foundation
import GRDB
import Migration

extension SQLiteStore {
    public func addUsers(_ names: [String], origin: UserOrigin, at now: UnixTime, by actor: Actor) async throws(StoreError) -> Int {
        try await write { db, gateway in
            var added = 0
            for name in names {
                try db.run(
                    "INSERT INTO users (name, origin, created_at, phase_since) VALUES (?1, ?2, ?3, ?3) ON CONFLICT (name) DO NOTHING",
                    [name, origin.rawValue, now])
                added += db.changesCount
                if db.changesCount == 0 {
                    // Whoever comes back has the history that was.
                    try db.run("UPDATE users SET removed_at = NULL WHERE name = ? AND removed_at IS NOT NULL", [name])
                    added += db.changesCount
                }
            }
            if added > 0 {
                let text = names.count == 1 ? "user \"\(names[0])\" added" : "\(added) users added"
                let event = NewEvent(at: now, actor: actor, kind: "user", user: names.count == 1 ? names[0] : nil, text: text)
                try Self.insert(event, db, gateway)
            }
            return added
        }
    }

    public func removeUser(_ name: String, at now: UnixTime, by actor: Actor) async throws(StoreError) {
        try await write { db, gateway in
            try db.run("UPDATE users SET removed_at = ?, wave = NULL WHERE name = ? AND removed_at IS NULL", [now, name])
            guard db.changesCount == 1 else { throw StoreError.noSuch("user \"\(name)\"") }
            try Self.insert(NewEvent(at: now, actor: actor, kind: "user", user: name, text: "user \"\(name)\" removed"), db, gateway)
        }
    }

    public func setNote(_ note: String, of user: String, at now: UnixTime, by actor: Actor) async throws(StoreError) {
        try await write { db, gateway in
            try db.run("UPDATE users SET note = ? WHERE name = ?", [note, user])
            guard db.changesCount == 1 else { throw StoreError.noSuch("user \"\(user)\"") }
            try Self.insert(NewEvent(at: now, actor: actor, kind: "user", user: user, text: "note: \(note)"), db, gateway)
        }
    }

    private static let userColumns = """
        \(UserMigration.columns), u.origin, u.created_at, u.removed_at, u.note, w.name AS wave_name, e.until, e.reason, e.administrator,
        d.kind AS device_kind, d.fingerprint, d.evidence
        """
    private static let userTables = """
        users u LEFT JOIN waves w ON w.id = u.wave LEFT JOIN exemptions e ON e.user = u.id LEFT JOIN devices d ON d.id = u.device
        """

    public func user(_ name: String) async throws(StoreError) -> StoredUser? {
        try await read { db in try db.row("SELECT \(Self.userColumns) FROM \(Self.userTables) WHERE u.name = ?", [name]).map(StoredUser.init) }
    }

    public func users(_ filter: UserFilter, after: String?, limit: Int) async throws(StoreError) -> Page<StoredUser, String> {
        let limit = Self.bounded(limit)
        return try await read { db in
            var (query, arguments) = Self.usersQuery(filter, after: after)
            arguments += [limit]
            let users = try db.rows(query, arguments).map(StoredUser.init)
            return Page(elements: users, next: users.count == limit ? users.last?.name : nil)
        }
    }

    /// One query for each combination of conditions, each with an index of its own.
    static func usersQuery(_ filter: UserFilter, after: String?) -> (String, StatementArguments) {
        var conditions: [String] = [], arguments: StatementArguments = []
        if !filter.includesRemoved { conditions.append("u.removed_at IS NULL") }
        if let wave = filter.wave {
            conditions.append("u.wave = (SELECT id FROM waves WHERE name = ?)")
            arguments += [wave]
        }
        if let phase = filter.phase {
            conditions.append("u.phase = ?")
            arguments += [phase.rawValue]
        }
        if let after {
            conditions.append("u.name > ?")
            arguments += [after]
        }
        if let prefix = filter.prefix, !prefix.isEmpty {
            conditions.append("u.name >= ? AND u.name < ?")
            arguments += [prefix, prefix + "\u{10FFFF}"]
        }
        let condition = conditions.isEmpty ? "" : "WHERE " + conditions.joined(separator: " AND ")
        return ("SELECT \(userColumns) FROM \(userTables) \(condition) ORDER BY u.name LIMIT ?", arguments)
    }

    public func devices(of user: String) async throws(StoreError) -> [StoredDevice] {
        try await read { db in
            try db.rows(
                "SELECT d.* FROM devices d JOIN users u ON u.id = d.user WHERE u.name = ? ORDER BY d.last_seen DESC, d.id DESC LIMIT 1000", [user]
            ).map { row in
                StoredDevice(
                    user: user, guess: DeviceGuess(kind: row["kind"], fingerprint: row["fingerprint"], evidence: row["evidence"]),
                    firstSeen: row["first_seen"], lastSeen: row["last_seen"], logins: row["logins"])
            }
        }
    }

    static func bounded(_ limit: Int) -> Int { min(max(limit, 1), 1000) }

    /// The row of a user who may be unknown so far.
    static func userRow(_ db: Database, _ name: String, origin: UserOrigin, at now: UnixTime) throws -> Int64 {
        if let row = try db.row("SELECT id, removed_at FROM users WHERE name = ?", [name]) {
            if row["removed_at"] as Int64? != nil { try db.run("UPDATE users SET removed_at = NULL WHERE id = ?", [row["id"] as Int64]) }
            return row["id"]
        }
        try db.run("INSERT INTO users (name, origin, created_at, phase_since) VALUES (?1, ?2, ?3, ?3)", [name, origin.rawValue, now])
        return db.lastInsertedRowID
    }
}

extension StoredUser {
    fileprivate init(row: Row) {
        let until: Int64? = row["until"], device: String? = row["device_kind"]
        self.init(
            name: row["name"], origin: UserOrigin(rawValue: row["origin"]) ?? .sight, createdAt: row["created_at"], removedAt: row["removed_at"],
            migration: UserMigration(row: row), wave: row["wave_name"],
            exemption: until.map { Exemption(until: $0, reason: row["reason"], administrator: row["administrator"]) }, note: row["note"],
            lastDevice: device.map { DeviceGuess(kind: $0, fingerprint: row["fingerprint"], evidence: row["evidence"]) })
    }
}
