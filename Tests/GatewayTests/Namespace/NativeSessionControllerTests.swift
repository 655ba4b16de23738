import Addresses
import Foundation
import Testing

@testable import Gateway
@testable import LegacyClient
@testable import WireGuard

extension GatewayNamespace {
    /// A user with a native peer and a PPTP device, and one address for both. What the access listener's device would say is said here.
    @Suite(.timeLimit(.minutes(1))) struct NativeSessionControllerTests {
        static let key = PublicKey("fZVl0GPtNPQfHH8AMbpJEIbYUbKOOXZ53hkK51Bjmnc=")!
        static let address = IPAddress("10.8.0.9")!

        /// The native peer's last handshake was so many seconds ago.
        func handshake(_ rig: Rig, ago seconds: Int) async {
            let peer = PeerStatus(publicKey: Self.key, endpoint: Endpoint("127.0.0.1:7"), latestHandshake: .seconds(100_000 - seconds))
            await rig.controller.observeNatives([Self.key: peer], wallClock: .seconds(100_000))
        }

        func native(_ rig: Rig) async -> SessionView? { await rig.controller.list().first { $0.kind == "wireguard" } }
        func legacy(_ rig: Rig) async -> SessionView? { await rig.controller.list().first { $0.kind == "pptp" && $0.state != "ending" } }

        @Test func aNativeUserIsShown() async throws {
            try await Rig.run(ConfigurationMappingTests.access) { rig in
                let before = try #require(await native(rig))
                #expect(before.state == "silent" && before.user == "eve" && before.innerAddress == Self.address)
                #expect(before.prefixes == [IPPrefix("192.168.9.0/24")!] && before.tunnel == "hub" && before.publicKey == "\(Self.key)")
                #expect(before.callID == nil && before.clientAddress == nil && before.lastHandshakeSeconds == nil)
                await handshake(rig, ago: 1)
                let after = try #require(await native(rig))
                #expect(after.state == "open" && after.clientAddress == IPAddress("127.0.0.1"))
                // Its prefixes stay routed while it is there.
                #expect(await rig.controller.livePrefixes()["hub"]?.sorted() == [IPPrefix("10.8.0.9/32")!, IPPrefix("192.168.9.0/24")!])
                await handshake(rig, ago: 200)
                #expect(await native(rig)?.state == "silent")
            }
        }

        @Test func aSilentPeersAddressGoesToPPTPAndComesBack() async throws {
            try await Rig.run(ConfigurationMappingTests.access) { rig in
                let client = try await rig.client("eve", "evespw")
                await eventually("the session is up") { await client.phase() == .up }
                #expect(await client.statuses()[0].network?.address == Self.address)
                #expect(await native(rig)?.state == "waiting")
                // Still nobody there: PPTP keeps it.
                await handshake(rig, ago: 500)
                #expect(await native(rig)?.state == "waiting")
                await rig.end(client)
                await eventually("the address is the native peer's again") { await native(rig)?.state == "silent" }
            }
        }

        @Test func theNativePeersHandshakeEndsThePPTPSession() async throws {
            try await Rig.run(ConfigurationMappingTests.access) { rig in
                let client = try await rig.client("eve", "evespw")
                await eventually("the session is up") { await client.phase() == .up }
                await handshake(rig, ago: 1)
                await eventually("the client is told") { await client.phase() != .up }
                await eventually("the native peer has it") { await native(rig)?.state == "open" }
                #expect(await legacy(rig) == nil)
                await rig.end(client)
            }
        }

        @Test func aLivePeersAddressIsNotGivenAway() async throws {
            try await Rig.run(ConfigurationMappingTests.access) { rig in
                await handshake(rig, ago: 1)
                let client = try await rig.client("eve", "evespw")
                await eventually("the client gives up") { await client.phase() == .failed }
                #expect(await native(rig)?.state == "open")
                // Others are not concerned.
                let other = try await rig.client("ann", "annspw")
                await eventually("ann is up") { await other.phase() == .up }
                await rig.end(other)
                await rig.end(client)
            }
        }

        private func access(_ policy: String) -> String { ConfigurationMappingTests.access + "\n[migration]\nwhile-native = \"\(policy)\"\n" }

        @Test func aPPTPLogInReplacesALivePeerWhereThatIsThePolicy() async throws {
            try await Rig.run(access("replace")) { rig in
                await handshake(rig, ago: 1)
                let client = try await rig.client("eve", "evespw")
                await eventually("the session is up") { await client.phase() == .up }
                #expect(await client.statuses()[0].network?.address == Self.address)
                #expect(await native(rig)?.state == "waiting")
                // Its next handshake changes nothing: the two would take the address from each other for ever.
                await handshake(rig, ago: 0)
                #expect(await client.phase() == .up)
                #expect(await native(rig)?.state == "waiting")
                await rig.end(client)
                await eventually("the native peer has it again") { await native(rig)?.state == "open" }
            }
        }

        @Test func aPPTPLogInGetsASecondAddressWhereThatIsThePolicy() async throws {
            try await Rig.run(access("second-address")) { rig in
                await handshake(rig, ago: 1)
                let client = try await rig.client("eve", "evespw")
                await eventually("the session is up") { await client.phase() == .up }
                let second = await client.statuses()[0].network?.address
                #expect(second != nil && second != Self.address)
                #expect(await native(rig)?.state == "open")
                #expect(await legacy(rig)?.prefixes.isEmpty == true)
                await rig.end(client)
            }
        }

        @Test func aReloadWithoutThePeerEndsIt() async throws {
            try await Rig.run(ConfigurationMappingTests.access) { rig in
                await handshake(rig, ago: 1)
                let id = try #require(await native(rig)?.id)
                await rig.controller.setNatives(try rig.configuration.nativeUsers([:]))
                #expect(await native(rig)?.id == id, "a reload that changes nothing keeps it")
                await rig.controller.setNatives([])
                #expect(await native(rig) == nil)
                let client = try await rig.client("eve", "evespw")
                await eventually("the session is up") { await client.phase() == .up }
                await rig.end(client)
            }
        }
    }

    /// Tunnels whose identities come up with their sessions; the provider is a fake that says when.
    @Suite(.timeLimit(.minutes(1))) struct UplinkControllerTests {
        @Test func theIdentitysAddressIsTheUsers() async throws {
            let uplinks = FakeUplinks()
            try await Rig.run(uplinks: uplinks) { rig in
                await uplinks.give("ann", IPAddress("10.8.0.15")!)
                let client = try await rig.client("ann", "annspw")
                await eventually("the session is up") { await client.phase() == .up }
                #expect(await client.statuses()[0].network?.address == IPAddress("10.8.0.15"))
                #expect(await uplinks.confined == [[IPPrefix("10.8.0.15/32")!]])
                #expect(await uplinks.holders.count == 1)
                await rig.end(client)
                await eventually("the identity is let go of") { await uplinks.holders.isEmpty }
            }
        }

        @Test func withoutAnIdentityThereIsNoWayOut() async throws {
            try await Rig.run(uplinks: FakeUplinks()) { rig in
                let client = try await rig.client("bob", "bobspw")
                await eventually("the client gives up") { await client.phase() == .failed }
                await rig.expectNothingLeft()
                await rig.end(client)
            }
        }

        /// The client hangs up while its identity is still coming up.
        @Test func aSessionThatEndsMeanwhileLetsGo() async throws {
            let uplinks = FakeUplinks()
            try await Rig.run(uplinks: uplinks) { rig in
                await uplinks.give("ann", IPAddress("10.8.0.15")!)
                await uplinks.hold()
                let client = try await rig.client("ann", "annspw")
                await eventually("the identity is asked for") { await uplinks.asked == 1 }
                await rig.end(client)
                await eventually("the session has ended") { await rig.controller.endedSessions == 1 }
                await uplinks.go()
                await eventually("it was let go of again") { await uplinks.released == 1 }
                #expect(await uplinks.holders.isEmpty)
            }
        }
    }
}

actor FakeUplinks: UplinkProvider {
    private(set) var holders: Set<UInt64> = []
    private(set) var confined: [[IPPrefix]] = []
    private(set) var asked = 0
    private(set) var released = 0
    private var addresses: [String: IPAddress] = [:]
    private var isHolding = false

    func give(_ user: String, _ address: IPAddress) { addresses[user] = address }
    func hold() { isHolding = true }
    func go() { isHolding = false }

    func acquire(_ request: UplinkRequest, for session: UInt64) async throws -> UplinkGrant {
        asked += 1
        while isHolding { try await Task.sleep(for: .milliseconds(10)) }
        guard let address = addresses[request.user] else { throw GatewayError("no identity") }
        holders.insert(session)
        return UplinkGrant(identity: nil, address: address)
    }
    func confine(_ prefixes: [IPPrefix], of session: UInt64, to request: UplinkRequest) { confined.append(prefixes) }
    func release(_ request: UplinkRequest, by session: UInt64) {
        holders.remove(session)
        released += 1
    }
}
