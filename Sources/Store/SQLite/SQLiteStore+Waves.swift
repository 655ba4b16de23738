import GRDB
import Migration

extension SQLiteStore {
    public func waves() async throws(StoreError) -> [Wave] { try await read(Self.waves) }

    public func createWave(_ wave: Wave, at now: UnixTime, by actor: Actor) async throws(StoreError) {
        try await write { db, gateway in
            guard try db.row("SELECT 1 FROM waves WHERE name = ?", [wave.name]) == nil else { throw StoreError.exists("wave \"\(wave.name)\"") }
            try db.run(
                "INSERT INTO waves (name, state, starts_at, resumes_as, invites, policy) VALUES (?, ?, ?, ?, ?, ?)",
                [
                    wave.name, wave.state.rawValue, wave.startsAt, wave.resumesAs?.rawValue, wave.invitesOnStart,
                    try PolicyText.encode(wave.policy),
                ])
            try Self.insert(NewEvent(at: now, actor: actor, kind: "wave", wave: wave.name, text: "wave \"\(wave.name)\" created"), db, gateway)
        }
    }

    public func deleteWave(_ name: String, at now: UnixTime, by actor: Actor) async throws(StoreError) {
        try await write { db, gateway in
            guard let id: Int64 = try db.row("SELECT id FROM waves WHERE name = ?", [name])?["id"] else { throw StoreError.noSuch("wave \"\(name)\"") }
            try db.run("UPDATE users SET wave = NULL WHERE wave = ?", [id])
            try db.run("DELETE FROM waves WHERE id = ?", [id])
            try Self.insert(NewEvent(at: now, actor: actor, kind: "wave", wave: name, text: "wave \"\(name)\" deleted"), db, gateway)
        }
    }

    public func assign(_ users: [String], to wave: String?, at now: UnixTime, by actor: Actor) async throws(StoreError) {
        try await write { db, gateway in
            var id: Int64?
            if let wave {
                guard let row = try db.row("SELECT id FROM waves WHERE name = ?", [wave]) else { throw StoreError.noSuch("wave \"\(wave)\"") }
                id = row["id"]
            }
            var unknown: [String] = []
            for user in users {
                try db.run("UPDATE users SET wave = ? WHERE name = ? AND removed_at IS NULL", [id, user])
                if db.changesCount == 0 { unknown.append(user) }
            }
            // Thrown inside the transaction: nobody is assigned.
            guard unknown.isEmpty else {
                let names = unknown.prefix(10).map { "\"\($0)\"" }.joined(separator: ", ")
                throw StoreError.noSuch("user \(names)" + (unknown.count > 10 ? " and \(unknown.count - 10) more" : ""))
            }
            let text = wave.map { "\(users.count) users put into wave \"\($0)\"" } ?? "\(users.count) users taken out of their waves"
            try Self.insert(NewEvent(at: now, actor: actor, kind: "wave", wave: wave, text: text), db, gateway)
        }
    }

    public func change(
        wave name: String, at now: UnixTime, by actor: Actor, _ rules: MigrationRules,
        _ body: @Sendable @escaping (inout Wave) throws(Wave.Problem) -> [Wave.Action]
    ) async throws(StoreError) -> WaveOutcome {
        try await write { db, gateway in
            guard let row = try db.row("SELECT * FROM waves WHERE name = ?", [name]) else { throw StoreError.noSuch("wave \"\(name)\"") }
            var wave = try Wave(row: row), outcome = WaveOutcome()
            let actions: [Wave.Action]
            do throws(Wave.Problem) { actions = try body(&wave) } catch { throw StoreError.unfit(error.description) }
            try Self.save(wave, db)
            try Self.carryOut(actions, of: wave, at: now, by: actor, rules, &outcome, db, gateway)
            return outcome
        }
    }

    public func tickWaves(at now: UnixTime, _ rules: MigrationRules) async throws(StoreError) -> WaveOutcome {
        try await write { db, gateway in
            var outcome = WaveOutcome()
            for var wave in try Self.waves(db) {
                let actions = wave.tick(now: now)
                guard !actions.isEmpty else { continue }
                try Self.save(wave, db)
                try Self.carryOut(actions, of: wave, at: now, by: .gateway, rules, &outcome, db, gateway)
            }
            return outcome
        }
    }

    // MARK: Inside a transaction

    @Sendable static func waves(_ db: Database) throws -> [Wave] { try db.rows("SELECT * FROM waves ORDER BY name").map(Wave.init) }

    private static func save(_ wave: Wave, _ db: Database) throws {
        try db.run(
            "UPDATE waves SET state = ?, starts_at = ?, resumes_as = ?, invites = ?, policy = ? WHERE name = ?",
            [
                wave.state.rawValue, wave.startsAt, wave.resumesAs?.rawValue, wave.invitesOnStart, try PolicyText.encode(wave.policy), wave.name,
            ])
    }

    private static func members(_ condition: String, of wave: String, _ db: Database) throws -> [String] {
        try String.fetchAll(
            db.cachedStatement(
                sql: """
                    SELECT name FROM users WHERE wave = (SELECT id FROM waves WHERE name = ?) AND removed_at IS NULL AND \(condition) ORDER BY name
                    """), arguments: [wave])
    }

    private static func carryOut(
        _ actions: [Wave.Action], of wave: Wave, at now: UnixTime, by actor: Actor, _ rules: MigrationRules, _ outcome: inout WaveOutcome,
        _ db: Database, _ gateway: Int64
    ) throws {
        for action in actions {
            switch action {
            case .record(let from, let to):
                let text = "wave \"\(wave.name)\": \(from.rawValue) -> \(to.rawValue)"
                try insert(NewEvent(at: now, actor: actor, kind: "wave", wave: wave.name, text: text), db, gateway)
            case .inviteMembers: outcome.toInvite += try members("phase = 'legacy'", of: wave.name, db)
            case .retireMigrated:
                for name in try members("phase = 'migrated' AND held = 0", of: wave.name, db) {
                    let change = try change(name, by: actor, db, gateway) {
                        $0.retire(at: now, by: .wave(wave.name), reason: "the date of wave \"\(wave.name)\" is over")
                    }
                    if let change { outcome.changes[name] = change }
                }
            case .rollBackMembers:
                for name in try members("phase = 'retired' AND mover_kind = 'wave'", of: wave.name, db) {
                    let change = try change(name, by: actor, db, gateway) {
                        $0.rollBack(at: now, by: actor.name, reason: "wave \"\(wave.name)\" rolled back", rules)
                    }
                    if let change { outcome.changes[name] = change }
                }
            }
        }
    }
}

extension Wave {
    init(row: Row) throws {
        self.init(
            name: row["name"], state: State(rawValue: row["state"]) ?? .planned, startsAt: row["starts_at"], policy: try PolicyText.decode(row["policy"]),
            invitesOnStart: row["invites"], resumesAs: (row["resumes_as"] as String?).flatMap(State.init))
    }
}
