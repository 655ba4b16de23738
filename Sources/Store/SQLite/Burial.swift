import GRDB
import Migration

/// Ends sessions whose gateway cannot end them any more.
enum Burial {
    /// Finds or makes this gateway's row, and ends the sessions of its earlier life. The row, and how many they were.
    static func ofEarlierLife(_ db: Database, _ name: String, at now: UnixTime) throws -> (Int64, Int) {
        guard let id: Int64 = try db.row("SELECT id FROM gateways WHERE name = ?", [name])?["id"] else {
            try db.run("INSERT INTO gateways (name, alive_at) VALUES (?, ?)", [name, now])
            return (db.lastInsertedRowID, 0)
        }
        let closed = try endSessions(db, of: id, because: "the gateway ended without closing the session (crash, kill or power cut)")
        try db.run("UPDATE gateways SET alive_at = ? WHERE id = ?", [now, id])
        return (id, closed)
    }

    /// Ends the sessions of gateways that have not said for a while that they live: dead, renamed, or cut off. Their names and how many.
    static func ofOthers(_ db: Database, _ own: Int64, silentSince: UnixTime) throws -> [String: Int] {
        var ended: [String: Int] = [:]
        let others = try db.rows("SELECT id, name FROM gateways WHERE id <> ? AND alive_at < ?", [own, silentSince])
        for row in others {
            let name: String = row["name"]
            let count = try endSessions(db, of: row["id"], because: "gateway \"\(name)\" was not heard of any more (dead, renamed or cut off)")
            if count > 0 { ended[name] = count }
        }
        return ended
    }

    /// They ended when their gateway was last alive: until then it had them. PPTP was last seen then, and the count of open sessions goes.
    private static func endSessions(_ db: Database, of gateway: Int64, because cause: String) throws -> Int {
        try db.run(legacySeen, [gateway])
        try db.run(ending, [gateway, cause])
        return db.changesCount
    }

    static let legacySeen = """
        UPDATE users SET legacy_at = max(coalesce(legacy_at, 0), ended.at)
        FROM (SELECT s.user, max(max(s.opened_at, g.alive_at)) AS at FROM gateways g CROSS JOIN sessions s
            WHERE g.id = ?1 AND s.gateway = ?1 AND s.closed_at IS NULL AND s.kind = 'pptp' GROUP BY s.user) AS ended
        WHERE users.id = ended.user
        """
    static let ending = """
        UPDATE sessions SET closed_at = max(opened_at, (SELECT alive_at FROM gateways WHERE id = ?1)), cause = ?2
        WHERE closed_at IS NULL AND gateway = ?1
        """
}
