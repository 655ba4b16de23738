import Addresses
import GRDB
import Migration
import Synchronization
import Testing

@testable import Store

@Suite struct SessionTests {
    /// Each has its own answer: who is refused leaves nothing behind, and takes nobody along.
    @Test func severalAreOpenedInOneTransaction() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        _ = try await store.openSession(opening("old", 9, at: 1, isOnly: true), rules)
        let commits = CommitCounter()
        store.pool.add(transactionObserver: commits, extent: .observerLifetime)
        let device = DeviceGuess(kind: "Windows 10/11", fingerprint: "abc", evidence: "vendor \"Microsoft\"")
        let results = try await store.openSessions(
            [
                opening("ann", 1, at: 2), opening("bob", 1, at: 2, device: device), opening("old", 2, at: 2, isOnly: true), opening("cid", 9, at: 2),
                opening("dan", 3, at: 2), opening("ann", 1, at: 2),
            ], rules)
        #expect(commits.count == 1)
        let opened = results.map { try? $0.get() }
        #expect(opened.map { $0?.isFirstLegacyLogin } == [true, nil, nil, nil, true, false])
        #expect(results[1] == .failure(.addressTaken(inner(1))) && results[3] == .failure(.addressTaken(inner(9))))
        #expect(results[2] == .failure(.alreadyConnected(user: "old")))
        #expect(opened[5]?.id == opened[0]?.id, "told twice, written once")
        let page = try await store.sessions(SessionFilter(openOnly: true), before: nil, limit: 10)
        #expect(page.elements.map(\.user) == ["dan", "ann", "old"])
        // Bob was written before his address turned out to be taken, and is taken back.
        #expect(try await store.user("bob") == nil)
        #expect(try await store.user("cid") == nil)
        #expect(try await store.leases().map(\.user).sorted() == ["ann", "dan", "old"])
    }

    @Test func openingIsOneTransactionWithEverything() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        let device = DeviceGuess(kind: "Windows 10/11", fingerprint: "abc", evidence: "vendor \"Microsoft\"")
        let commits = CommitCounter()
        store.pool.add(transactionObserver: commits, extent: .observerLifetime)
        let opened = try await store.openSession(opening("bob", 1, at: 100, device: device), rules)
        #expect(commits.count == 1)
        #expect(opened.isFirstLegacyLogin && opened.change == nil)
        let bob = try #require(try await store.user("bob"))
        #expect(bob.origin == .sight && bob.lastDevice == device)
        #expect(bob.migration.legacyAt == 100 && bob.migration.openLegacySessions == 1)
        let page = try await store.sessions(SessionFilter(openOnly: true), before: nil, limit: 10)
        #expect(page.elements.map(\.address) == [inner(1)] && page.elements[0].device == "Windows 10/11" && page.next == nil)
        #expect(page.elements[0].clientAddress == IPAddress("192.0.2.7"))
        #expect(try await store.leases().map(\.user) == ["bob"])
        #expect(try await store.events(user: "bob", before: nil, limit: 10).elements.map(\.kind) == ["first-legacy-login"])
    }

    @Test func anAddressHasOneLiveSessionEvenAcrossGateways() async throws {
        let temporary = try TemporaryStore()
        let other = try SQLiteStore(path: temporary.path, gateway: "gw2", now: 0)
        let first = try await temporary.store.openSession(opening("bob", 1, at: 1), rules)
        await #expect(throws: StoreError.addressTaken(inner(1))) { try await other.openSession(opening("eve", 1, at: 2), rules) }
        #expect(try await other.user("eve") == nil, "a refused session leaves nothing")
        _ = try await temporary.store.closeSessions([SessionClosing(id: first.id, at: 3, cause: "hung up")], rules)
        _ = try await other.openSession(opening("eve", 1, at: 4), rules)
        try other.close()
    }

    @Test func anOnlySessionIsTheOnlyOneOfItsKind() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        _ = try await store.openSession(opening("bob", 1, at: 1, isOnly: true), rules)
        await #expect(throws: StoreError.alreadyConnected(user: "bob")) { try await store.openSession(opening("bob", 2, at: 2, isOnly: true), rules) }
        _ = try await store.openSession(opening("bob", 3, at: 2, kind: .native, pool: nil, isOnly: true), rules)
    }

    @Test func closingCountsOnceAndKeepsTheCause() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        let id = try await store.openSession(opening("bob", 1, at: 3600), rules).id
        let soFar = Traffic(packetsIn: 1, packetsOut: 2, bytesIn: 100, bytesOut: 200)
        // What is told twice counts once: the first answer may have been lost.
        for _ in 0..<2 { try await store.record(totals: [id: soFar], at: 3700) }
        let closing = SessionClosing(id: id, at: 7300, cause: "hung up", total: Traffic(packetsIn: 2, packetsOut: 2, bytesIn: 150, bytesOut: 200))
        _ = try await store.closeSessions([closing], rules)
        _ = try await store.closeSessions([SessionClosing(id: id, at: 9999, cause: "again", total: closing.total)], rules)
        let session = try #require(try await store.sessions(SessionFilter(user: "bob"), before: nil, limit: 10).elements.first)
        #expect(session.closedAt == 7300 && session.cause == "hung up")
        #expect(session.traffic == Traffic(packetsIn: 2, packetsOut: 2, bytesIn: 150, bytesOut: 200))
        let hours = try await store.read { try $0.rows("SELECT hour, bytes_in FROM traffic_hours ORDER BY hour").map { [$0["hour"] as Int64, $0["bytes_in"]] } }
        #expect(hours == [[1, 100], [2, 50]])
        #expect(try await store.user("bob")?.migration.openLegacySessions == 0)
    }

    @Test func theSameOpeningAgainIsTheSameSession() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        let device = DeviceGuess(kind: "Windows 10/11", fingerprint: "abc", evidence: "vendor \"Microsoft\"")
        let first = try await store.openSession(opening("bob", 1, at: 100, isOnly: true, device: device), rules)
        let again = try await store.openSession(opening("bob", 1, at: 100, isOnly: true, device: device), rules)
        #expect(again.id == first.id && !again.isFirstLegacyLogin)
        #expect(try await store.devices(of: "bob").map(\.logins) == [1])
        await #expect(throws: StoreError.addressTaken(inner(1))) { try await store.openSession(opening("bob", 1, at: 101), rules) }
        await #expect(throws: StoreError.addressTaken(inner(1))) { try await store.openSession(opening("eve", 1, at: 100), rules) }
    }

    @Test func aLeaseMovesWithItsUserAndCountsItsHolders() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        for (user, address, at) in [("bob", 1, 10), ("bob", 1, 20), ("bob", 2, 30), ("eve", 1, 40)] as [(String, Int, UnixTime)] {
            let id = try await store.openSession(opening(user, address, at: at), rules).id
            _ = try await store.closeSessions([SessionClosing(id: id, at: at + 1, cause: "x")], rules)
        }
        let leases = try await store.leases().sorted { $0.user < $1.user }
        #expect(leases.map(\.user) == ["bob", "eve"] && leases.map(\.address) == [inner(2), inner(1)] && leases.map(\.usedAt) == [30, 40])
        _ = try await store.openSession(opening("eve", 2, at: 50), rules)
        #expect(try await store.leases().map { "\($0.user) \($0.address) \($0.generation)" } == ["eve \(inner(2)) 2"])
    }

    @Test func sessionsOfADeadProcessEndWhenItWasLastAlive() async throws {
        let temporary = try TemporaryStore()
        let kept = try SQLiteStore(path: temporary.path, gateway: "gw2", now: 0)
        _ = try await kept.openSession(opening("carl", 9, at: 5), rules)
        let id = try await temporary.store.openSession(opening("bob", 1, at: 10), rules).id
        try await temporary.store.record(totals: [id: Traffic(bytesIn: 1)], at: 70)
        let dead = Mutex(0)
        try temporary.store.close()
        let store = try SQLiteStore(path: temporary.path, gateway: "gw1", now: 5000) { count in dead.withLock { $0 = count } }
        #expect(dead.withLock { $0 } == 1)
        let session = try #require(try await store.sessions(SessionFilter(user: "bob"), before: nil, limit: 1).elements.first)
        #expect(session.closedAt == 70 && session.cause?.contains("crash") == true)
        let bob = try #require(try await store.user("bob")), carl = try #require(try await store.user("carl"))
        #expect(bob.migration.openLegacySessions == 0 && bob.migration.legacyAt == 70)
        #expect(carl.migration.openLegacySessions == 1, "another gateway's sessions are its own")
        _ = try await store.openSession(opening("bob", 1, at: 5001), rules)
        try kept.close()
        try store.close()
    }

    /// A gateway that was renamed, or whose host is gone, holds its users' addresses no longer than it is silent.
    @Test func sessionsOfASilentGatewayEndAndGiveTheirAddressesBack() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        let other = try SQLiteStore(path: temporary.path, gateway: "old name", now: 0)
        let id = try await other.openSession(opening("bob", 1, at: 5), rules).id
        try await other.record(totals: [id: Traffic(bytesIn: 1)], at: 70)
        #expect(try await store.endSessionsOfTheDead(silentSince: 70).isEmpty, "it spoke just then")
        await #expect(throws: StoreError.addressTaken(inner(1))) { try await store.openSession(opening("bob", 1, at: 80), rules) }
        #expect(try await store.endSessionsOfTheDead(silentSince: 71) == ["old name": 1])
        let session = try #require(try await store.sessions(SessionFilter(user: "bob"), before: nil, limit: 1).elements.first)
        #expect(session.closedAt == 70 && session.cause?.contains("\"old name\" was not heard of") == true)
        let bob = try #require(try await store.user("bob"))
        #expect(bob.migration.openLegacySessions == 0 && bob.migration.legacyAt == 70)
        let own = try await store.openSession(opening("bob", 1, at: 400), rules).id
        #expect(try await store.endSessionsOfTheDead(silentSince: 1000).isEmpty, "its own are not silent")
        #expect(try await store.sessions(SessionFilter(openOnly: true), before: nil, limit: 9).elements.map(\.id) == [own])
        try other.close()
    }

    @Test func pagesGiveEverySessionOnce() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        for number in 1...25 { _ = try await store.openSession(opening("u\(number % 3)", number, at: UnixTime(number), pool: nil), rules) }
        var seen: [Int64] = [], before: SessionID?
        repeat {
            let page = try await store.sessions(SessionFilter(), before: before, limit: 7)
            seen += page.elements.map(\.id.value)
            before = page.next
        } while before != nil
        #expect(seen == (1...25).reversed().map(Int64.init))
    }
}

private final class CommitCounter: TransactionObserver, @unchecked Sendable {
    private(set) var count = 0
    func observes(eventsOfKind eventKind: DatabaseEventKind) -> Bool { true }
    func databaseDidChange(with event: DatabaseEvent) {}
    func databaseDidCommit(_ db: Database) { count += 1 }
    func databaseDidRollback(_ db: Database) {}
}
