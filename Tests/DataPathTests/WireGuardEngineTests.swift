import Addresses
import CDataPath
import Foundation
import Testing

@testable import DataPath

/// Two gateways that are each other's peer over loopback, each test in a network namespace of its own.
@Suite(.enabled(if: getuid() == 0, "raw sockets and namespaces need root"), .timeLimit(.minutes(1))) struct WireGuardEngineTests {
    static func configuration(workers: Int = 1) -> EngineConfiguration {
        var configuration = EngineConfiguration(role: .gateway, interface: nil)
        configuration.workers = workers
        configuration.wireGuard = WireGuardConfiguration()
        return configuration
    }

    static func key(_ number: UInt8) -> WireGuardSecret { WireGuardSecret(copying: (0..<32).map { number &+ $0 &* 7 })! }
    static let anywhere = IPPrefix("0.0.0.0/0")!

    static func side(_ engine: borrowing Engine) throws -> WireGuardEngine {
        let wireGuard = engine.wireGuard
        return try #require(wireGuard)
    }

    /// An identity on a port of its own.
    static func identity(_ engine: WireGuardEngine, _ key: WireGuardSecret) throws -> (WireGuardEngine.Identity, UInt16) {
        let port = try engine.openPort()
        return (try engine.addIdentity(on: port, privateKey: key), try #require(engine.number(of: port)))
    }

    static func await(_ condition: () throws -> Bool) rethrows -> Bool {
        let deadline = ContinuousClock.now + .seconds(10)
        while try !condition() {
            guard ContinuousClock.now < deadline else { return false }
            usleep(2000)
        }
        return true
    }

    @Test func twoEnginesShakeHands() async throws {
        try await apart(loopback: true) {
            let one = try Engine(Self.configuration(workers: 2))
            let two = try Engine(Self.configuration())
            try one.start()
            try two.start()
            let here = try Self.side(one)
            let there = try Self.side(two)
            let (mine, _) = try Self.identity(here, Self.key(1))
            let (theirs, port) = try Self.identity(there, Self.key(2))
            let myKey = WireGuardEngine.publicKey(of: Self.key(1))
            let theirKey = WireGuardEngine.publicKey(of: Self.key(2))
            let preshared = Self.key(9)
            try there.setPeers([.init(publicKey: myKey, presharedKey: preshared, allowedIPs: [IPPrefix("10.1.0.0/16")!])], of: theirs)
            try here.setPeers(
                [
                    .init(
                        publicKey: theirKey, presharedKey: preshared, endpoint: Endpoint(IPAddress("127.0.0.1")!, port), keepaliveSeconds: 25,
                        allowedIPs: [Self.anywhere])
                ], of: mine)

            #expect(try Self.await { try there.peer(myKey, of: theirs).lastHandshake != nil && there.counters().keepalivesIn > 0 })
            let peer = try here.peer(theirKey, of: mine)
            #expect(peer.presharedKey == preshared)
            #expect(peer.endpoint == Endpoint(IPAddress("127.0.0.1")!, port))
            #expect(peer.keepaliveSeconds == 25)
            #expect(peer.sentBytes > 0 && peer.receivedBytes > 0)
            let handshake = try #require(peer.lastHandshake)
            #expect(abs(Double(handshake) / 1e9 - Date().timeIntervalSince1970) < 20)
            let counters = try here.counters()
            #expect(counters.handshakes == 1 && counters.initiationsOut >= 1 && counters.responsesIn == 1)
            #expect(try there.counters().responsesOut >= 1)
            #expect(counters.drops.isEmpty)
            // The other side knows where we are.
            #expect(try there.peer(myKey, of: theirs).endpoint?.address == IPAddress("127.0.0.1"))
            let activity = try #require(try here.activity(of: mine).first)
            #expect(activity.publicKey == theirKey && activity.identity == mine && activity.endpoint == peer.endpoint)
            #expect(activity.lastHandshake == handshake && activity.keepaliveSeconds == 25 && activity.handshakesGivenUp == 0)
            let heard = try #require(activity.receivedAt)
            #expect(WireGuardEngine.now >= heard && WireGuardEngine.now - heard < 20_000_000_000)
            #expect(activity.dataReceivedAt == nil && activity.unansweredPackets == 0 && activity.lost.total == 0)
        }
    }

    @Test func identitiesAndPorts() async throws {
        try await apart(loopback: true) {
            let engine = try Engine(Self.configuration())
            let wireGuard = try Self.side(engine)
            let port = try wireGuard.openPort(.init(ipv6: false, firewallMark: 5))
            let number = try #require(wireGuard.number(of: port))
            #expect(number != 0)
            // The number is taken.
            do throws(EngineError) {
                _ = try wireGuard.openPort(.init(port: number, ipv6: false))
                Issue.record("one UDP port was opened twice")
            } catch {
                #expect(error.cause == .system(EADDRINUSE))
                #expect(error.description.hasPrefix("cannot open UDP port \(number): "))
            }
            let identity = try wireGuard.addIdentity(on: port, privateKey: Self.key(3))
            var info = try wireGuard.info(of: identity)
            #expect(info.publicKey == WireGuardEngine.publicKey(of: Self.key(3)))
            #expect(info.listenPort == number && info.port == port && info.isUp && info.peerCount == 0 && info.firewallMark == 5)
            try wireGuard.setFirewallMark(6, of: port)
            try wireGuard.setPrivateKey(Self.key(4), of: identity)
            try wireGuard.setUp(false, identity)
            try wireGuard.setMTU(1280, of: identity)
            let other = try wireGuard.openPort()
            try wireGuard.setPort(other, of: identity)
            info = try wireGuard.info(of: identity)
            #expect(info.publicKey == WireGuardEngine.publicKey(of: Self.key(4)))
            #expect(!info.isUp && info.port == other)
            #expect(throws: EngineError(.invalid, "close a UDP port")) { try wireGuard.closePort(other) }
            try wireGuard.closePort(port)
            #expect(wireGuard.number(of: port) == nil)
            try wireGuard.setPrivateKey(.none, of: identity)
            #expect(try wireGuard.info(of: identity).privateKey == nil)
            try wireGuard.remove(identity)
            #expect(throws: EngineError(.notFound, "read \(identity)")) { try wireGuard.info(of: identity) }
            #expect(throws: EngineError.self) { try wireGuard.setUp(true, identity) }
            try wireGuard.closePort(other)
        }
    }

    @Test func manyPeers() async throws {
        try await apart(loopback: true) {
            let engine = try Engine(Self.configuration())
            let wireGuard = try Self.side(engine)
            let (identity, _) = try Self.identity(wireGuard, Self.key(3))
            func publicKey(_ number: Int) -> [UInt8] {
                let bytes = (0..<32).map { $0 < 2 ? UInt8((number >> (8 * $0)) & 0xFF) : 0x55 }
                return WireGuardEngine.publicKey(of: WireGuardSecret(copying: bytes)!)
            }
            let keys = (0..<600).filter { $0 & 7 == 0 }.map(publicKey) // clamping takes the low three bits away
            let changes = keys.enumerated().map { index, key in
                WireGuardEngine.PeerChange(publicKey: key, allowedIPs: [IPPrefix(IPAddress("10.0.0.0")!.advanced(by: index)!)])
            }
            try wireGuard.setPeers(changes, of: identity)
            let peers = try wireGuard.peers(of: identity)
            #expect(peers.map(\.publicKey) == keys)
            #expect(peers.allSatisfy { $0.allowedIPCount == 1 && $0.presharedKey == nil && $0.endpoint == nil && $0.lastHandshake == nil })
            #expect(try wireGuard.info(of: identity).peerCount == keys.count)
            #expect(try wireGuard.activity(of: identity).map(\.publicKey) == keys)
            let (other, _) = try Self.identity(wireGuard, Self.key(4))
            try wireGuard.setPeers([.init(publicKey: keys[0])], of: other)
            let all = try wireGuard.activity(of: nil)
            #expect(all.map(\.publicKey) == keys + [keys[0]])
            #expect(all.last?.identity == other && all.first?.identity == identity)

            // An allowed IP moves; many of one peer come back whole.
            try wireGuard.setPeers([.init(publicKey: keys[1], operation: .update, allowedIPs: [IPPrefix("10.0.0.0/32")!])], of: identity)
            #expect(try wireGuard.allowedIPs(of: keys[0], identity).isEmpty)
            #expect(try Set(wireGuard.allowedIPs(of: keys[1], identity)) == [IPPrefix("10.0.0.0/32")!, IPPrefix("10.0.0.1/32")!])
            let many = (0..<1000).map { IPPrefix(IPAddress("10.7.0.0")!.advanced(by: $0)!) } + [IPPrefix("2001:db8::/32")!]
            try wireGuard.setPeers([.init(publicKey: keys[2], replacesAllowedIPs: true, allowedIPs: many)], of: identity)
            #expect(try Set(wireGuard.allowedIPs(of: keys[2], identity)) == Set(many))

            // Update only makes none; remove takes one away; what is refused is said.
            try wireGuard.setPeers([.init(publicKey: publicKey(4000), operation: .update)], of: identity)
            try wireGuard.setPeers([.init(publicKey: keys[0], operation: .remove)], of: identity)
            #expect(try wireGuard.peers(of: identity).count == keys.count - 1)
            #expect(throws: EngineError(.notFound, "read a peer of \(identity)")) { try wireGuard.peer(keys[0], of: identity) }
            #expect(throws: EngineError.self) { try wireGuard.setPeers([.init(publicKey: [1, 2, 3])], of: identity) }
            #expect(throws: EngineError.self) { try wireGuard.peer([1], of: identity) }
            try wireGuard.removeAllPeers(of: identity)
            #expect(try wireGuard.peers(of: identity).isEmpty)
            try wireGuard.setPeers([], of: identity)
        }
    }

    /// The class may be kept longer than the engine: its calls then say so.
    @Test func itOutlivesItsEngine() async throws {
        try await apart(loopback: true) {
            var kept: WireGuardEngine?
            do {
                let engine = try Engine(Self.configuration())
                try engine.start()
                kept = engine.wireGuard
                _ = try kept?.openPort()
            }
            let wireGuard = try #require(kept)
            #expect(throws: EngineError(.ended, "open UDP port 0")) { try wireGuard.openPort() }
            #expect(throws: EngineError.self) { try wireGuard.counters() }
            #expect(wireGuard.number(of: WireGuardEngine.Port(number: 1)) == nil)
        }
    }

    /// Calls from several threads while the engine ends: each is answered or refused.
    @Test func itEndsWhileItIsCalled() async throws {
        try await apart(loopback: true) {
            for _ in 0..<20 {
                let threads = 4
                let finished = DispatchSemaphore(value: 0)
                do {
                    let engine = try Engine(Self.configuration())
                    try engine.start()
                    let wireGuard = try Self.side(engine)
                    let (identity, _) = try Self.identity(wireGuard, Self.key(3))
                    for _ in 0..<threads {
                        Thread.detachNewThread {
                            while (try? wireGuard.info(of: identity)) != nil {}
                            finished.signal()
                        }
                    }
                    usleep(1000)
                }
                for _ in 0..<threads { finished.wait() }
            }
        }
    }

    @Test func withoutItThereIsNone() async throws {
        try await apart(loopback: true) {
            var configuration = Self.configuration()
            configuration.wireGuard = nil
            var engine = try Engine(configuration)
            let none = engine.wireGuard
            #expect(none == nil)
            #expect(throws: EngineError(.invalid, "open native for session 1")) {
                let device = NativeParameters(identity: .init(handle: 1), peer: [UInt8](repeating: 1, count: 32))
                try engine.submit(Command(1, .openNative(device)))
            }
            var client = EngineConfiguration(role: .client, interface: nil)
            client.wireGuard = WireGuardConfiguration()
            #expect(throws: EngineError(.invalid, "create the data path")) { _ = try Engine(client).waiting }
        }
    }
}
