import GRDB
import Migration
import Synchronization

extension SQLiteStore {
    public func prune(_ retention: Retention, at now: UnixTime) async throws(StoreError) {
        if let days = retention.sessions { try await pruneSessions(endedBefore: now - UnixTime(days) * 86_400) }
        if let days = retention.events { try await pruneEvents(before: now - UnixTime(days) * 86_400) }
        if let days = retention.traffic { try await pruneTraffic(beforeDay: now / 86_400 - UnixTime(days)) }
    }

    /// Rows in one transaction, and transactions in one call.
    private static let rows = 500, parts = 40

    private func pruneSessions(endedBefore limit: UnixTime) async throws(StoreError) {
        try await prune(Self.oldSessions, "DELETE FROM sessions WHERE id > ? AND id <= ? AND closed_at < ?", before: limit)
    }

    private func pruneEvents(before limit: UnixTime) async throws(StoreError) {
        try await prune(Self.oldEvents, "DELETE FROM events WHERE id > ? AND id <= ? AND at < ?", before: limit)
    }

    /// From the oldest on: numbers grow with time, so where nobody is old the search ends, and no index by time is needed. What was written
    /// late stands a little further on than it should, and goes a little later.
    private func prune(_ look: String, _ delete: String, before limit: UnixTime) async throws(StoreError) {
        var after: Int64 = 0
        for _ in 0..<Self.parts {
            let from = after
            let next: Int64? = try await write { db, _ in
                guard let part = try db.row(look, [from, Self.rows]), let last: Int64 = part["last"] else { return nil }
                try db.run(delete, [from, last, limit])
                return part["oldest"] < limit && part["n"] == Self.rows ? last : nil
            }
            guard let next else { return }
            after = next
        }
    }

    static let oldSessions = """
        SELECT max(id) AS last, min(opened_at) AS oldest, count(*) AS n FROM (SELECT id, opened_at FROM sessions WHERE id > ? ORDER BY id LIMIT ?)
        """
    static let oldEvents = "SELECT max(id) AS last, min(at) AS oldest, count(*) AS n FROM (SELECT id, at FROM events WHERE id > ? ORDER BY id LIMIT ?)"

    /// User by user, once a day: each one's old hours lie side by side.
    private func pruneTraffic(beforeDay day: UnixTime) async throws(StoreError) {
        guard file.trafficPrunedBefore.withLock({ $0 }) < day else { return }
        var after: Int64 = 0
        while true {
            let from = after
            let next: Int64? = try await write { db, _ in
                let users = try Int64.fetchAll(db.cachedStatement(sql: "SELECT id FROM users WHERE id > ? ORDER BY id LIMIT 50"), arguments: [from])
                for user in users {
                    for kind in AccessKind.allCases {
                        try db.run("DELETE FROM traffic_hours WHERE user = ? AND kind = ? AND hour < ?", [user, kind.rawValue, day * 24])
                        try db.run("DELETE FROM traffic_days WHERE kind = ? AND user = ? AND day < ?", [kind.rawValue, user, day])
                    }
                }
                return users.last
            }
            guard let next else { break }
            after = next
        }
        file.trafficPrunedBefore.withLock { $0 = day }
    }
}
