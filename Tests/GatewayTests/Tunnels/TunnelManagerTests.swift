import Addresses
import Authentication
import Logging
import Settings
import Testing

@testable import Gateway
@testable import WireGuard

/// Tunnels over devices, name servers and a clock that do what they are told.
@Suite(.timeLimit(.minutes(1))) struct TunnelManagerTests {
    static let hubs = ["xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="]
    static let first = Endpoint("192.0.2.1:1")!, second = Endpoint("192.0.2.2:1")!

    let world = FakeWorld()
    let clock = ManualClock()
    let resolver = FakeResolver()
    let keys = Dictionary(uniqueKeysWithValues: ["ann", "bob", "cid"].map { ($0, PrivateKey()) })

    func identity(_ name: String, _ address: String? = nil) -> UplinkIdentity {
        UplinkIdentity(
            name: name, publicKey: keys[name]!.publicKey, key: keys[name]!.withBytes { Secret($0) }, address: address.flatMap { IPAddress($0) })
    }
    var users: [String: UplinkIdentity] {
        Dictionary(uniqueKeysWithValues: ["ann", "bob", "cid"].map { ($0, identity($0)) })
    }
    func publicKey(_ name: String) -> PublicKey { keys[name]!.publicKey }

    static func table(_ name: String, _ lines: String, key: String = hubs[0], endpoints: [String] = ["192.0.2.1:1"], standby: String? = "192.0.2.2:1") -> String {
        """
        [[tunnel]]
        name = "\(name)"
        interface = "cw-\(name)"
        failover-after = "10s"
        return-after = "60s"
        \(lines)
        [[tunnel.peer]]
        public-key = "\(key)"
        allowed-ips = ["0.0.0.0/0"]
        endpoints = [\(endpoints.map { "\"\($0)\"" }.joined(separator: ", "))]
        \(standby.map { "[[tunnel.peer.standby]]\npublic-key = \"\(hubs[1])\"\nendpoint = \"\($0)\"" } ?? "")

        """
    }

    func configuration(_ tunnels: String...) throws -> CausewayConfiguration {
        try sample(
            """
            [[listen]]
            address = "127.0.0.2"
            tunnel = "hub"
            [[pool]]
            name = "users"
            gateway = "10.8.0.1"
            ranges = ["10.8.0.10-10.8.0.19"]

            """ + tunnels.joined())
    }
    static let perUser = table("hub", "mode = \"per-user\"\nlinger = \"30s\"")
    static let shared = table("hub", "private-key-file = \"/key\"")

    func manager(
        _ configuration: CausewayConfiguration, _ kind: BackendKind = .embedded, identities: [String: UplinkIdentity]? = nil
    ) async throws -> TunnelManager {
        var logger = Logger(label: "tunnels")
        logger.logLevel = .critical
        let kinds = Dictionary(uniqueKeysWithValues: configuration.tunnels.map { ($0.name, kind) })
        let manager = try TunnelManager(
            configuration: configuration, kinds: kinds, logger: logger,
            TunnelSurroundings(
                resolver: resolver, routing: FakeRouting(), now: { [clock] in clock.now },
                devices: { [world] in FakeDevices(world: world, tunnel: $0.name, isKernel: kind == .kernel) }))
        try await manager.start(engine: nil, identities: ["hub": identities ?? users])
        return manager
    }

    func request(_ user: String) -> UplinkRequest { UplinkRequest(tunnel: "hub", user: user) }

    /// Seconds of a tunnel's life.
    func pass(_ seconds: Int, _ manager: TunnelManager, _ tunnel: String = "hub") async {
        for _ in 0..<seconds {
            clock.advance(1)
            await manager.watchHubs(of: tunnel)
        }
    }

    func answering(_ endpoints: Endpoint...) { world.state.withLock { $0.answering = Set(endpoints) } }
    func inUse(_ manager: TunnelManager, _ tunnel: String = "hub") async -> String? {
        await manager.views().first { $0.name == tunnel }?.hubs.first { $0.inUse }?.endpoint
    }

    // ---- Uplinks ----

    @Test func anUplinkComesWithTheFirstSessionAndGoesSomeTimeAfterTheLast() async throws {
        let manager = try await manager(try configuration(Self.perUser))
        #expect(world.count == 0)
        _ = try await manager.acquire(request("ann"), for: 1)
        _ = try await manager.acquire(request("ann"), for: 2)
        #expect(world.keys == [publicKey("ann")])
        await manager.release(request("ann"), by: 1)
        clock.advance(31)
        await manager.removeUnused(of: "hub")
        #expect(world.count == 1)
        await manager.release(request("ann"), by: 2)
        clock.advance(29)
        await manager.removeUnused(of: "hub")
        #expect(world.count == 1)
        // Somebody came back in time, and left again.
        _ = try await manager.acquire(request("ann"), for: 3)
        clock.advance(5)
        await manager.removeUnused(of: "hub")
        #expect(world.count == 1)
        await manager.release(request("ann"), by: 3)
        clock.advance(30)
        await manager.removeUnused(of: "hub")
        #expect(world.count == 0)
        #expect(await manager.removeUplinks().isEmpty)
    }

    @Test func whoHasNoIdentityIsTold() async throws {
        let manager = try await manager(try configuration(Self.perUser))
        let error = await #expect(throws: GatewayError.self) { try await manager.acquire(request("eve"), for: 1) }
        #expect("\(error!)".contains("\"eve\""))
    }

    /// More users come than there are places: those whose users have left go first, the one that left first of all.
    @Test(arguments: [BackendKind.embedded, .kernel]) func theLongestIdleMakesRoom(_ kind: BackendKind) async throws {
        world.state.withLock { $0.capacity = kind == .embedded ? 2 : .max }
        let manager = try await manager(try configuration(Self.table("hub", "mode = \"per-user\"\nlinger = \"10m\"\nmost-identities = 2")), kind)
        for (session, user) in [(1, "ann"), (2, "bob")] as [(UInt64, String)] { _ = try await manager.acquire(request(user), for: session) }
        await #expect(throws: (any Error).self) { try await manager.acquire(request("cid"), for: 3) }
        await manager.release(request("bob"), by: 2)
        clock.advance(1)
        await manager.release(request("ann"), by: 1)
        _ = try await manager.acquire(request("cid"), for: 4)
        #expect(world.keys == [publicKey("ann"), publicKey("cid")])
        #expect(world.problems.isEmpty)
    }

    /// While an interface is being removed nobody gets its name.
    @Test func aNameIsFreeWhenItsInterfaceIsGone() async throws {
        world.state.withLock { $0.removalTakes = .milliseconds(50) }
        let manager = try await manager(try configuration(Self.perUser), .kernel)
        for session in 1...6 as ClosedRange<UInt64> {
            let user = session % 2 == 0 ? "ann" : "bob"
            _ = try await manager.acquire(request(user), for: session)
            await manager.release(request(user), by: session)
            clock.advance(31)
            async let removed: Void = manager.removeUnused(of: "hub")
            // Another's, and the same one's, both while it goes.
            try await Task.sleep(for: .milliseconds(10))
            _ = try await manager.acquire(request("cid"), for: 100 + session)
            _ = try await manager.acquire(request(user), for: 200 + session)
            await removed
            #expect(world.problems.isEmpty)
            #expect(world.keys == [publicKey(user), publicKey("cid")])
            await manager.release(request(user), by: 200 + session)
            await manager.release(request("cid"), by: 100 + session)
            clock.advance(31)
            await manager.removeUnused(of: "hub")
            #expect(world.count == 0)
        }
    }

    @Test func oneIsMadeOnceForAllWhoWaitForIt() async throws {
        let manager = try await manager(try configuration(Self.perUser))
        try await withThrowingTaskGroup(of: Void.self) { group in
            for session in 1...20 as ClosedRange<UInt64> { group.addTask { _ = try await manager.acquire(request("ann"), for: session) } }
            try await group.waitForAll()
        }
        #expect(world.state.withLock { $0.made } == 1)
        #expect(await manager.runningIdentities()["hub"]?["ann"]?.sessions == 20)
    }

    // ---- Hubs ----

    @Test func aDeadHubIsLeftAndComesBack() async throws {
        answering(Self.first)
        let manager = try await manager(try configuration(Self.shared))
        await pass(3, manager)
        #expect(await inUse(manager) == "192.0.2.1:1")
        answering(Self.second)
        await pass(9, manager)
        #expect(await inUse(manager) == "192.0.2.1:1")
        await pass(4, manager)
        #expect(await inUse(manager) == "192.0.2.2:1")
        #expect(world.devices(named: "cw-hub").first?.configuration?.peers.map { "\($0.publicKey)" } == [Self.hubs[1]])
        answering(Self.first, Self.second)
        await pass(62, manager)
        #expect(await inUse(manager) == "192.0.2.1:1")
        let view = try #require(await manager.views().first)
        #expect(view.failovers == 1 && view.hubs.first?.answers == true)
        // Three for each of the eleven seconds until it was given up; the device had counted them already.
        #expect(view.lostPacketsAtMost == 33)
    }

    /// Its users have a problem, all others do not.
    @Test func aKeyThatTheHubForgotMovesNobody() async throws {
        answering(Self.first)
        let manager = try await manager(try configuration(Self.perUser))
        for (session, user) in [(1, "ann"), (2, "bob")] as [(UInt64, String)] { _ = try await manager.acquire(request(user), for: session) }
        await pass(3, manager)
        world.state.withLock { _ = $0.forgotten.insert(publicKey("ann")) }
        await pass(60, manager)
        var view = try #require(await manager.views().first)
        #expect(view.failovers == 0 && view.identities?.refused == 1)
        world.state.withLock { $0.forgotten = [] }
        await pass(2, manager)
        view = try #require(await manager.views().first)
        #expect(view.identities?.refused == 0)
        // A hub that dies is left as before.
        answering(Self.second)
        await pass(15, manager)
        #expect(await inUse(manager) == "192.0.2.2:1")
    }

    /// A device that does not answer is its own tunnel's problem.
    @Test func aTunnelThatHangsKeepsNobodyFromMoving() async throws {
        answering(Self.first)
        let other = Self.table("other", "private-key-file = \"/key\"")
        let manager = try await manager(try configuration(Self.shared, other))
        world.state.withLock { _ = $0.hangs.insert("hub") }
        let stuck = Task { await manager.watchHubs(of: "hub") }
        await pass(2, manager, "other")
        answering(Self.second)
        await pass(13, manager, "other")
        #expect(await inUse(manager, "other") == "192.0.2.2:1")
        stuck.cancel()
        await stuck.value
    }

    // ---- Names ----

    /// The dead hub's successor has an address: no name server is waited for on the way there, and none holds the end.
    @Test func aNameThatIsNeverResolvedDelaysNothing() async throws {
        let manager = try await manager(try configuration(Self.table("hub", "private-key-file = \"/key\"", endpoints: ["gone.example:1"])))
        answering(Self.second)
        await manager.resolveNames(of: "hub")
        await pass(13, manager)
        #expect(await inUse(manager) == "192.0.2.2:1")
        await pass(2, manager)
        #expect(await manager.views().first?.hubs.last?.answers == true)
        await eventually("the name is asked for") { resolver.hanging == 1 }
        // At the return it is asked again; the traffic stays where it is.
        await pass(80, manager)
        #expect(await inUse(manager) == "192.0.2.2:1")
        #expect(await manager.views().first?.failovers == 1)
        #expect(await manager.removeUplinks().isEmpty)
        #expect(world.count == 0)
        // Nobody waits for the name server's end, which is told all the same.
        await eventually("the lookup is cancelled") { resolver.hanging == 0 }
    }

    /// The uplinks are told which hub first, and where it is when that is known.
    @Test func aNameThatIsResolvedIsTold() async throws {
        answering(Self.first)
        let manager = try await manager(try configuration(Self.table("hub", "private-key-file = \"/key\"", standby: "second.example:1")))
        await pass(3, manager)
        answering(Self.second)
        await pass(13, manager)
        #expect(await inUse(manager) == "second.example:1")
        #expect(world.devices(named: "cw-hub").first?.endpoints.isEmpty == true)
        resolver.set("second.example", [Self.second])
        await eventually("the address is told") { world.devices(named: "cw-hub").first?.endpoints.values.first == Self.second }
        await pass(2, manager)
        #expect(await manager.views().first?.hubs.last?.answers == true)
    }

    // ---- Reload ----

    @Test func aReloadTakesPeersAndIdentities() async throws {
        let manager = try await manager(try configuration(Self.perUser), identities: ["ann": identity("ann", "10.8.0.10"), "bob": identity("bob", "10.8.0.11")])
        for (session, user) in [(1, "ann"), (2, "bob")] as [(UInt64, String)] {
            let grant = try await manager.acquire(request(user), for: session)
            try await manager.confine([IPPrefix(grant.address!)], of: session, to: request(user))
        }
        // The tunnel "more" waits for a restart.
        let new = try configuration(Self.table("hub", "mode = \"per-user\"\nlinger = \"30s\"\nmtu = 1300"), Self.table("more", "private-key-file = \"/key\""))
        let endings = try await manager.apply(
            new, identities: ["hub": ["ann": identity("ann", "10.8.0.10"), "cid": identity("cid", "10.8.0.12")]], live: [:])
        #expect(Array(endings.keys) == [2])
        #expect(endings[2]?.contains("\"bob\"") == true)
        #expect(world.devices(named: "cw-hub").allSatisfy { $0.configuration?.mtu == 1300 })
        #expect(world.devices(named: "cw-more").isEmpty)
        _ = try await manager.acquire(request("cid"), for: 3)
        // The key that was taken away is gone with its last session, without lingering.
        await manager.release(request("bob"), by: 2)
        await manager.removeUnused(of: "hub")
        #expect(world.keys == [publicKey("ann"), publicKey("cid")])
        await #expect(throws: GatewayError.self) { try await manager.acquire(request("bob"), for: 4) }
    }

    /// The hub is told that another address is the identity's: a session with the old one would fall silent.
    @Test func anotherAddressEndsTheSession() async throws {
        let manager = try await manager(try configuration(Self.perUser), identities: ["ann": identity("ann", "10.8.0.10"), "bob": identity("bob", "10.8.0.11")])
        for (session, user) in [(1, "ann"), (2, "bob")] as [(UInt64, String)] {
            let grant = try await manager.acquire(request(user), for: session)
            try await manager.confine([IPPrefix(grant.address!)], of: session, to: request(user))
        }
        let endings = try await manager.apply(
            try configuration(Self.perUser), identities: ["hub": ["ann": identity("ann", "10.8.0.15"), "bob": identity("bob", "10.8.0.11")]], live: [:])
        #expect(endings == [1: "the address of \"ann\" is 10.8.0.15 now"])
        #expect(try await manager.acquire(request("ann"), for: 3).address == IPAddress("10.8.0.15"))
    }

    /// A fail-over comes while a slow device takes a reload: it ends on the hub that was chosen last.
    @Test func aReloadAndAFailOverAtOnce() async throws {
        answering(Self.first)
        let manager = try await manager(try configuration(Self.shared))
        await pass(3, manager)
        world.state.withLock { $0.holdsChange = true }
        let new = try configuration(Self.table("hub", "private-key-file = \"/key\"\nmtu = 1300"))
        let reload = Task { try await manager.apply(new, identities: [:], live: [:]) }
        await eventually("the device is told") { world.state.withLock { $0.changing } == 1 }
        answering(Self.second)
        let failover = Task { await pass(13, manager) }
        await eventually("the other hub is chosen") { await inUse(manager) == "192.0.2.2:1" }
        // Time for it to be told, if nobody minded the turn.
        try await Task.sleep(for: .milliseconds(50))
        world.state.withLock { $0.holdsChange = false }
        _ = try await reload.value
        await failover.value
        let device = try #require(world.devices(named: "cw-hub").first)
        #expect(device.configuration?.mtu == 1300)
        #expect(device.configuration?.peers.map { "\($0.publicKey)" } == [Self.hubs[1]])
    }

    /// It is told until it takes it, less and less often, and the administrator sees why.
    @Test func aDeviceThatDoesNotTakeItsPeersIsToldAgain() async throws {
        answering(Self.first)
        let manager = try await manager(try configuration(Self.shared))
        await pass(3, manager)
        world.state.withLock { $0.refusesPeer = PublicKey(Self.hubs[1]) }
        answering(Self.second)
        await pass(13, manager)
        #expect(await inUse(manager) == "192.0.2.2:1")
        _ = await manager.changedState(of: "hub")
        #expect(await manager.views().first?.problem?.contains("did not take its peers: tunnel cw-hub: that peer is refused") == true)
        for _ in 0..<3 {
            await pass(1, manager)
            await manager.maintain("hub")
        }
        world.state.withLock { $0.refusesPeer = nil }
        #expect(world.devices(named: "cw-hub").first?.configuration?.peers.map { "\($0.publicKey)" } == [Self.hubs[0]])
        await pass(4, manager)
        await manager.maintain("hub")
        #expect(world.devices(named: "cw-hub").first?.configuration?.peers.map { "\($0.publicKey)" } == [Self.hubs[1]])
        _ = await manager.changedState(of: "hub")
        #expect(await manager.views().first?.problem == nil)
    }

    @Test(arguments: [(0, 1), (1, 2), (2, 4), (5, 32), (6, 60), (400, 60)]) func pausesGrow(_ attempts: Int, _ seconds: Int) {
        #expect(Unsettled.pause(after: attempts) == .seconds(seconds))
    }

    /// An interface that is being taken away again is nobody else's yet.
    @Test func aDeviceThatIsRefusedKeepsItsNameUntilItIsGone() async throws {
        let manager = try await manager(try configuration(Self.perUser), .kernel)
        world.state.withLock { state in
            state.refusesPeer = PublicKey(Self.hubs[0])
            state.holdsRemovals = true
        }
        let ann = Task { try await manager.acquire(request("ann"), for: 1) }
        await eventually("it is being taken away") { world.count == 1 && world.state.withLock { $0.removing } == 1 }
        world.state.withLock { $0.refusesPeer = nil }
        _ = try await manager.acquire(request("bob"), for: 2)
        world.state.withLock { $0.holdsRemovals = false }
        await #expect(throws: (any Error).self) { try await ann.value }
        #expect(world.problems == [])
    }

    /// A network that is somebody else's now: the hub sends it there, and takes it from nobody else.
    @Test func aNetworkThatMovesEndsTheSession() async throws {
        func users(_ networkOf: String) -> String {
            ["ann", "bob"].map { user in
                "[[user]]\nname = \"\(user)\"\npassword = \"pw\"\n\(user == networkOf ? "prefixes = [\"192.168.7.0/24\"]" : "")\n"
            }.joined()
        }
        let identities = ["ann": identity("ann", "10.8.0.10"), "bob": identity("bob", "10.8.0.11")]
        let manager = try await manager(try configuration(Self.perUser, users("ann")), identities: identities)
        for (session, user) in [(1, "ann"), (2, "bob")] as [(UInt64, String)] {
            let grant = try await manager.acquire(request(user), for: session)
            let network = user == "ann" ? [IPPrefix("192.168.7.0/24")!] : []
            try await manager.confine([IPPrefix(grant.address!)] + network, of: session, to: request(user))
        }
        #expect(try await manager.apply(try configuration(Self.perUser, users("ann")), identities: ["hub": identities], live: [:]) == [:])
        let endings = try await manager.apply(try configuration(Self.perUser, users("bob")), identities: ["hub": identities], live: [:])
        #expect(endings == [1: "the hub does not take 192.168.7.0/24 from \"ann\" any more"])
    }

    /// Whatever fails, everything is as it was: the tunnel before it too.
    @Test(arguments: [true, false]) func aReloadThatFailsChangesNothing(_ portIsBusy: Bool) async throws {
        let other = Self.table("other", "private-key-file = \"/key\"", standby: nil)
        let manager = try await manager(try configuration(Self.shared, other))
        let before = world.devices(named: "cw-hub").map(\.configuration) + world.devices(named: "cw-other").map(\.configuration)
        if portIsBusy {
            world.state.withLock { _ = $0.busyPorts.insert(7777) }
        } else {
            world.state.withLock { $0.refusesPeer = PublicKey(Self.hubs[1]) }
        }
        let new = try configuration(
            Self.table("hub", "private-key-file = \"/key\"\nmtu = 1300\nlisten-port = 7776", standby: nil),
            Self.table("other", "private-key-file = \"/key\"\nlisten-port = 7777", key: Self.hubs[1], standby: nil))
        let error = await #expect(throws: (any Error).self) { try await manager.apply(new, identities: [:], live: [:]) }
        #expect("\(error!)".contains(portIsBusy ? "7777" : "refused"))
        #expect(world.devices(named: "cw-hub").map(\.configuration) + world.devices(named: "cw-other").map(\.configuration) == before)
        #expect(world.state.withLock { $0.port.values.allSatisfy { $0 == 0 } })
    }
}
