import Foundation
import GRDB
import Migration
import Testing

@testable import Store

/// What an administrator asks of a store that has run for years. `CAUSEWAY_STORE_ROWS` says how many rows of history (10,000,000 for
/// Bench/README.md); without it a smaller one is asked, for the plans that only statistics of size would change.
@Suite(.serialized) struct LargeStoreTests {
    private static let wanted = ProcessInfo.processInfo.environment["CAUSEWAY_STORE_ROWS"].flatMap(Int.init)
    private static let today: UnixTime = 400

    /// Half of the rows are sessions, a tenth days of traffic, the rest hours.
    private func fill(_ store: SQLiteStore, users: Int, rows: Int) throws {
        let counting = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?1)"
        try store.pool.writeWithoutTransaction { db in
            try db.inTransaction {
                try db.execute(
                    sql: """
                        \(counting) INSERT INTO users (name, origin, created_at, phase, phase_since, legacy_at, mover_kind)
                        SELECT printf('user%06d', i), 'secrets', 0,
                            CASE i % 5 WHEN 0 THEN 'invited' WHEN 1 THEN 'dual' WHEN 2 THEN 'migrated' WHEN 3 THEN 'retired' ELSE 'legacy' END,
                            86400, ?2 * 86400 - i, 'evidence' FROM n
                        """, arguments: [users, Self.today])
                try db.execute(
                    sql: """
                        INSERT INTO devices (user, kind, fingerprint, evidence, first_seen, last_seen, logins)
                        SELECT id, printf('device %d', id % 12), 'f', 'e', 0, 1, 1 FROM users
                        """)
                try db.execute(sql: "UPDATE users SET device = (SELECT id FROM devices d WHERE d.user = users.id)")
                try db.execute(
                    sql: """
                        \(counting) INSERT INTO phase_changes (user, gateway, at, old, new, mover_kind, mover, reason)
                        SELECT i, 1, (?2 - i % 60) * 86400, 'legacy', 'invited', 'administrator', 'ann', 'x' FROM n
                        """, arguments: [users, Self.today])
                try db.execute(
                    sql: """
                        \(counting) INSERT INTO sessions (gateway, kind, user, address, tunnel, only, opened_at, seen_at, closed_at, cause, bytes_in)
                        SELECT 1, 'pptp', 1 + i % ?2, x'0A080001', 'hub', 0, i, i, i + 1, 'hung up', 1000 FROM n
                        """, arguments: [rows / 2, users])
                let days = max(1, rows / 10 / users)
                try db.execute(
                    sql: """
                        \(counting) INSERT INTO traffic_days (kind, user, day, bytes)
                        SELECT 'pptp', 1 + (i - 1) / ?2, ?3 - (i - 1) % ?2, i FROM n
                        """, arguments: [days * users, days, Self.today])
                let hours = max(1, rows * 4 / 10 / users)
                try db.execute(
                    sql: """
                        \(counting) INSERT INTO traffic_hours (user, kind, hour, packets_in, packets_out, bytes_in, bytes_out)
                        SELECT 1 + (i - 1) / ?2, 'pptp', ?3 * 24 - (i - 1) % ?2, 1, 1, 1, 1 FROM n
                        """, arguments: [hours * users, hours, Self.today])
                return .commit
            }
            _ = try db.checkpoint(.truncate)
        }
    }

    @Test func whatIsAskedOfALargeStore() async throws {
        let rows = Self.wanted ?? 50_000, users = min(50_000, rows / 10)
        let temporary = try TemporaryStore(), store = temporary.store
        try fill(store, users: users, rows: rows)
        let now = Self.today * day, clock = ContinuousClock()
        func measure(_ name: String, _ body: () async throws -> Void) async throws {
            var times: [Duration] = []
            for _ in 0..<(Self.wanted == nil ? 1 : 7) {
                let began = clock.now
                try await body()
                times.append(clock.now - began)
            }
            times.sort()
            func text(_ time: Duration) -> String { String(format: "%.1f", Double(time.components.attoseconds) / 1e15 + Double(time.components.seconds) * 1000) }
            if Self.wanted != nil { print("\(name): \(text(times[times.count / 2])) ms (\(text(times[0]))-\(text(times[times.count - 1])))") }
        }
        try await measure("migrate status, 30 days, 20 blockers") {
            let status = try await store.status(at: now, days: 30, blockers: 20)
            #expect(status.counts.values.reduce(0, +) == users && status.blockers.count == 20 && status.devices.count == 12)
        }
        try await measure("a page of 100 users, in the middle") {
            let page = try await store.users(UserFilter(), after: String(format: "user%06d", users / 2), limit: 100)
            #expect(page.elements.count == 100)
        }
        try await measure("a page of 100 users of a phase") {
            let page = try await store.users(UserFilter(phase: .dual), after: nil, limit: 100)
            #expect(page.elements.count == 100)
        }
        try await measure("a page of 100 sessions, in the middle") {
            let page = try await store.sessions(SessionFilter(), before: SessionID(Int64(rows / 4)), limit: 100)
            #expect(page.elements.count == 100)
        }
        try await measure("the last sessions of a user") {
            let user = String(format: "user%06d", users / 2)
            let page = try await store.sessions(SessionFilter(user: user), before: nil, limit: 100)
            #expect(!page.elements.isEmpty)
        }
        try await measure("open sessions (none)") {
            let page = try await store.sessions(SessionFilter(openOnly: true), before: nil, limit: 100)
            #expect(page.elements.isEmpty)
        }
        try await measure("facts for log-ins, of all users") {
            let facts = try await store.loginFacts()
            #expect(facts.count == users * 4 / 5)
        }
        let links = (1...users).map { number in
            NewPeerLink(
                user: String(format: "user%06d", number), publicKey: withUnsafeBytes(of: number) { Array($0) } + [UInt8](repeating: 0, count: 24), tunnel: "hub",
                allowedIPs: [], holder: .gateway)
        }
        try await measure("a peer of each user's, written down") {
            _ = try await store.setGatewayLinks([], at: now)
            let changed = try await store.setGatewayLinks(links, at: now)
            #expect(changed == users)
        }
        var next = 0
        try await measure("a session opened and closed") {
            next += 1
            let id = try await store.openSession(opening(String(format: "user%06d", next), next, at: now + UnixTime(next)), rules).id
            _ = try await store.closeSessions([SessionClosing(id: id, at: now + UnixTime(next), cause: "x", total: Traffic(bytesIn: 1))], rules)
        }
    }
}
