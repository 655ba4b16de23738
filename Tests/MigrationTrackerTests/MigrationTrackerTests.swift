import Addresses
import Foundation
import GRDB
import Logging
import Migration
import Synchronization
import Testing

@testable import MigrationTracker
@testable import Store

private let day: UnixTime = 86_400

/// A tracker over a real database in a folder of its own, and somebody else who can lock it.
private final class Scene: Sendable {
    let folder: URL
    let store: SQLiteStore
    let tracker: MigrationTracker
    let other: DatabaseQueue

    init(settings: MigrationTracker.Settings = .init(), patience: Double = 0.02) async throws {
        folder = FileManager.default.temporaryDirectory.appendingPathComponent("tracker-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
        let path = folder.appendingPathComponent("causeway.db").path
        store = SQLiteStore(path: path, gateway: "gw1", patience: patience, clock: { 0 })
        try await store.open()
        var configuration = Configuration()
        configuration.allowsUnsafeTransactions = true
        other = try DatabaseQueue(path: path, configuration: configuration)
        let now = Clock(), news = Heard()
        clock = now
        heard = news
        tracker = MigrationTracker(
            store: store, settings: settings, clock: { now.value.withLock { $0 } }, zone: { WeekMinute(at: $0, offset: 0) },
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }, report: { item in news.items.withLock { $0.append(item) } })
        try await tracker.load()
    }

    final class Clock: Sendable { let value = Mutex<UnixTime>(1000) }
    final class Heard: Sendable { let items = Mutex<[MigrationTracker.News]>([]) }
    let clock: Clock, heard: Heard

    func sleep(_ seconds: UnixTime) { clock.value.withLock { $0 += seconds } }
    func takeNews() -> [MigrationTracker.News] { heard.items.withLock { items in defer { items = [] }; return items } }
    func observe(_ observer: some TransactionObserver) throws { store.file.current?.pool.add(transactionObserver: observer, extent: .databaseLifetime) }
    func lock() throws { try other.writeWithoutTransaction { try $0.execute(sql: "BEGIN EXCLUSIVE") } }
    func unlock() throws { try other.writeWithoutTransaction { try $0.execute(sql: "ROLLBACK") } }

    deinit {
        try? store.close()
        try? other.close()
        try? FileManager.default.removeItem(at: folder)
    }

    func opening(_ user: String, _ address: String, pool: String? = "p", kind: AccessKind = .pptp) -> SessionOpening {
        SessionOpening(
            kind: kind, user: user, at: clock.value.withLock { $0 }, clientAddress: nil, address: IPAddress(address)!, pool: pool, tunnel: "hub")
    }
    func session(of user: String) async throws -> StoredSession? {
        try await store.sessions(SessionFilter(user: user), before: nil, limit: 1).elements.first
    }
}

private struct Books: Equatable {
    var isAway: Bool
    var waiting: Int
    var setAside: Int
}
extension MigrationTracker {
    fileprivate func books() -> Books { Books(isAway: trouble != nil, waiting: waiting, setAside: setAside) }
    fileprivate func isBeginning(_ handle: Handle) -> Bool { if case .opening? = sessions[handle] { true } else { false } }
}

@Suite struct MigrationTrackerTests {
    /// Everybody at once, two for each address: one of the two has it, and the other one hears that.
    @Test func aCrowdIsWrittenInFewTransactions() async throws {
        let scene = try await Scene()
        let commits = Commits()
        try scene.observe(commits)
        let answers = await withTaskGroup(of: (Int, MigrationTracker.Admission).self) { group in
            for number in 0..<400 {
                let opening = scene.opening("user\(number)", "10.0.\(number / 2 / 200).\(number / 2 % 200)")
                group.addTask { (number, await scene.tracker.open(UInt64(number), opening)) }
            }
            return await group.reduce(into: [:]) { $0[$1.0] = $1.1 }
        }
        for pair in 0..<200 {
            let two = [answers[2 * pair]!, answers[2 * pair + 1]!]
            #expect(two.contains(.admitted(nil)) && two.contains(.addressTaken), "\(two)")
        }
        #expect(commits.count.withLock { $0 } < 200, "they wait for each other while one transaction is written")
        #expect(scene.takeNews().count == 200)
        for number in 0..<400 { await scene.tracker.close(UInt64(number), cause: "hung up", total: Traffic()) }
        #expect(try await scene.store.sessions(SessionFilter(openOnly: true), before: nil, limit: 10).elements.isEmpty)
    }

    /// The user dials again before the first session is written down: the second has the same address, and is written after the end of the first.
    @Test func whoDialsAgainAtOnceKeepsTheAddress() async throws {
        let scene = try await Scene(), tracker = scene.tracker
        await tracker.turn()
        async let old = tracker.open(1, scene.opening("ann", "10.0.0.1"))
        while await !tracker.isBeginning(1) { await Task.yield() }
        await tracker.close(1, cause: "replaced by a new log-in", total: Traffic())
        async let new = tracker.open(2, scene.opening("ann", "10.0.0.1"))
        while await !tracker.isBeginning(2) { await Task.yield() }
        await tracker.endTurn()
        let answers = await [old, new]
        #expect(answers == [.admitted(nil), .admitted(nil)])
        let sessions = try await scene.store.sessions(SessionFilter(user: "ann"), before: nil, limit: 10).elements
        #expect(sessions.map(\.cause) == [nil, "replaced by a new log-in"])
    }

    private final class Commits: TransactionObserver, Sendable {
        let count = Mutex(0)
        func observes(eventsOfKind eventKind: DatabaseEventKind) -> Bool { true }
        func databaseDidChange(with event: DatabaseEvent) {}
        func databaseDidCommit(_ db: Database) { count.withLock { $0 += 1 } }
        func databaseDidRollback(_ db: Database) {}
    }

    @Test func aSessionIsWrittenWithItsTrafficAndEnd() async throws {
        let scene = try await Scene()
        #expect(await scene.tracker.open(1, scene.opening("bob", "10.0.0.1")) == .admitted(nil))
        #expect(scene.takeNews() == [.firstLegacyLogin(user: "bob")])
        await scene.tracker.count([1: Traffic(bytesIn: 100), 99: Traffic(bytesIn: 5)])
        await scene.tracker.flush()
        await scene.tracker.flush()
        #expect(try await scene.session(of: "bob")?.traffic.bytesIn == 100)
        scene.sleep(60)
        await scene.tracker.close(1, cause: "hung up", total: Traffic(bytesIn: 150, bytesOut: 7))
        let session = try #require(try await scene.session(of: "bob"))
        #expect(session.traffic == Traffic(bytesIn: 150, bytesOut: 7) && session.closedAt == 1060 && session.cause == "hung up")
        await scene.tracker.close(1, cause: "again", total: Traffic())
        #expect(try await scene.session(of: "bob")?.cause == "hung up")
    }

    @Test func aTakenAddressIsSaidAndNothingIsKept() async throws {
        let scene = try await Scene()
        _ = await scene.tracker.open(1, scene.opening("bob", "10.0.0.1"))
        #expect(await scene.tracker.open(2, scene.opening("eve", "10.0.0.1")) == .addressTaken)
        await scene.tracker.close(2, cause: "x", total: Traffic())
        #expect(await scene.tracker.open(3, scene.opening("eve", "10.0.0.2")) == .admitted(nil))
    }

    @Test func withoutTheStoreOnlyOwnAddressesAreAdmitted() async throws {
        let scene = try await Scene()
        _ = await scene.tracker.open(1, scene.opening("bob", "10.0.0.1"))
        await scene.tracker.close(1, cause: "hung up", total: Traffic())
        try scene.lock()
        guard case .storeAway = await scene.tracker.open(2, scene.opening("eve", "10.0.0.2")) else { return #expect(Bool(false)) }
        #expect(await scene.tracker.open(3, scene.opening("bob", "10.0.0.1")) == .admitted(nil), "leased to him by this gateway")
        #expect(await scene.tracker.open(4, scene.opening("carl", "10.0.9.9", pool: nil)) == .admitted(nil), "his for good")
        guard case .storeAway = await scene.tracker.open(5, scene.opening("bob", "10.0.0.7")) else { return #expect(Bool(false)) }
        await scene.tracker.flush()
        #expect(await scene.tracker.trouble != nil)
        // One ends before the store is back, one after.
        scene.sleep(30)
        await scene.tracker.close(3, cause: "hung up again", total: Traffic(bytesIn: 30))
        try scene.unlock()
        #expect(try await scene.session(of: "carl") == nil)
        await scene.tracker.flush()
        #expect(await scene.tracker.trouble == nil)
        let bob = try #require(try await scene.session(of: "bob"))
        #expect(bob.cause == "hung up again" && bob.openedAt == 1000 && bob.closedAt == 1030 && bob.traffic.bytesIn == 30)
        await scene.tracker.count([4: Traffic(bytesIn: 9)])
        await scene.tracker.flush()
        #expect(try await scene.session(of: "carl")?.traffic.bytesIn == 9)
        let news = scene.takeNews()
        #expect(news.contains(.storeBack(late: 3)) && news.filter { if case .storeAway = $0 { true } else { false } }.count == 1)
    }

    /// Somebody holds the lock while many dial in: the first waits for it, the others do not wait once more each.
    @Test func aLockKeepsOneWaitingAndNotEachAfterTheOther() async throws {
        let scene = try await Scene(patience: 0.5)
        try scene.lock()
        let began = ContinuousClock.now
        let tracker = scene.tracker, clock = ContinuousClock()
        await withTaskGroup(of: Void.self) { group in
            for handle in 0..<60 as Range<UInt64> {
                let opening = scene.opening("u\(handle)", "10.0.9.\(handle)", pool: nil)
                group.addTask { #expect(await tracker.open(handle, opening) == .admitted(nil)) }
            }
        }
        #expect(clock.now - began < .seconds(10), "60 times half a second are 30")
        try scene.unlock()
        // No flush: the next one who comes asks again, at most once a second.
        guard case .storeAway = await tracker.open(100, scene.opening("eve", "10.0.0.2")) else { return #expect(Bool(false)) }
        scene.sleep(1)
        #expect(await tracker.open(101, scene.opening("eve", "10.0.0.2")) == .admitted(nil))
        #expect(await tracker.trouble == nil)
        #expect(try await scene.store.sessions(SessionFilter(openOnly: true), before: nil, limit: 100).elements.count == 61)
    }

    /// What a session carried is written once, whichever of its end and the regular writing comes first.
    @Test func trafficIsCountedOnce() async throws {
        let scene = try await Scene()
        for handle in 1...30 as ClosedRange<UInt64> {
            _ = await scene.tracker.open(handle, scene.opening("bob", "10.0.0.1"))
            await scene.tracker.count([handle: Traffic(bytesIn: 100)])
            async let flushed: Void = scene.tracker.flush()
            async let closed: Void = scene.tracker.close(handle, cause: "x", total: Traffic(bytesIn: 150))
            _ = await (flushed, closed)
            #expect(try await scene.session(of: "bob")?.traffic.bytesIn == 150)
        }
    }

    @Test func aBacklogHasAnEnd() async throws {
        let scene = try await Scene(settings: .init(longestBacklog: 2))
        try scene.lock()
        for handle in 1...2 as ClosedRange<UInt64> {
            #expect(await scene.tracker.open(handle, scene.opening("u\(handle)", "10.0.9.\(handle)", pool: nil)) == .admitted(nil))
        }
        guard case .storeAway = await scene.tracker.open(3, scene.opening("u3", "10.0.9.3", pool: nil)) else { return #expect(Bool(false)) }
        try scene.unlock()
        await scene.tracker.flush()
        #expect(await scene.tracker.open(3, scene.opening("u3", "10.0.9.3", pool: nil)) == .admitted(nil))
    }

    @Test func aSessionThatEndsWhileItIsWrittenIsNotLeftOpen() async throws {
        let scene = try await Scene()
        let tracker = scene.tracker
        for round in 0..<50 as Range<UInt64> {
            let opening = scene.opening("bob", "10.0.0.1")
            async let admission = tracker.open(round, opening)
            if round % 2 == 0 { await Task.yield() }
            await tracker.close(round, cause: "gone", total: Traffic())
            _ = await admission
            await tracker.close(round, cause: "late", total: Traffic())
        }
        #expect(try await scene.store.sessions(SessionFilter(openOnly: true), before: nil, limit: 10).elements.isEmpty)
    }

    /// The disk hangs in the middle of a log-in: the Storage rule after a bounded wait, and what was written in the end is not doubled.
    @Test func aDiskThatHangsKeepsNobodyWaiting() async throws {
        let scene = try await Scene(patience: 0.1), tracker = scene.tracker
        _ = await tracker.open(1, scene.opening("bob", "10.0.0.1"))
        await tracker.close(1, cause: "hung up", total: Traffic())
        let hang = HangingCommit()
        try scene.observe(hang)
        let began = ContinuousClock.now
        guard case .storeAway = await tracker.open(2, scene.opening("eve", "10.0.0.2")) else { return #expect(Bool(false)) }
        #expect(await tracker.open(3, scene.opening("bob", "10.0.0.1")) == .admitted(nil))
        await tracker.close(3, cause: "hung up again", total: Traffic(bytesIn: 30))
        #expect(await tracker.open(4, scene.opening("carl", "10.0.9.9", pool: nil)) == .admitted(nil))
        await tracker.flush()
        #expect(ContinuousClock.now - began < .seconds(20))
        #expect(await tracker.books() == Books(isAway: true, waiting: 4, setAside: 0))
        hang.end()
        scene.sleep(5)
        while await tracker.waiting > 0 { await tracker.flush() }
        #expect(await tracker.books() == Books(isAway: false, waiting: 0, setAside: 0))
        let all = try await scene.store.sessions(SessionFilter(), before: nil, limit: 9).elements
        #expect(all.map(\.user).sorted() == ["bob", "bob", "carl", "eve"])
        #expect(all.filter { $0.closedAt == nil }.map(\.user) == ["carl"], "eve was refused: her session is over, whenever it was written")
        #expect(all.first { $0.user == "bob" }?.traffic.bytesIn == 30)
    }

    /// One row that the schema does not take holds up nobody behind it.
    @Test func whatTheStoreNeverTakesIsSetAside() async throws {
        let scene = try await Scene(), tracker = scene.tracker
        let impossible = String(repeating: "u", count: 256)
        #expect(await tracker.open(1, scene.opening(impossible, "10.0.9.1", pool: nil)) == .admitted(nil), "the address is theirs for good")
        #expect(await tracker.books() == Books(isAway: false, waiting: 0, setAside: 1))
        guard case .storeAway = await tracker.open(2, scene.opening(impossible, "10.0.0.1")) else { return #expect(Bool(false)) }
        try scene.lock()
        #expect(await tracker.open(3, scene.opening(impossible, "10.0.9.3", pool: nil)) == .admitted(nil))
        #expect(await tracker.open(4, scene.opening("bob", "10.0.9.4", pool: nil)) == .admitted(nil))
        try scene.unlock()
        await tracker.flush()
        #expect(await tracker.books() == Books(isAway: false, waiting: 0, setAside: 3))
        #expect(try await scene.session(of: "bob")?.closedAt == nil)
        for handle in 1...4 as ClosedRange<UInt64> { await tracker.close(handle, cause: "x", total: Traffic()) }
        #expect(try await scene.session(of: "bob")?.cause == "x")
        // Nobody of that name is in the store: the signs of life of the others are written.
        await tracker.nativeSeen(["bob", "nobody"])
        await tracker.flush()
        #expect(await tracker.books() == Books(isAway: false, waiting: 0, setAside: 4))
        #expect(try await scene.store.user("bob")?.migration.nativeAt == 1000)
    }

    /// Somebody else has the address by the time the session is written: it stays unwritten, and so does its end.
    @Test func aLateOpeningWhoseAddressIsTakenIsSetAside() async throws {
        let scene = try await Scene(), tracker = scene.tracker
        try scene.lock()
        #expect(await tracker.open(1, scene.opening("bob", "10.0.9.1", pool: nil)) == .admitted(nil))
        try scene.unlock()
        let other = SQLiteStore(path: scene.store.file.path, gateway: "gw2", clock: { 0 })
        let theirs = try await other.openSession(scene.opening("eve", "10.0.9.1", pool: nil), MigrationRules()).id
        await tracker.flush()
        #expect(await tracker.books() == Books(isAway: false, waiting: 0, setAside: 1))
        await tracker.close(1, cause: "x", total: Traffic(bytesIn: 1))
        await tracker.flush()
        #expect(await tracker.waiting == 0)
        #expect(try await scene.session(of: "bob") == nil)
        #expect(try await scene.store.sessions(SessionFilter(openOnly: true), before: nil, limit: 9).elements.map(\.id) == [theirs])
        try other.close()
    }

    /// Before anything has been read nobody knows who is refused, so nobody is let in; then it goes on by itself.
    @Test func aStoreThatWasNeverReadAdmitsNobody() async throws {
        let scene = try await Scene(), now = scene.clock
        let tracker = MigrationTracker(
            store: scene.store, clock: { now.value.withLock { $0 } }, zone: { WeekMinute(at: $0, offset: 0) },
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        guard case .storeAway = await tracker.open(1, scene.opening("carl", "10.0.9.9", pool: nil)) else { return #expect(Bool(false)) }
        await tracker.flush()
        #expect(await tracker.isLoaded)
        #expect(await tracker.open(2, scene.opening("carl", "10.0.9.9", pool: nil)) == .admitted(nil))
    }

    /// Others are given up only after a silence in which we could have heard them.
    @Test func aSilentGatewayIsBuriedOnlyByWhomTheStoreAnswered() async throws {
        let scene = try await Scene(), tracker = scene.tracker, silence = MigrationTracker.longestSilence
        let other = SQLiteStore(path: scene.store.file.path, gateway: "gw2", clock: { 1000 })
        _ = try await other.openSession(scene.opening("eve", "10.0.0.1"), MigrationRules())
        try other.close()
        func live() async throws -> Int { try await scene.store.sessions(SessionFilter(openOnly: true), before: nil, limit: 9).elements.count }
        scene.sleep(10 * silence)
        await tracker.flush()
        await tracker.advance()
        #expect(try await live() == 1, "we have just begun to listen")
        scene.sleep(silence + 1)
        try scene.lock()
        await tracker.flush()
        try scene.unlock()
        await tracker.flush()
        await tracker.advance()
        #expect(try await live() == 1, "nobody could speak")
        scene.sleep(silence + 1)
        await tracker.flush()
        await tracker.advance()
        #expect(try await live() == 0)
    }

    @Test func refusedLogInsAreEventsOfTheirUser() async throws {
        let scene = try await Scene()
        for _ in 0..<2 { await scene.tracker.refused(RefusedLogIn(user: "bob", reason: "wrong password", source: IPAddress("192.0.2.1")!)) }
        await scene.tracker.flush()
        await scene.tracker.flush()
        let events = try await scene.store.events(user: "bob", before: nil, limit: 9).elements
        #expect(events.map(\.text) == ["log-in refused (2 times): wrong password"])
        #expect(events.first?.actor == Actor(name: "bob", source: "192.0.2.1"))
    }

    @Test func verdictsFollowPhaseWaveAndException() async throws {
        let scene = try await Scene(), store = scene.store, ann = Actor(name: "ann", source: "socket")
        #expect(await scene.tracker.verdict(of: "stranger") == .admit(rate: nil, warnings: []))
        _ = try await store.addUsers(["bob", "eve"], origin: .secrets, at: 0, by: .gateway)
        try await store.createWave(Wave(name: "w", policy: Policy(rate: 64, refuseAfter: 5000)), at: 0, by: ann)
        try await store.assign(["bob", "eve"], to: "w", at: 0, by: ann)
        try await store.setPolicy(Policy(warns: true), of: .invited, at: 0, by: ann)
        _ = try await store.change(wave: "w", at: 1000, by: ann, MigrationRules()) { wave throws(Wave.Problem) in try wave.start(now: 1000) }
        try await scene.tracker.refresh()
        #expect(await scene.tracker.verdict(of: "bob") == .admit(rate: 64, warnings: []))
        _ = try await store.change("bob", by: ann) { $0.invited(at: 1001, by: .administrator("ann")) }
        try await store.setExemption(Exemption(until: 9000, reason: "till", administrator: "ann"), of: "eve", at: 1001, by: ann)
        try await scene.tracker.refresh()
        #expect(await scene.tracker.verdict(of: "bob") == .admit(rate: 64, warnings: [.policy]))
        scene.sleep(5000)
        #expect(await scene.tracker.verdict(of: "bob") == .refuse(.dateIsOver(since: 5000)))
        #expect(await scene.tracker.verdict(of: "eve") == .admit(rate: nil, warnings: [.exempt(until: 9000)]))
    }

    @Test func timeMovesUsersAndWavesAndSaysSo() async throws {
        let scene = try await Scene(), store = scene.store, ann = Actor(name: "ann", source: "socket")
        _ = try await store.addUsers(["bob", "eve"], origin: .secrets, at: 0, by: .gateway)
        try await store.createWave(Wave(name: "w", policy: Policy(refuseAfter: 40 * day)), at: 0, by: ann)
        try await store.assign(["bob", "eve"], to: "w", at: 0, by: ann)
        _ = try await store.change(wave: "w", at: 1000, by: ann, MigrationRules()) { wave throws(Wave.Problem) in try wave.schedule(at: day, now: 1000) }
        scene.sleep(day)
        await scene.tracker.advance()
        #expect(scene.takeNews() == [.toInvite(["bob", "eve"])])
        _ = await scene.tracker.open(1, scene.opening("bob", "10.0.0.1"))
        await scene.tracker.close(1, cause: "x", total: Traffic())
        scene.sleep(100)
        await scene.tracker.nativeSeen(["bob"])
        await scene.tracker.flush()
        scene.sleep(15 * day)
        await scene.tracker.advance()
        scene.sleep(40 * day)
        await scene.tracker.advance()
        let phases = scene.takeNews().compactMap { if case .moved("bob", let change) = $0 { change.to } else { nil } }
        #expect(phases == [.dual, .migrated, .retired])
        #expect(await scene.tracker.verdict(of: "bob") == .refuse(.retired))
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
