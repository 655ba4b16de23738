import Addresses
import Migration
import Testing

@testable import Store

@Suite struct MigrationStoreTests {
    @Test func aChangeIsStoredWithItsHistoryAndEvent() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        _ = try await store.addUsers(["bob"], origin: .secrets, at: 1, by: .gateway)
        let change = try await store.change("bob", by: ann) { $0.invited(at: 5, by: .administrator("ann")) }
        #expect(change?.to == .invited)
        #expect(try await store.phaseChanges(of: "bob") == [try #require(change)])
        let event = try #require(try await store.events(user: "bob", before: nil, limit: 1).elements.first)
        #expect(event.actor == ann && event.kind == "phase" && event.text == "legacy -> invited: configuration handed out")
        #expect(try await store.user("bob")?.migration.invitedAt == 5)
        #expect(try await store.change("bob", by: ann) { $0.invited(at: 5, by: .administrator("ann")) } == nil)
        #expect(try await store.phaseChanges(of: "bob").count == 1)
        await #expect(throws: StoreError.noSuch("user \"nobody\"")) { try await store.change("nobody", by: ann) { _ in nil } }
    }

    @Test func everyFieldOfAUserComesBack() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        _ = try await store.addUsers(["bob"], origin: .secrets, at: 1, by: .gateway)
        let whole = UserMigration(
            phase: .retired, since: 9, mover: .wave("w"), legacyAt: 2, openLegacySessions: 0, nativeSince: 3, nativeAt: 4, invitedAt: 5,
            isSetByHand: true, isHeld: true)
        _ = try await store.change("bob", by: ann) {
            $0 = whole
            return nil
        }
        #expect(try await store.user("bob")?.migration == whole)
        try temporary.reopen(now: 10)
        #expect(try await temporary.store.user("bob")?.migration == whole)
    }

    @Test func loginFactsNameWhoIsNotPlain() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        _ = try await store.addUsers(["a", "b", "c", "d"], origin: .secrets, at: 1, by: .gateway)
        try await store.createWave(Wave(name: "w"), at: 1, by: ann)
        try await store.assign(["b"], to: "w", at: 2, by: ann)
        let exemption = Exemption(until: 99, reason: "till", administrator: "ann")
        try await store.setExemption(exemption, of: "c", at: 3, by: ann)
        _ = try await store.change("d", by: ann) { $0.retire(at: 4, by: .administrator("ann"), reason: "left") }
        #expect(
            try await store.loginFacts() == [
                "b": LoginFacts(phase: .legacy, wave: "w"), "c": LoginFacts(phase: .legacy, exemption: exemption), "d": LoginFacts(phase: .retired),
            ])
        try await store.setExemption(nil, of: "c", at: 5, by: ann)
        #expect(try await store.loginFacts()["c"] == nil)
    }

    @Test func policiesComeBackWhole() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        let policy = Policy(warns: true, rate: 256, hours: try WeeklyHours("mon-fri 08:00-18:00"), refuseAfter: 1000, grace: 60)
        try await store.setPolicy(policy, of: .dual, at: 1, by: ann)
        #expect(try await store.phasePolicies() == [.dual: policy])
        try await store.setPolicy(nil, of: .dual, at: 2, by: ann)
        #expect(try await store.phasePolicies().isEmpty)
        var wave = Wave(name: "w", policy: policy, invitesOnStart: false)
        try await store.createWave(wave, at: 3, by: ann)
        _ = try await store.change(wave: "w", at: 4, by: ann, rules) { wave throws(Wave.Problem) in try wave.schedule(at: 500, now: 4) }
        _ = try wave.schedule(at: 500, now: 4)
        #expect(try await store.waves() == [wave])
    }

    @Test func assignmentIsAllOrNobody() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        _ = try await store.addUsers(["a", "b"], origin: .secrets, at: 1, by: .gateway)
        try await store.createWave(Wave(name: "w"), at: 1, by: ann)
        await #expect(throws: StoreError.exists("wave \"w\"")) { try await store.createWave(Wave(name: "w"), at: 1, by: ann) }
        await #expect(throws: StoreError.noSuch("user \"x\"")) { try await store.assign(["a", "x"], to: "w", at: 2, by: ann) }
        #expect(try await store.user("a")?.wave == nil)
        try await store.assign(["a", "b"], to: "w", at: 2, by: ann)
        #expect(try await store.users(UserFilter(wave: "w"), after: nil, limit: 10).elements.map(\.name) == ["a", "b"])
        try await store.deleteWave("w", at: 3, by: ann)
        #expect(try await store.user("a")?.wave == nil)
    }

    @Test func aWaveThatCannotBeCommandedChangesNothing() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        try await store.createWave(Wave(name: "w"), at: 1, by: ann)
        let before = try await store.events(user: nil, before: nil, limit: 100).elements.count
        await #expect(throws: StoreError.unfit("wave \"w\" is planned and cannot be paused")) {
            try await store.change(wave: "w", at: 2, by: ann, rules) { wave throws(Wave.Problem) in try wave.pause() }
        }
        #expect(try await store.events(user: nil, before: nil, limit: 100).elements.count == before)
    }

    @Test func rollingAWaveBackTouchesOnlyWhomItRetired() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        _ = try await store.addUsers(["a", "b", "c"], origin: .secrets, at: 1, by: .gateway)
        try await store.createWave(Wave(name: "w", policy: Policy(refuseAfter: 100)), at: 1, by: ann)
        try await store.assign(["a", "b", "c"], to: "w", at: 2, by: ann)
        _ = try await store.nativeSeen(["a"], by: "gw1", at: 3, rules)
        _ = try await store.change("c", by: ann) { $0.retire(at: 4, by: .administrator("ann"), reason: "left") }
        let started = try await store.change(wave: "w", at: 5, by: ann, rules) { wave throws(Wave.Problem) in try wave.start(now: 5) }
        #expect(started.toInvite == ["b"])
        #expect(try await store.tickWaves(at: 100, rules).changes.keys.sorted() == ["a"])
        let back = try await store.change(wave: "w", at: 101, by: ann, rules) { wave throws(Wave.Problem) in try wave.rollBack() }
        #expect(back.changes.mapValues(\.to) == ["a": .migrated])
        #expect(try await store.user("c")?.migration.phase == .retired)
        #expect(try await store.user("a")?.migration.isHeld == true)
    }

    @Test func aKeyBelongsToOnePeer() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        let key = [UInt8](repeating: 7, count: 32)
        let new = NewPeerLink(user: "bob", publicKey: key, tunnel: "hub", allowedIPs: [try #require(IPPrefix("10.8.0.1/32"))], holder: .user, isHandedOver: true)
        let link = try await store.link(new, at: 3, by: ann)
        await #expect(throws: StoreError.keyTaken) { try await store.link(new, at: 4, by: ann) }
        try await store.revoke(link.id, at: 5, by: ann)
        await #expect(throws: StoreError.self) { try await store.revoke(link.id, at: 6, by: ann) }
        let stored = try #require(try await store.links(of: "bob", after: nil, limit: 10).elements.first)
        #expect(stored.holder == .user && stored.handedOverAt == 3 && stored.revokedAt == 5 && stored.publicKey == key && stored.allowedIPs == new.allowedIPs)
        #expect(link.handedOverAt == 3 && link.holder == .user)
        // A peer that is gone keeps nobody from having its key: the same device, invited again.
        let again = try await store.link(new, at: 6, by: ann)
        #expect(again.id != link.id)
        await #expect(throws: StoreError.keyTaken) { try await store.link(new, at: 7, by: ann) }
        await #expect(throws: StoreError.self) { try await store.revoke(LinkID(99), at: 5, by: ann) }
    }

    /// The gateway speaks for users under keys of its own; one at a time becomes the user's.
    @Test func peersThatTheGatewaySpeaksFor() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        _ = try await store.addUsers(["ann", "bob", "eve"], origin: .secrets, at: 1, by: .gateway)
        func ours(_ user: String, _ key: UInt8, at address: String = "10.8.0.1/32") -> NewPeerLink {
            NewPeerLink(user: user, publicKey: [UInt8](repeating: key, count: 32), tunnel: "hub", allowedIPs: [IPPrefix(address)!], holder: .gateway)
        }
        func live() async throws -> [String] {
            try await store.links(of: nil, after: nil, limit: 100).elements.filter { $0.revokedAt == nil }.map { "\($0.user) \($0.publicKey[0]) \($0.holder.rawValue)" }
        }
        // Nobody is made a user by it.
        var changed = try await store.setGatewayLinks([ours("ann", 1), ours("bob", 2), ours("nobody", 3)], at: 2)
        #expect(changed == 2)
        changed = try await store.setGatewayLinks([ours("ann", 1), ours("bob", 2)], at: 3)
        #expect(changed == 0)
        var theirs = ours("ann", 1)
        theirs.holder = .user
        await #expect(throws: StoreError.keyTaken) { try await store.link(theirs, at: 4, by: ann) }
        theirs.isHandedOver = true
        let link = try await store.link(theirs, at: 5, by: ann)
        var now = try await live()
        #expect(now == ["bob 2 gateway", "ann 1 user"])
        // A key that the user holds is left alone; an address that changed is another peer; who is gone is gone.
        changed = try await store.setGatewayLinks([ours("ann", 1), ours("bob", 2, at: "10.8.0.9/32"), ours("eve", 4)], at: 6)
        now = try await live()
        #expect(changed == 2 && now == ["ann 1 user", "bob 2 gateway", "eve 4 gateway"])
        try await store.revoke(link.id, at: 7, by: ann)
        changed = try await store.setGatewayLinks([ours("ann", 1)], at: 8)
        now = try await live()
        #expect(changed == 3 && now == ["ann 1 gateway"])
    }

    @Test func theTrendIsCountedBackFromToday() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        _ = try await store.addUsers(["a", "b", "c"], origin: .secrets, at: 0, by: .gateway)
        _ = try await store.change("a", by: ann) { $0.retire(at: 3 * day + 5, by: .administrator("ann"), reason: "") }
        _ = try await store.change("b", by: ann) { $0.invited(at: 4 * day, by: .administrator("ann")) }
        let trend = try await store.status(at: 5 * day, days: 3, blockers: 5).trend
        #expect(
            trend == [
                DayCount(day: 2, counts: [.legacy: 3]), DayCount(day: 3, counts: [.legacy: 2, .retired: 1]),
                DayCount(day: 4, counts: [.legacy: 1, .invited: 1, .retired: 1]), DayCount(day: 5, counts: [.legacy: 1, .invited: 1, .retired: 1]),
            ])
    }

    @Test func blockersAreThoseWithMostTraffic() async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        let now = 100 * day
        for (number, user) in ["small", "old", "big", "done"].enumerated() {
            let id = try await store.openSession(opening(user, number, at: now - 40 * day), rules).id
            try await store.record(totals: [id: Traffic(bytesIn: 1_000_000)], at: now - 40 * day)
            let recent = ["small": 10, "big": 5000, "done": 9000][user] ?? 0
            _ = try await store.closeSessions([SessionClosing(id: id, at: now - day, cause: "x", total: Traffic(bytesOut: Int64(recent)))], rules)
        }
        _ = try await store.change("done", by: ann) { $0.retire(at: now, by: .administrator("ann"), reason: "") }
        let blockers = try await store.status(at: now, days: 30, blockers: 10).blockers
        #expect(blockers.map(\.user) == ["big", "small", "old"] && blockers.map(\.bytes) == [5000, 10, 0])
    }
}
