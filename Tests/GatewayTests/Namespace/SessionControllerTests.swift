import Addresses
import Devices
import Foundation
import PPP
import Testing

@testable import Gateway
@testable import LegacyClient
@testable import PPTP

extension GatewayNamespace {
    /// Whole sessions of real clients over the loopback interface. Every one of these tests also sees that sessions, call IDs, places
    /// under the limits and inner addresses have all been given back in the end.
    @Suite(.timeLimit(.minutes(1))) struct SessionControllerTests {
        // MARK: Log-in

        @Test(arguments: [LegacyProfileName.windows, .pppd, .embedded]) func aLogIn(_ profile: LegacyProfileName) async throws {
            try await Rig.run { rig in
                let client = try await rig.client("ann", "annspw", profile.profile)
                await eventually("the session is up") { await client.phase() == .up }
                let status = await client.statuses()[0]
                let network = try #require(status.network)
                await eventually("the session is open") { await rig.controller.list().first?.state == "open" }
                let view = try #require(await rig.controller.list().first)
                #expect(view.user == "ann")
                #expect(view.clientAddress == IPAddress("127.0.0.1"))
                #expect(view.gatewayAddress == IPAddress("127.0.0.2"))
                #expect(view.callID == status.peerCallID)
                #expect(view.peerCallID == status.localCallID)
                #expect(view.innerAddress == network.address)
                #expect(network.peer == IPAddress("10.8.0.1"))
                #expect(view.prefixes.isEmpty)
                #expect(view.tunnel == "hub")
                #expect(view.encryption == "MPPE-128 stateless")
                #expect(network.encryptionBits == 128)
                #expect(view.mtu == min(1456, profile.profile.ppp.lcp.mru! - 4))
                #expect(view.clientVendor == profile.profile.control.vendor)
                #expect(view.clientHostName == profile.profile.control.hostName)
                #expect(view.clientFirmware == profile.profile.control.firmware)
                let kind: DeviceKind =
                    switch profile {
                    case .windows: .olderWindows
                    case .pppd: .pppd
                    case .embedded: .embedded
                    }
                #expect(view.device?.kind == kind.rawValue)
                #expect(view.device?.evidence.isEmpty == false)
                #expect(view.uptimeSeconds < 30)
                let held = await rig.holdings()
                #expect(held.sessions == 1)
                #expect(held.connections == 1)
                #expect(held.callIDs == 1)
                #expect(held.assignments == 1)
                #expect(held.addressesTaken == 1)
                #expect(held.usage.calls == 1)
                #expect(held.usage.unauthenticated == 0)
                #expect(held.usage.halfOpen == 0)
                let gateway = await rig.controller.status(version: "x", tunnels: [])
                #expect(gateway.openSessions == 1)
                #expect(gateway.failedLogins == 0)
                #expect(gateway.control["call_accepted"] == 1)
                await rig.end(client)
                await rig.expectNothingLeft()
                #expect(await client.failure() == nil)
                #expect(await rig.controller.endedSessions == 1)
            }
        }

        /// A wrong password and an unknown user look alike.
        @Test(arguments: [("ann", "wrong"), ("nobody", "annspw")])
        func aWrongLogIn(_ user: String, _ password: String) async throws {
            try await Rig.run(authentication: "max-retries = 1") { rig in
                let client = try await rig.client(user, password)
                await eventually("the client gives up") { await client.phase() == .failed }
                #expect(await client.failure() == .authentication(code: 691))
                await rig.expectNothingLeft()
                #expect(await rig.controller.failedLogins >= 1)
                #expect(await rig.controller.endedSessions == 1)
                await rig.end(client)
            }
        }

        @Test func aStaticAddress() async throws {
            try await Rig.run { rig in
                let client = try await rig.client("till", "tillspw")
                await eventually("the session is up") { await client.phase() == .up }
                #expect(await client.statuses()[0].network?.address == IPAddress("10.8.0.77"))
                #expect(await rig.holdings().addressesTaken == 0)
                await rig.end(client)
            }
        }

        @Test func thePoolRunsDry() async throws {
            let pool = """
                [[listen]]
                address = "127.0.0.2"
                [[pool]]
                name = "users"
                gateway = "10.8.0.1"
                ranges = ["10.8.0.10-10.8.0.10"]
                [[tunnel]]
                name = "hub"
                interface = "cw-hub"
                private-key-file = "/key"
                [[tunnel.peer]]
                public-key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
                allowed-ips = ["0.0.0.0/0"]

                """
            try await Rig.run(pool) { rig in
                let ann = try await rig.client("ann", "annspw")
                await eventually("ann is up") { await ann.phase() == .up }
                let bob = try await rig.client("bob", "bobspw")
                await eventually("bob is turned away") { await bob.phase() == .failed }
                #expect(await ann.phase() == .up)
                await eventually("his session is gone") { await rig.holdings().sessions == 1 }
                await rig.end(ann)
                await rig.end(bob)
                await rig.expectNothingLeft()
                let again = try await rig.client("bob", "bobspw")
                await eventually("bob gets the address now") { await again.phase() == .up }
                await rig.end(again)
            }
        }

        // MARK: A user who is connected already

        @Test func aNewLogInReplacesTheOldOne() async throws {
            try await Rig.run(authentication: "when-connected = \"replace\"") { rig in
                let first = try await rig.client("ann", "annspw")
                await eventually("the first is up") { await first.phase() == .up }
                let address = await first.statuses()[0].network?.address
                let second = try await rig.client("ann", "annspw")
                await eventually("the second is up") { await second.phase() == .up }
                await eventually("the first is told") { await first.phase() == .failed }
                // The user's address goes with the user.
                #expect(await second.statuses()[0].network?.address == address)
                await eventually("one session is left") { await rig.holdings().sessions == 1 }
                #expect(await rig.holdings().assignments == 1)
                #expect(await rig.controller.list().map(\.id) == [2])
                await rig.end(first)
                await rig.end(second)
            }
        }

        /// The old session's device has lost its power: it cannot answer any more.
        @Test func aSessionThatIsDeadIsReplacedAtOnce() async throws {
            try await Rig.run { rig in
                let first = try await rig.client("ann", "annspw")
                await eventually("the first is up") { await first.phase() == .up }
                await first.vanish()
                let second = try await rig.client("ann", "annspw")
                await eventually("the second is up", within: .seconds(4)) { await second.phase() == .up }
                await eventually("one session is left") { await rig.holdings().sessions == 1 }
                await rig.end(second)
                await first.close()
                // Its TCP connection never ends by itself.
                #expect(await rig.holdings().connections >= 1)
                await rig.controller.shutdown()
            }
        }

        @Test func aNewLogInIsRefused() async throws {
            try await Rig.run(authentication: "when-connected = \"refuse\"") { rig in
                let first = try await rig.client("ann", "annspw")
                await eventually("the first is up") { await first.phase() == .up }
                let second = try await rig.client("ann", "annspw")
                await eventually("the second is refused") { await second.phase() == .failed }
                #expect(await second.failure() == .authentication(code: 649))
                #expect(await first.phase() == .up)
                await eventually("the first is left") { await rig.controller.list().map(\.id) == [1] }
                await rig.end(first)
                await rig.expectNothingLeft()
                let third = try await rig.client("ann", "annspw")
                await eventually("once the first is gone there is room") { await third.phase() == .up }
                await rig.end(second)
                await rig.end(third)
            }
        }

        @Test func oneUserManyTimes() async throws {
            try await Rig.run(authentication: "when-connected = \"allow\"") { rig in
                let client = try await rig.client("ann", "annspw", calls: 3)
                await eventually("three sessions are up") { await client.statuses().allSatisfy { $0.phase == .up } }
                let addresses = await client.statuses().compactMap { $0.network?.address }
                #expect(Set(addresses).count == 3)
                let held = await rig.holdings()
                #expect(held.sessions == 3)
                // All three share one control connection.
                #expect(held.connections == 1)
                #expect(held.addressesTaken == 3)
                await rig.end(client)
            }
        }

        // MARK: The administrator

        @Test func aUserIsDisconnected() async throws {
            try await Rig.run(authentication: "when-connected = \"allow\"") { rig in
                let ann = try await rig.client("ann", "annspw", calls: 2)
                let bob = try await rig.client("bob", "bobspw")
                await eventually("ann is up, twice") { await ann.statuses().allSatisfy { $0.phase == .up } }
                await eventually("bob is up") { await bob.phase() == .up }
                let ids = await rig.controller.list().filter { $0.user == "ann" }.map(\.id)
                #expect(await rig.controller.disconnect(user: "ann") == ids)
                await eventually("ann is told") { await ann.statuses().allSatisfy { $0.phase == .failed } }
                await eventually("bob alone is left") { await rig.controller.list().map(\.user) == ["bob"] }
                #expect(await bob.phase() == .up)
                #expect(await rig.controller.disconnect(user: "ann").isEmpty)
                #expect(await rig.controller.disconnect(user: "Bob").isEmpty)
                await rig.end(ann)
                await rig.end(bob)
            }
        }

        @Test func oneSessionIsDisconnectedInOrder() async throws {
            try await Rig.run { rig in
                let client = try await rig.client("ann", "annspw")
                await eventually("the session is up") { await client.phase() == .up }
                let id = try #require(await rig.controller.list().first?.id)
                _ = rig.tap.records()
                #expect(await rig.controller.disconnect(session: id + 1) == false)
                #expect(await rig.controller.disconnect(session: id))
                await eventually("the client is told") { await client.phase() == .failed }
                await eventually("the session is gone") { await rig.controller.list().isEmpty }
                #expect(await rig.controller.disconnect(session: id) == false)
                let said = rig.tap.records().filter(\.fromGateway).map(\.seen)
                let terminate = try #require(said.firstIndex(of: .ppp(PPPProtocol.lcp, 5)), "\(said)")
                let notify = try #require(said.firstIndex(of: .pptp(.callDisconnectNotify)), "\(said)")
                #expect(terminate < notify)
                await rig.end(client)
            }
        }

        // MARK: Shutdown

        @Test func aShutdownClearsEveryCallInOrder() async throws {
            try await Rig.run(authentication: "when-connected = \"allow\"") { rig in
                let ann = try await rig.client("ann", "annspw", calls: 3)
                let bob = try await rig.client("bob", "bobspw", .embedded)
                await eventually("ann is up") { await ann.statuses().allSatisfy { $0.phase == .up } }
                await eventually("bob is up") { await bob.phase() == .up }
                let idle = try RawLine()
                await idle.start()
                let sessions = await rig.controller.list()
                #expect(sessions.count == 4)
                _ = rig.tap.records()
                await rig.controller.shutdown()
                await rig.expectNothingLeft()
                #expect(await ann.statuses().allSatisfy { $0.phase == .failed })
                #expect(await bob.phase() == .failed)
                await eventually("the idle connection is closed") { idle.hasEnded() }
                #expect(idle.types().last == .stopRequest)
                let said = rig.tap.records().filter(\.fromGateway)
                // LCP Terminate-Request to each, its Call-Disconnect-Notify, then what ends the connection.
                for session in sessions {
                    let terminate = said.firstIndex { $0.seen == .ppp(PPPProtocol.lcp, 5) && $0.key == session.peerCallID }
                    let notify = said.firstIndex { $0.callID == session.callID }
                    #expect(try #require(terminate) < (try #require(notify)))
                }
                #expect(said.count { $0.seen == .pptp(.callDisconnectNotify) } == 4)
                for port in Set(said.filter { $0.seen == .pptp(.callDisconnectNotify) }.map(\.key)) {
                    let own = said.filter { $0.key == port }.map(\.seen)
                    let notify = try #require(own.lastIndex(of: .pptp(.callDisconnectNotify)))
                    let stop = own.firstIndex { [.pptp(.stopRequest), .pptp(.stopReply)].contains($0) }
                    #expect(notify < (try #require(stop)), "\(own)")
                }
                // Nobody gets in any more.
                let late = try RawLine()
                await eventually("a late connection is closed") { late.hasEnded() }
                await rig.end(ann)
                await rig.end(bob)
            }
        }

        /// Clients that have gone do not hold it up.
        @Test func aShutdownWaitsForNobodyForLong() async throws {
            try await Rig.run { rig in
                let client = try await rig.client("ann", "annspw")
                await eventually("the session is up") { await client.phase() == .up }
                let mute = try RawLine()
                await mute.start()
                _ = try await mute.call(9)
                await client.vanish()
                let began = ContinuousClock.now
                await rig.controller.shutdown()
                // stop-timeout is a second, for the calls and for the connections.
                #expect(began.duration(to: .now) < .seconds(20))
                #expect(await rig.holdings() == Rig.Holdings())
                await client.close()
            }
        }

        // MARK: Clients that go without a word

        @Test func thePlugIsPulled() async throws {
            try await Rig.run("idle-connection-timeout = \"1s\"\n[ppp]\necho-interval = \"1s\"\necho-failures = 2\n") { rig in
                let client = try await rig.client("ann", "annspw")
                await eventually("the session is up") { await client.phase() == .up }
                await client.vanish()
                await eventually("LCP echoes find out") { await rig.controller.list().isEmpty }
                #expect(await rig.holdings().addressesTaken == 0)
                // The connection without calls is idle then, and nobody answers its Stop-Request.
                await rig.expectNothingLeft()
                await client.close()
            }
        }

        @Test func aCallWithoutALogIn() async throws {
            try await Rig.run("authentication-timeout = \"1s\"\n") { rig in
                let line = try RawLine()
                await line.start()
                let reply = try await line.call(77)
                #expect(reply.result == .connected)
                #expect(reply.peerCallID == 77)
                #expect(await rig.holdings().usage.unauthenticated == 1)
                #expect(await rig.controller.list().first?.state == "negotiating")
                await eventually("the call is cleared") { line.types().contains(.callDisconnectNotify) }
                #expect(await rig.holdings().usage.calls == 0)
                #expect(await rig.holdings().usage.unauthenticated == 0)
                line.finish()
            }
        }

        @Test(arguments: [true, false]) func aConnectionThatBreaksTakesItsCallsAlong(_ orderly: Bool) async throws {
            try await Rig.run { rig in
                let line = try RawLine()
                await line.start()
                for call: UInt16 in [0, 1, 65535] { #expect(try await line.call(call).result == .connected) }
                #expect(await rig.holdings().usage.calls == 3)
                #expect(await rig.holdings().callIDs == 3)
                if orderly { line.send(.stopRequest(StopRequest(reason: .none))) } else { line.finish() }
                await rig.expectNothingLeft()
                await eventually("the connection is closed") { line.hasEnded() }
            }
        }

        /// The client's own call IDs repeat between clients; a Call-Clear-Request means the connection that it came on.
        @Test func sameCallIDsOfTwoClients() async throws {
            try await Rig.run { rig in
                let one = try RawLine(), two = try RawLine(from: "127.0.0.5")
                await one.start()
                await two.start()
                let first = try await one.call(5), second = try await two.call(5)
                #expect(first.callID != second.callID)
                two.send(.callClearRequest(CallClearRequest(callID: 5)))
                await eventually("the second is cleared") { two.types().contains(.callDisconnectNotify) }
                await eventually("the first is left") { await rig.controller.list().map(\.callID) == [first.callID] }
                #expect(!one.types().contains(.callDisconnectNotify))
                one.finish()
                two.finish()
            }
        }

        // MARK: Limits

        func refused(_ rig: Rig) async -> [String: UInt64] { await rig.controller.status(version: "", tunnels: []).refused }

        @Test func halfOpenConnections() async throws {
            try await Rig.run("max-half-open-per-source = 2\n") { rig in
                let one = try RawLine(), two = try RawLine()
                await eventually("two are there") { await rig.holdings().usage.halfOpen == 2 }
                let three = try RawLine()
                await eventually("the third is closed") { three.hasEnded() }
                #expect(await refused(rig) == ["half_open_per_source": 1])
                // Another source is not affected, and one that starts makes room.
                let other = try RawLine(from: "127.0.0.6")
                await other.start()
                await one.start()
                let four = try RawLine()
                await four.start()
                for line in [one, two, four, other] { line.finish() }
            }
        }

        @Test func connectionsOfOneSource() async throws {
            try await Rig.run("max-connections-per-source = 2\n") { rig in
                let one = try RawLine(), two = try RawLine()
                await one.start()
                await two.start()
                let three = try RawLine()
                await eventually("the third is closed") { three.hasEnded() }
                #expect(await refused(rig) == ["connections_per_source": 1])
                one.finish()
                await eventually("one is gone") { await rig.holdings().connections == 1 }
                let four = try RawLine()
                await four.start()
                two.finish()
                four.finish()
            }
        }

        @Test func connectionsFromWhereNoneMayCome() async throws {
            try await Rig.run("blocked-sources = [\"127.0.0.0/8\"]\n") { rig in
                let line = try RawLine()
                await eventually("it is closed") { line.hasEnded() }
                #expect(await refused(rig) == ["sources": 1])
                line.finish()
            }
        }

        @Test func attemptsOfOneSource() async throws {
            try await Rig.run("connects-per-second-per-source = 1\n") { rig in
                var lines: [RawLine] = []
                for _ in 0..<6 { lines.append(try RawLine()) }
                await eventually("some are refused") { await refused(rig)["attempt_rate", default: 0] >= 3 }
                #expect(lines.count { $0.hasEnded() } >= 3)
                for line in lines { line.finish() }
            }
        }

        @Test func callsOfOneConnection() async throws {
            try await Rig.run("max-calls-per-connection = 2\n") { rig in
                let line = try RawLine()
                await line.start()
                #expect(try await line.call(1).result == .connected)
                #expect(try await line.call(2).result == .connected)
                #expect(try await line.call(3).result != .connected)
                #expect(await rig.holdings().usage.calls == 2)
                #expect(await rig.holdings().callIDs == 2)
                line.finish()
            }
        }

        @Test func unauthenticatedCallsOfOneSource() async throws {
            try await Rig.run("max-unauthenticated-per-source = 1\n") { rig in
                let line = try RawLine()
                await line.start()
                #expect(try await line.call(1).result == .connected)
                let second = try await line.call(2)
                #expect(second.result == .generalError)
                #expect(second.error == .noResource)
                #expect(await rig.holdings().callIDs == 1)
                line.finish()
                await rig.expectNothingLeft()
                // Whoever has logged in does not count.
                let ann = try await rig.client("ann", "annspw")
                await eventually("ann is up") { await ann.phase() == .up }
                let bob = try await rig.client("bob", "bobspw")
                await eventually("bob is up as well") { await bob.phase() == .up }
                await rig.end(ann)
                await rig.end(bob)
            }
        }

        @Test func sessionsOfTheDataPath() async throws {
            try await Rig.run("[data-path]\nmax-sessions = 1\n") { rig in
                let line = try RawLine(), other = try RawLine(from: "127.0.0.6")
                await line.start()
                await other.start()
                #expect(try await line.call(1).result == .connected)
                #expect(try await other.call(1).error == .noResource)
                line.send(.callClearRequest(CallClearRequest(callID: 1)))
                await eventually("the first is gone") { await rig.holdings().usage.calls == 0 }
                #expect(try await other.call(2).result == .connected)
                line.finish()
                other.finish()
            }
        }

        // MARK: A bad neighbour

        @Test func garbageOfOneDoesNotTouchAnother() async throws {
            try await Rig.run { rig in
                let ann = try await rig.client("ann", "annspw")
                await eventually("ann is up") { await ann.phase() == .up }
                let good: Message = .echoRequest(EchoRequest(identifier: 1))
                var wrongMagic = good.encoded()
                wrongMagic[4] ^= 1
                var wrongLength = good.encoded()
                wrongLength[1] += 1
                for bytes in [Array("GET / HTTP/1.1\r\n\r\n".utf8), wrongMagic, wrongLength, [UInt8](repeating: 0xFF, count: 5000)] {
                    let line = try RawLine(from: "127.0.0.9")
                    line.send(bytes)
                    await eventually("it is closed") { line.hasEnded() }
                }
                let counts = await rig.controller.status(version: "", tunnels: []).control
                #expect(counts["bad_magic", default: 0] >= 2)
                #expect(counts["wrong_length", default: 0] == 1)
                #expect(await ann.phase() == .up)
                #expect(await rig.holdings().connections == 1)
                await rig.end(ann)
            }
        }

        // MARK: Reload

        @Test func newLimitsHoldAtOnce() async throws {
            try await Rig.run { rig in
                let ann = try await rig.client("ann", "annspw")
                await eventually("ann is up") { await ann.phase() == .up }
                var new = rig.configuration
                new.pptp.maxConnectionsPerSource = 1
                new.authentication.whenConnected = .refuse
                await rig.controller.adopt(new)
                let line = try RawLine()
                await eventually("one more is too many now") { line.hasEnded() }
                #expect(await ann.phase() == .up)
                #expect(await rig.holdings().sessions == 1)
                await rig.end(ann)
            }
        }
    }
}
