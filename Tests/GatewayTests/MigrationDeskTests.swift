import Addresses
import Authentication
import Foundation
import Identities
import Logging
import Migration
import Settings
import Store
import Testing
import WireGuard

@testable import Gateway

/// Who is invited and who holds their identity: a real database, and a gateway that answers late or not at all.
@Suite(.timeLimit(.minutes(1))) struct MigrationDeskTests {
    private let root = Actor(name: "root", source: "socket")

    private func withDesk(_ body: (MigrationDesk, FakePlace) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("causeway-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        var configuration = CausewayConfiguration()
        configuration.store.path = directory.appendingPathComponent("causeway.db").path
        let desk = try await MigrationDesk.open(configuration, bulletin: Bulletin(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let place = FakePlace()
        await desk.take(place)
        _ = try await desk.add(["ann", "bob"], origin: .command, by: root)
        do { try await body(desk, place) } catch {
            await desk.stop()
            throw error
        }
        await desk.stop()
    }

    private func phase(_ desk: MigrationDesk, _ user: String) async throws -> String { try await desk.user(user).user.phase }
    private func live(_ desk: MigrationDesk, _ user: String) async throws -> [String] {
        try await desk.user(user).peers.filter { $0.revokedAt == nil }.map(\.publicKey)
    }

    @Test func oneInvitationAtATime() async throws {
        try await withDesk { desk, place in
            await place.hold()
            let first = PrivateKey().publicKey, second = PrivateKey().publicKey
            async let one = desk.invite("ann", publicKey: first, replacing: false, by: root)
            await eventually("the first one waits for the gateway") { await place.waiting == 1 }
            async let other = desk.invite("ann", publicKey: second, replacing: false, by: root)
            await place.go()
            let taken = try await one
            #expect(taken.publicKey == first)
            do {
                _ = try await other
                Issue.record("two invitations at once")
            } catch {}
            #expect(try await live(desk, "ann") == ["\(first)"])
            #expect(await desk.nativeUsers().map(\.publicKey) == [first])
        }
    }

    @Test func aGatewayThatSaysNoLeavesTheOldKey() async throws {
        try await withDesk { desk, place in
            let old = PrivateKey().publicKey, new = PrivateKey().publicKey
            _ = try await desk.invite("ann", publicKey: old, replacing: false, by: root)
            await place.fail()
            await #expect(throws: GatewayError.self) { try await desk.invite("ann", publicKey: new, replacing: true, by: root) }
            #expect(try await live(desk, "ann") == ["\(old)"])
            #expect(await desk.nativeUsers().map(\.publicKey) == [old])
            await place.recover()
            _ = try await desk.invite("ann", publicKey: new, replacing: true, by: root)
            #expect(try await live(desk, "ann") == ["\(new)"])
        }
    }

    @Test func aKeyThatWasWithdrawnMayComeBack() async throws {
        try await withDesk { desk, _ in
            let key = PrivateKey().publicKey
            _ = try await desk.invite("ann", publicKey: key, replacing: false, by: root)
            #expect(try await phase(desk, "ann") == "invited")
            await #expect(throws: StoreError.keyTaken) { try await desk.invite("bob", publicKey: key, replacing: false, by: root) }
            try await desk.withdraw("ann", by: root)
            #expect(try await phase(desk, "ann") == "legacy")
            #expect(try await live(desk, "ann").isEmpty)
            _ = try await desk.invite("ann", publicKey: key, replacing: false, by: root)
            #expect(try await live(desk, "ann") == ["\(key)"])
        }
    }

    @Test func aRemovalWaitsForTheInvitation() async throws {
        try await withDesk { desk, place in
            await place.hold()
            async let invited = desk.invite("ann", publicKey: PrivateKey().publicKey, replacing: false, by: root)
            await eventually("it waits for the gateway") { await place.waiting == 1 }
            async let removed: Void = desk.remove("ann", by: root)
            await place.go()
            _ = try await invited
            try await removed
            #expect(await desk.nativeUsers().isEmpty)
            #expect(try await live(desk, "ann").isEmpty)
            #expect(try await desk.user("ann").user.removedAt != nil)
        }
    }

    @Test func theIdentityIsGivenOnceAndTakenBack() async throws {
        try await withDesk { desk, place in
            let given = try await desk.handOver("ann", by: root)
            #expect(given.publicKey == FakePlace.identity.publicKey && given.addresses == [IPPrefix("10.8.0.9/32")!] && given.endpoint == "192.0.2.9:51820")
            #expect(Data(base64Encoded: given.privateKey) == FakePlace.identity.privateKey.withUnsafeBytes { Data($0) })
            #expect(try await phase(desk, "ann") == "invited")
            // Who connects to the hub is no user of our own listener.
            #expect(await desk.nativeUsers().isEmpty)
            await #expect(throws: StoreError.self) { try await desk.invite("ann", publicKey: PrivateKey().publicKey, replacing: true, by: root) }
            await #expect(throws: StoreError.self) { try await desk.remove("ann", by: root) }
            try await desk.takeBack("ann", renewing: false, by: root)
            #expect(try await phase(desk, "ann") == "legacy")
            #expect(await place.calls == ["hand-over ann", "take-back ann"])
            // The same key again: the history has it twice.
            _ = try await desk.handOver("ann", by: root)
            #expect(try await desk.user("ann").peers.count == 2)
            try await desk.confirmHandOver("ann")
            #expect(await place.calls.last == "confirm ann")
            // There is no way back under that key, and asking changes nothing.
            await #expect(throws: IdentityError.self) { try await desk.takeBack("ann", renewing: false, by: root) }
            #expect(try await live(desk, "ann").count == 1)
            // Whatever happens half way, it can be asked again.
            await place.fail()
            await #expect(throws: GatewayError.self) { try await desk.takeBack("ann", renewing: true, by: root) }
            #expect(try await live(desk, "ann").isEmpty)
            await place.recover()
            try await desk.takeBack("ann", renewing: true, by: root)
            #expect(await place.calls.last == "take-back ann, renewing")
        }
    }

    @Test func whoHasAnInvitationIsNotHandedAnIdentity() async throws {
        try await withDesk { desk, place in
            _ = try await desk.invite("ann", publicKey: PrivateKey().publicKey, replacing: false, by: root)
            await #expect(throws: StoreError.self) { try await desk.handOver("ann", by: root) }
            #expect(await place.calls.isEmpty)
        }
    }

    /// The book cannot be written: nobody has been given anything, and the gateway speaks for the user as before.
    @Test func aHandOverThatIsNotWrittenDownIsUndone() async throws {
        try await withDesk { desk, place in
            _ = try await desk.invite("bob", publicKey: FakePlace.identity.publicKey, replacing: false, by: root)
            await #expect(throws: StoreError.keyTaken) { try await desk.handOver("ann", by: root) }
            #expect(await place.calls == ["hand-over ann", "take-back ann"])
            #expect(try await phase(desk, "ann") == "legacy")
        }
    }
}

/// A gateway that gives everybody the same terms, when it is told to.
private actor FakePlace: InvitationPlace, HandOverPlace {
    static let identity = Identity(
        id: .init(tunnel: "hub", kind: .user, name: "ann"), publicKey: key.publicKey, privateKey: key.withBytes { Secret($0) },
        addresses: [IPAddress("10.8.0.9")!], createdAt: 1)
    private static let key = PrivateKey()
    private static let hub = PrivateKey().publicKey

    private(set) var calls: [String] = []
    private(set) var waiting = 0
    private var isHeld = false, fails = false, isWiped = false
    private var held: [CheckedContinuation<Void, Never>] = []

    func hold() { isHeld = true }
    func fail() { fails = true }
    func recover() { fails = false }
    func go() {
        isHeld = false
        for waiter in held { waiter.resume() }
        held = []
    }

    func terms(for user: String, publicKey: PublicKey, keeping old: PeerLink?) throws -> InvitationTerms {
        InvitationTerms(
            tunnel: "hub", address: IPAddress(user == "ann" ? "10.8.0.9" : "10.8.0.10")!, prefixes: [], mtu: 1420, dns: [], gatewayPublicKey: Self.hub,
            endpoint: "192.0.2.1:51820", allowedIPs: [IPPrefix("10.99.0.0/24")!])
    }

    func invitedChanged() async throws {
        if isHeld {
            waiting += 1
            await withCheckedContinuation { held.append($0) }
        }
        if fails { throw GatewayError("no port is free") }
    }

    func handOver(_ user: String) throws -> HandedIdentity {
        calls.append("hand-over \(user)")
        return HandedIdentity(
            identity: Self.identity, prefixes: [], mtu: 1420, dns: [],
            hub: CausewayConfiguration.Hub(publicKey: "\(Self.hub)", endpoints: []), endpoint: "192.0.2.9:51820", allowedIPs: [IPPrefix("10.99.0.0/24")!])
    }
    func confirmHandOver(of user: String) {
        calls.append("confirm \(user)")
        isWiped = true
    }
    func expectTakeBack(_ user: String, renewing: Bool) throws { if isWiped, !renewing { throw IdentityError("wiped") } }
    func takeBack(_ user: String, renewing: Bool) throws {
        if fails { throw GatewayError("the disk is full") }
        calls.append("take-back \(user)\(renewing ? ", renewing" : "")")
    }
}
