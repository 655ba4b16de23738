import GRDB
import Migration

extension SQLiteStore {
    public func loginFacts() async throws(StoreError) -> [String: LoginFacts] {
        try await read { db in
            var facts: [String: LoginFacts] = [:]
            let rows = try Row.fetchCursor(
                db,
                sql: """
                    SELECT u.name, u.phase, w.name AS wave, e.until, e.reason, e.administrator FROM users u LEFT JOIN waves w ON w.id = u.wave
                    LEFT JOIN exemptions e ON e.user = u.id WHERE u.phase <> 'legacy' OR u.wave IS NOT NULL OR e.user IS NOT NULL
                    """)
            while let row = try rows.next() {
                let until: Int64? = row["until"]
                facts[row["name"]] = LoginFacts(
                    phase: Phase(rawValue: row["phase"]) ?? .legacy, wave: row["wave"],
                    exemption: until.map { Exemption(until: $0, reason: row["reason"], administrator: row["administrator"]) })
            }
            return facts
        }
    }

    public func nativeSeen(
        _ users: [String], by witness: String, at now: UnixTime, _ rules: MigrationRules
    ) async throws(StoreError) -> [String: PhaseChange] {
        try await writeSession { db, gateway in
            var changes: [String: PhaseChange] = [:]
            for name in users {
                let change = try Self.change(name, at: now, db, gateway) { $0.nativeSeen(at: now, by: witness, rules) }
                if let change { changes[name] = change }
            }
            return changes
        }
    }

    public func change(
        _ user: String, by actor: Actor, _ body: @Sendable @escaping (inout UserMigration) -> PhaseChange?
    ) async throws(StoreError) -> PhaseChange? {
        try await write { db, gateway in try Self.change(user, by: actor, db, gateway, body) }
    }

    /// In parts: many users are no reason to keep log-ins waiting.
    public func settle(at now: UnixTime, _ rules: MigrationRules) async throws(StoreError) -> [String: PhaseChange] {
        // Nobody else can be moved by time alone.
        let phases = rules.retireAfterDays == nil ? "'dual'" : "'dual', 'migrated'"
        let names = try await read { db in
            try String.fetchAll(db, sql: "SELECT name FROM users WHERE removed_at IS NULL AND held = 0 AND phase IN (\(phases))")
        }
        var changes: [String: PhaseChange] = [:], rest = names[...]
        while !rest.isEmpty {
            let part = Array(rest.prefix(500))
            rest = rest.dropFirst(500)
            do throws(StoreError) {
                let changed = try await write { db, gateway in
                    var changed: [String: PhaseChange] = [:]
                    for name in part {
                        if let change = try Self.change(name, at: now, db, gateway, { $0.settle(at: now, rules) }) { changed[name] = change }
                    }
                    return changed
                }
                changes.merge(changed) { $1 }
            } catch {
                // What has been done by now is told; the rest is for the next time.
                guard changes.isEmpty else { return changes }
                throw error
            }
        }
        return changes
    }

    public func setExemption(_ exemption: Exemption?, of user: String, at now: UnixTime, by actor: Actor) async throws(StoreError) {
        try await write { db, gateway in
            guard let id: Int64 = try db.row("SELECT id FROM users WHERE name = ?", [user])?["id"] else { throw StoreError.noSuch("user \"\(user)\"") }
            if let exemption {
                try db.run(
                    """
                    INSERT INTO exemptions (user, until, reason, administrator) VALUES (?1, ?2, ?3, ?4)
                    ON CONFLICT (user) DO UPDATE SET until = ?2, reason = ?3, administrator = ?4
                    """, [id, exemption.until, exemption.reason, exemption.administrator])
            } else {
                try db.run("DELETE FROM exemptions WHERE user = ?", [id])
            }
            let text = exemption.map { "excepted until \($0.until): \($0.reason)" } ?? "exception taken away"
            try Self.insert(NewEvent(at: now, actor: actor, kind: "exemption", user: user, text: text), db, gateway)
        }
    }

    public func phasePolicies() async throws(StoreError) -> [Phase: Policy] {
        try await read { db in
            var policies: [Phase: Policy] = [:]
            for row in try db.rows("SELECT phase, policy FROM phase_policies") {
                guard let phase = Phase(rawValue: row["phase"]) else { continue }
                policies[phase] = try PolicyText.decode(row["policy"])
            }
            return policies
        }
    }

    public func setPolicy(_ policy: Policy?, of phase: Phase, at now: UnixTime, by actor: Actor) async throws(StoreError) {
        try await write { db, gateway in
            let text = try policy.map(PolicyText.encode)
            if let text {
                try db.run(
                    "INSERT INTO phase_policies (phase, policy) VALUES (?1, ?2) ON CONFLICT (phase) DO UPDATE SET policy = ?2", [phase.rawValue, text])
            } else {
                try db.run("DELETE FROM phase_policies WHERE phase = ?", [phase.rawValue])
            }
            let event = NewEvent(at: now, actor: actor, kind: "policy", text: "policy of phase \(phase.rawValue): \(text ?? "none")")
            try Self.insert(event, db, gateway)
        }
    }

    // MARK: Inside a transaction

    static func migration(_ db: Database, of user: Int64) throws -> (UserMigration, String) {
        guard let row = try db.row("SELECT \(UserMigration.columns) FROM users u WHERE u.id = ?", [user]) else {
            throw StoreError.noSuch("user of row \(user)")
        }
        return (UserMigration(row: row), row["name"])
    }

    /// Reads, changes, writes with history. `at` only for the reader's eye: the change carries its own time.
    static func change(
        _ name: String, at now: UnixTime? = nil, by actor: Actor = .gateway, _ db: Database, _ gateway: Int64,
        _ body: (inout UserMigration) -> PhaseChange?
    ) throws -> PhaseChange? {
        guard let row = try db.row("SELECT \(UserMigration.columns) FROM users u WHERE u.name = ?", [name]) else {
            throw StoreError.noSuch("user \"\(name)\"")
        }
        let before = UserMigration(row: row)
        var migration = before
        let change = body(&migration)
        guard migration != before else { return nil }
        try migration.save(db, user: row["id"])
        if let change { try insert(change, of: row["id"], name, by: actor, db, gateway) }
        return change
    }

    static func insert(
        _ change: PhaseChange, of user: Int64, _ name: String, by actor: Actor = .gateway, _ db: Database, _ gateway: Int64
    ) throws {
        try db.run(
            "INSERT INTO phase_changes (user, gateway, at, old, new, mover_kind, mover, reason) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [user, gateway, change.at, change.from.rawValue, change.to.rawValue, change.mover.kind, change.mover.name, change.reason])
        let text = "\(change.from.rawValue) -> \(change.to.rawValue): \(change.reason)"
        try insert(NewEvent(at: change.at, actor: actor, kind: "phase", user: name, text: text), db, gateway)
    }

    public func phaseChanges(of user: String) async throws(StoreError) -> [PhaseChange] {
        try await read { db in
            try db.rows(
                "SELECT c.* FROM phase_changes c WHERE c.user = (SELECT id FROM users WHERE name = ?) ORDER BY c.id LIMIT 1000", [user]
            ).map { row in
                PhaseChange(
                    from: Phase(rawValue: row["old"]) ?? .legacy, to: Phase(rawValue: row["new"]) ?? .legacy, at: row["at"],
                    mover: Mover(kind: row["mover_kind"], name: row["mover"]), reason: row["reason"])
            }
        }
    }
}
