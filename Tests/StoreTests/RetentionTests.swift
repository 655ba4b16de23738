import GRDB
import Migration
import Testing

@testable import Store

@Suite struct RetentionTests {
    private func count(_ store: SQLiteStore, _ table: String) async throws -> Int {
        try await store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM \(table)") ?? -1 }
    }

    @Test func whatIsOldGoesAndWhatLivesStays() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        let long = try await store.openSession(opening("long", 99, at: 0), rules).id
        for number in 0..<10 {
            let at = UnixTime(number) * day
            let id = try await store.openSession(opening("bob", 1, at: at), rules).id
            let closing = SessionClosing(id: id, at: at + 60, cause: "x", total: Traffic(bytesIn: 100))
            _ = try await store.closeSessions([closing], rules)
            try await store.record([NewEvent(at: at, kind: "test", text: "\(number)")])
        }
        _ = try await store.change("bob", by: ann) { $0.retire(at: 0, by: .administrator("ann"), reason: "x") }
        let now = 10 * day
        try await store.prune(Retention(), at: now)
        #expect(try await count(store, "sessions") == 11, "nil is for ever")
        try await store.prune(Retention(sessions: 4, traffic: 3, events: 2), at: now)
        let kept = try await store.sessions(SessionFilter(), before: nil, limit: 100).elements
        #expect(kept.map(\.openedAt) == [9 * day, 8 * day, 7 * day, 6 * day, 0] && kept.last?.id == long)
        #expect(try await count(store, "traffic_hours") == 3)
        #expect(try await count(store, "traffic_days") == 3)
        #expect(try await store.events(user: nil, before: nil, limit: 100).elements.map(\.at).min() == 8 * day)
        #expect(try await store.phaseChanges(of: "bob").count == 1, "the history of phases stays")
        #expect(try await store.user("bob")?.migration.legacyAt == 9 * day + 60)
    }

    /// Much at once goes in parts, and each is short; what does not go with one call goes with the next.
    @Test func muchGoesInParts() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        _ = try await store.addUsers(["bob"], origin: .secrets, at: 0, by: .gateway)
        try await store.pool.write { db in
            try db.execute(
                sql: """
                    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
                    INSERT INTO sessions (gateway, kind, user, address, tunnel, only, opened_at, seen_at, closed_at, cause)
                    SELECT 1, 'pptp', 1, x'0A080001', 'hub', 0, i, i, i + 1, 'x' FROM n
                    """)
        }
        let commits = LargestCommit()
        store.pool.add(transactionObserver: commits, extent: .observerLifetime)
        try await store.prune(Retention(sessions: 1), at: 10 * day)
        #expect(try await count(store, "sessions") == 5000)
        try await store.prune(Retention(sessions: 1), at: 10 * day)
        #expect(try await count(store, "sessions") == 0)
        #expect(commits.largest == 500)
    }

    @Test func nothingIsSearchedForWithoutAnIndex() async throws {
        let temporary = try TemporaryStore()
        for query in [
            SQLiteStore.oldSessions, SQLiteStore.oldEvents, "DELETE FROM sessions WHERE id > ? AND id <= ? AND closed_at < ?",
            "DELETE FROM events WHERE id > ? AND id <= ? AND at < ?", "DELETE FROM traffic_hours WHERE user = ? AND kind = 'pptp' AND hour < ?",
            "DELETE FROM traffic_days WHERE kind = 'pptp' AND user = ? AND day < ?",
        ] {
            let plan = try await temporary.store.read { db in
                try Row.fetchAll(db, sql: "EXPLAIN QUERY PLAN " + query.replacing("?", with: "1")).map { $0["detail"] as String }
            }
            #expect(plan.contains { $0.hasPrefix("SEARCH") } && !plan.contains { $0.contains("TEMP B-TREE") }, "\(query)\n\(plan)")
        }
    }
}

private final class LargestCommit: TransactionObserver, @unchecked Sendable {
    private(set) var largest = 0
    private var changes = 0
    func observes(eventsOfKind eventKind: DatabaseEventKind) -> Bool { true }
    func databaseDidChange(with event: DatabaseEvent) { changes += 1 }
    func databaseDidCommit(_ db: Database) {
        largest = max(largest, changes)
        changes = 0
    }
    func databaseDidRollback(_ db: Database) { changes = 0 }
}
