import Addresses
import Foundation
import GRDB
import Migration
import Synchronization
import Testing

@testable import Store

@Suite struct RobustnessTests {
    @Test func aFileThatIsNoDatabaseIsRefusedAndLeftAlone() throws {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("no-database-\(UUID().uuidString)").path
        let bytes = Data("This is a text that somebody keeps here, longer than a header of SQLite is.".utf8) + Data(count: 200)
        try bytes.write(to: URL(fileURLWithPath: path))
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect { try SQLiteStore(path: path, gateway: "gw1", now: 0) } throws: { error in
            guard case .unusable = error as? StoreError else { return false }
            return true
        }
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == bytes)
    }

    @Test func aNewerDatabaseIsRefused() throws {
        let temporary = try TemporaryStore()
        try temporary.store.pool.write { db in
            try db.execute(sql: "INSERT INTO grdb_migrations (identifier) VALUES ('99 from the future')")
        }
        #expect(throws: StoreError.unusable("\(temporary.path) was written by a newer version")) { try temporary.reopen(now: 1) }
    }

    @Test func aFolderThatIsNotThereIsUnavailable() {
        #expect { try SQLiteStore(path: "/nonexistent/folder/causeway.db", gateway: "gw1", now: 0) } throws: { error in
            guard case .unavailable = error as? StoreError else { return false }
            return true
        }
    }

    @Test func aFullDiskChangesNothingAndIsOverWhenThereIsRoom() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        _ = try await store.openSession(opening("bob", 1, at: 1), rules)
        let pages = try await store.read { try Int.fetchOne($0, sql: "PRAGMA page_count") ?? 0 }
        try await store.pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA max_page_count = \(pages)") }
        var stored = 1, failure: StoreError?
        while failure == nil, stored < 5000 {
            do throws(StoreError) {
                _ = try await store.openSession(opening("user\(stored)", 100 + stored, at: 2), rules)
                stored += 1
            } catch { failure = error }
        }
        guard case .unavailable(let text) = failure else {
            Issue.record("the disk never was full: \(String(describing: failure))")
            return
        }
        #expect(text.contains("full"))
        #expect(try await store.user("user\(stored)") == nil)
        let open = try await store.read { try Int.fetchOne($0, sql: "SELECT count(*) FROM sessions WHERE closed_at IS NULL") }
        #expect(open == stored)
        try await store.pool.writeWithoutTransaction { try $0.execute(sql: "PRAGMA max_page_count = 1000000") }
        _ = try await store.openSession(opening("user\(stored)", 100 + stored, at: 2), rules)
    }

    @Test func aLockOfSomebodyElseIsWaitedForAndThenUnavailable() async throws {
        let temporary = try TemporaryStore()
        let store = try SQLiteStore(path: temporary.path, gateway: "gw2", now: 0, patience: 0.2)
        let other = try stranger(temporary.path)
        try await other.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
        await #expect(throws: StoreError.unavailable("database is locked")) { try await store.openSession(opening("bob", 1, at: 1), rules) }
        #expect(try await store.user("bob") == nil, "readers go on")
        try await other.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
        _ = try await store.openSession(opening("bob", 1, at: 1), rules)
        try store.close()
    }

    /// A lock, or a full disk, when the gateway starts: what is known can be read, and writing begins when it is possible.
    @Test func aStoreThatIsLockedAtFirstOpensLater() async throws {
        let temporary = try TemporaryStore()
        _ = try await temporary.store.openSession(opening("bob", 1, at: 1), rules)
        try temporary.store.close()
        let other = try stranger(temporary.path), dead = Mutex<[Int]>([])
        try await other.writeWithoutTransaction { try $0.execute(sql: "BEGIN IMMEDIATE") }
        let store = SQLiteStore(path: temporary.path, gateway: "gw1", patience: 0.05, clock: { 50 }) { count in dead.withLock { $0.append(count) } }
        await #expect(throws: StoreError.unavailable("database is locked")) { try await store.open() }
        #expect(try await store.leases().map(\.user) == ["bob"])
        #expect(dead.withLock { $0 }.isEmpty, "nothing is buried yet")
        try await other.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") }
        _ = try await store.openSession(opening("eve", 2, at: 60), rules)
        #expect(dead.withLock { $0 } == [1] && store.file.current != nil)
        #expect(try await store.sessions(SessionFilter(openOnly: true), before: nil, limit: 9).elements.map(\.user) == ["eve"])
        try store.close()
        await #expect(throws: StoreError.unavailable("it has been closed")) { try await store.open() }
    }

    @Test func afterItIsClosedAllIsInTheOneFile() async throws {
        let temporary = try TemporaryStore(), path = temporary.path
        _ = try await temporary.store.openSession(opening("bob", 1, at: 1), rules)
        _ = try await temporary.store.user("bob")
        try temporary.store.close()
        let log = (try? FileManager.default.attributesOfItem(atPath: path + "-wal"))?[.size] as? Int
        #expect(log ?? 0 == 0)
    }

    /// A disk that hangs: nobody waits for ever, those behind do not wait at all, and what is told again is written once.
    @Test func aDiskThatHangsIsNotWaitedForLong() async throws {
        let temporary = try TemporaryStore()
        let store = try SQLiteStore(path: temporary.path, gateway: "gw2", now: 0, patience: 0.1)
        let hang = HangingCommit()
        store.pool.add(transactionObserver: hang, extent: .observerLifetime)
        let clock = ContinuousClock(), began = clock.now
        await #expect(throws: StoreError.unanswered("for 1.2 seconds")) { try await store.openSession(opening("bob", 1, at: 1), rules) }
        #expect(clock.now - began < .seconds(20))
        let second = clock.now
        await #expect(throws: StoreError.unavailable("the disk has not answered an earlier call yet")) {
            try await store.openSession(opening("eve", 2, at: 1), rules)
        }
        #expect(clock.now - second < .seconds(10))
        #expect(try await store.user("bob") == nil, "readers go on")
        await #expect(throws: StoreError.unavailable("the disk has not answered an earlier call yet")) { try await store.close(within: 0.1) }
        hang.end()
        var again: SessionOpened?
        while again == nil { again = try? await store.openSession(opening("bob", 1, at: 1), rules) }
        #expect(try await store.sessions(SessionFilter(), before: nil, limit: 9).elements.map(\.id) == [again?.id])
        try await store.close(within: 5)
    }

    @Test func whatBreaksARuleIsToldApartFromAStoreThatIsAway() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        do throws(StoreError) {
            _ = try await store.openSession(opening(String(repeating: "u", count: 256), 1, at: 1), rules)
            Issue.record("a name of 256 characters was taken")
        } catch {
            if case .violates = error { #expect(!error.isOutage) } else { Issue.record("\(error)") }
        }
        #expect(try await store.sessions(SessionFilter(), before: nil, limit: 9).elements.isEmpty)
    }

    /// Whatever is asked in whatever order: no two live sessions hold one address, leases are unique, open counts are right.
    @Test(arguments: [11, 12, 13] as [UInt64]) func randomUseKeepsTheRules(_ seed: UInt64) async throws {
        let temporary = try TemporaryStore()
        let stores = [temporary.store, try SQLiteStore(path: temporary.path, gateway: "gw2", now: 0)]
        var dice = Dice(seed: seed), live: [(Int, SessionID, Int)] = [], now: UnixTime = 0, refusals = 0
        for _ in 0..<1500 {
            now += .random(in: 0...5000, using: &dice)
            let which = Int.random(in: 0...1, using: &dice), store = stores[which]
            let user = "u\(Int.random(in: 0..<12, using: &dice))", address = Int.random(in: 0..<10, using: &dice)
            switch Int.random(in: 0..<6, using: &dice) {
            case 0, 1:
                let kind: AccessKind = Bool.random(using: &dice) ? .pptp : .native
                do throws(StoreError) {
                    let opened = try await store.openSession(opening(user, address, at: now, kind: kind, isOnly: Bool.random(using: &dice)), rules)
                    #expect(!live.contains { $0.2 == address })
                    live.append((which, opened.id, address))
                } catch {
                    refusals += 1
                    switch error {
                    case .addressTaken: #expect(live.contains { $0.2 == address })
                    case .alreadyConnected: break
                    default: Issue.record("\(error)")
                    }
                }
            case 2, 3:
                guard let index = live.indices.randomElement(using: &dice) else { break }
                let ended = live.remove(at: index)
                _ = try await stores[ended.0].closeSessions([SessionClosing(id: ended.1, at: now, cause: "x", total: Traffic(bytesIn: 1))], rules)
            case 4: if try await store.user(user) != nil { _ = try await store.nativeSeen([user], by: "gw", at: now, rules) }
            default: _ = try await store.settle(at: now, rules)
            }
        }
        #expect(refusals > 50)
        let (open, leases, broken) = try await temporary.store.read { db in
            (
                try Int.fetchOne(db, sql: "SELECT count(*) FROM sessions WHERE closed_at IS NULL"),
                try Int.fetchOne(db, sql: "SELECT count(*) - count(DISTINCT address) FROM leases"),
                try String.fetchAll(db, sql: "PRAGMA integrity_check") + String.fetchAll(db, sql: "SELECT \"table\" FROM pragma_foreign_key_check")
            )
        }
        #expect(open == live.count && leases == 0 && broken == ["ok"])
        try stores[1].close()
    }
}

/// The first commit hangs, as one does on a disk that is gone.
private final class HangingCommit: TransactionObserver, @unchecked Sendable {
    private let gate = DispatchSemaphore(value: 0)
    private let isOver = Mutex(false)
    func end() {
        isOver.withLock { $0 = true }
        gate.signal()
    }
    func observes(eventsOfKind eventKind: DatabaseEventKind) -> Bool { true }
    func databaseDidChange(with event: DatabaseEvent) {}
    func databaseWillCommit() throws { if !isOver.withLock({ $0 }) { gate.wait() } }
    func databaseDidCommit(_ db: Database) {}
    func databaseDidRollback(_ db: Database) {}
}

@Suite struct QueryPlanTests {
    /// Every listing finds its rows by an index and in the order that it gives them: no table is read whole and nothing is sorted.
    @Test func listingsUseAnIndex() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        var queries: [(String, StatementArguments)] = []
        for phase in [nil, Phase.dual] {
            for wave in [nil, "w"] {
                for after in [nil, "m"] {
                    for prefix in [nil, "b"] {
                        var (query, arguments) = SQLiteStore.usersQuery(UserFilter(phase: phase, wave: wave, prefix: prefix), after: after)
                        arguments += [100]
                        queries.append((query, arguments))
                    }
                }
            }
        }
        for user in [nil, "bob"] {
            for open in [false, true] {
                var (query, arguments) = SQLiteStore.sessionsQuery(SessionFilter(user: user, openOnly: open), before: SessionID(9))
                arguments += [100]
                queries.append((query, arguments))
            }
        }
        for user in [nil, "bob"] {
            let named: StatementArguments = user.map { [$0] } ?? []
            for query in [SQLiteStore.eventsQuery(ofUser: user != nil), SQLiteStore.linksQuery(ofUser: user != nil)] {
                var arguments: StatementArguments = [9]
                arguments += named
                arguments += [100]
                queries.append((query, arguments))
            }
        }
        for (query, arguments) in queries {
            let plan = try await store.read { db in
                try Row.fetchAll(db, sql: "EXPLAIN QUERY PLAN " + query, arguments: arguments).map { $0["detail"] as String }
            }
            let outer = plan.filter { !$0.contains("SCALAR SUBQUERY") }
            // A walk along an index is in the right order and ends at the limit; a scan without one is not.
            #expect(outer.allSatisfy { !$0.hasPrefix("SCAN") || $0.contains("USING INDEX") }, "\(query)\n\(plan)")
            #expect(!plan.contains { $0.contains("TEMP B-TREE") }, "\(query)\n\(plan)")
            // The key alone would walk over all that have ended.
            if query.contains("s.closed_at IS NULL") { #expect(plan.contains { $0.contains("open_sessions") || $0.contains("(user=?") }, "\(query)\n\(plan)") }
        }
    }
}
