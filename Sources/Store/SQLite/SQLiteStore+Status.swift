import GRDB
import Migration

extension SQLiteStore {
    public func status(at now: UnixTime, days: Int, blockers: Int) async throws(StoreError) -> MigrationStatus {
        let blockers = Self.bounded(blockers), days = min(max(days, 1), 3650)
        return try await read { db in
            var status = MigrationStatus(
                counts: [:], waves: [], unassigned: [:], trend: [], setByHand: 0, exempt: 0, blockers: [], devices: [])
            var ofWave: [Int64: [Phase: Int]] = [:]
            for row in try db.rows("SELECT wave, phase, count(*) AS n FROM users WHERE removed_at IS NULL GROUP BY wave, phase") {
                guard let phase = Phase(rawValue: row["phase"]) else { continue }
                let count: Int = row["n"]
                status.counts[phase, default: 0] += count
                if let wave: Int64 = row["wave"] { ofWave[wave, default: [:]][phase] = count } else { status.unassigned[phase] = count }
            }
            status.waves = try db.rows("SELECT * FROM waves ORDER BY name").map {
                MigrationStatus.WaveStatus(wave: try Wave(row: $0), counts: ofWave[$0["id"]] ?? [:])
            }
            status.trend = try Self.trend(db, endingWith: status.counts, at: now, days: days)
            status.setByHand = try db.row("SELECT count(*) AS n FROM users WHERE removed_at IS NULL AND set_by_hand = 1")?["n"] ?? 0
            status.exempt = try db.row("SELECT count(*) AS n FROM exemptions WHERE until > ?", [now])?["n"] ?? 0
            status.blockers = try Self.blockers(db, at: now, limit: blockers)
            status.devices = try db.rows(Self.devicesQuery).map { MigrationStatus.DeviceCount(kind: $0["kind"], users: $0["n"]) }
            return status
        }
    }

    /// Backwards from today: what the phases were before each day's changes. Users who came or went in that time count as if they had
    /// always, or never, been there; a trend of the migration is not a trend of the staff.
    private static func trend(_ db: Database, endingWith counts: [Phase: Int], at now: UnixTime, days: Int) throws -> [DayCount] {
        let today = Int(now / 86_400)
        var moves: [Int: [(from: Phase, to: Phase, count: Int)]] = [:]
        let since = UnixTime(today - days) * 86_400
        for row in try db.rows(trendQuery, [since]) {
            guard let from = Phase(rawValue: row["old"]), let to = Phase(rawValue: row["new"]) else { continue }
            moves[row["day"], default: []].append((from, to, row["n"]))
        }
        var counts = counts, trend = [DayCount(day: today, counts: counts)]
        for day in (today - days..<today).reversed() {
            for move in moves[day + 1] ?? [] {
                counts[move.to, default: 0] -= move.count
                counts[move.from, default: 0] += move.count
            }
            trend.append(DayCount(day: day, counts: counts.filter { $0.value > 0 }))
        }
        return trend.reversed()
    }

    static let trendQuery = """
        SELECT c.at / 86400 AS day, c.old, c.new, count(*) AS n FROM phase_changes c JOIN users u ON u.id = c.user
        WHERE c.at >= ? AND u.removed_at IS NULL GROUP BY 1, 2, 3
        """

    private static func blockers(_ db: Database, at now: UnixTime, limit: Int) throws -> [MigrationStatus.Blocker] {
        try db.rows(blockersQuery, [now / 86_400 - 30, limit]).map { row in
            MigrationStatus.Blocker(
                user: row["name"], phase: Phase(rawValue: row["phase"]) ?? .legacy, device: row["kind"], legacyAt: row["legacy_at"],
                bytes: row["bytes"])
        }
    }

    static let blockersQuery = """
        SELECT u.name, u.phase, u.legacy_at, d.kind,
            coalesce((SELECT sum(t.bytes) FROM traffic_days t WHERE t.kind = 'pptp' AND t.user = u.id AND t.day > ?1), 0) AS bytes
        FROM users u LEFT JOIN devices d ON d.id = u.device
        WHERE u.removed_at IS NULL AND u.phase IN ('legacy', 'invited', 'dual') AND u.legacy_at IS NOT NULL
        ORDER BY bytes DESC, u.legacy_at DESC LIMIT ?2
        """

    static let devicesQuery = """
        SELECT d.kind, count(*) AS n FROM users u JOIN devices d ON d.id = u.device
        WHERE u.removed_at IS NULL AND u.phase IN ('legacy', 'invited', 'dual') GROUP BY d.kind ORDER BY n DESC, d.kind LIMIT 100
        """
}
