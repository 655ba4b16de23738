import Addresses
import DataPath
import Foundation
import Netlink
import Testing

@testable import WireGuard

extension PrivateNamespace {
    /// Identities of an engine with real sockets. The engine's raw GRE socket takes a capability; there is no interface.
    @Suite(.enabled(if: !Stage.isUnprivileged)) struct EmbeddedBackendTests {
        /// An engine whose workers run; it ends with the body.
        static func withEngine(_ body: (WireGuardEngine) async throws -> Void) async throws {
            var configuration = EngineConfiguration(role: .gateway, interface: nil)
            configuration.wireGuard = WireGuardConfiguration()
            let engine = try Engine(configuration)
            try engine.start()
            try await body(try #require(engine.wireGuard))
            engine.stop()
        }

        func backend(
            _ name: String, _ engine: WireGuardEngine, _ port: EmbeddedPort? = nil, listenPort: UInt16? = nil
        ) -> EmbeddedBackend {
            EmbeddedBackend(interfaceName: name, engine: engine, port: port ?? EmbeddedPort(engine), listenPort: listenPort, fwmark: 0)
        }

        @Test(.timeLimit(.minutes(1))) func thousandsOfAllowedIPs() async throws {
            try await Self.withEngine { engine in
                let backend = backend("cwee", engine)
                _ = try await backend.create()
                try await BigTunnel("cwee", peers: 300, prefixesEach: 7).run(on: backend)
                #expect(try NetlinkSocket(.route).link(named: "cwee") == nil)
                try await backend.remove()
                await #expect(throws: TunnelError.notCreated("cwee")) { try await backend.status() }
            }
        }

        /// A port that was opened for a configuration that is not taken is closed again, and one that cannot be had changes nothing.
        @Test(.timeLimit(.minutes(1))) func thePortOfAConfigurationThatIsNotTaken() async throws {
            try await Self.withEngine { engine in
                let port = EmbeddedPort(engine), other = EmbeddedPort(engine)
                let backend = backend("cwport", engine, port, listenPort: 40021)
                let device = try #require(try await backend.create().identity)
                let key = PrivateKey()
                func configuration(_ number: UInt16) -> TunnelConfiguration {
                    TunnelConfiguration(interfaceName: "cwport", privateKey: key, listenPort: number)
                }
                _ = try await backend.apply(configuration(40021), endpoints: [:])
                // Before its identity has moved, and after.
                for moves in [false, true] {
                    let place = try await port.prepare(40022, fwmark: 0)
                    if moves { _ = try await backend.apply(configuration(40022), endpoints: [:]) }
                    #expect(try engine.info(of: device).listenPort == (moves ? 40022 : 40021))
                    try await port.goBack(to: place)
                    _ = try await backend.apply(configuration(40021), endpoints: [:])
                    #expect(try engine.info(of: device).listenPort == 40021)
                    _ = try await other.port(40022, fwmark: 0)
                    // Taken now.
                    await #expect(throws: EngineError.self) { try await port.prepare(40022, fwmark: 0) }
                    #expect(try await backend.status().listenPort == 40021)
                    await other.close()
                }
                try await backend.remove()
                await port.close()
            }
        }

        /// Two identities of one engine, each the other's peer: the persistent keepalive begins the handshake.
        @Test(.timeLimit(.minutes(1))) func aKeepaliveMakesASession() async throws {
            try await Self.withEngine { engine in
                let (left, right) = (backend("cweleft", engine, listenPort: 40011), backend("cweright", engine, listenPort: 40012))
                let (leftKey, rightKey) = (PrivateKey(), PrivateKey())
                _ = try await left.create()
                _ = try await right.create()
                let preshared = PresharedKey()
                _ = try await right.apply(
                    TunnelConfiguration(
                        interfaceName: "cweright", privateKey: rightKey, listenPort: 40012,
                        peers: [PeerConfiguration(publicKey: leftKey.publicKey, allowedIPs: [], presharedKey: preshared)]), endpoints: [:])
                let wanted = TunnelConfiguration(
                    interfaceName: "cweleft", privateKey: leftKey, listenPort: 40011,
                    peers: [
                        PeerConfiguration(
                            publicKey: rightKey.publicKey, endpoint: PeerEndpoint("127.0.0.1:40012"), allowedIPs: [],
                            presharedKey: preshared, keepalive: 1)
                    ])
                let endpoints = [rightKey.publicKey: Endpoint("127.0.0.1:40012")!]
                let began = Date()
                _ = try await left.apply(wanted, endpoints: endpoints)
                var first: PeerStatus?
                for _ in 0..<500 where first?.latestHandshake == nil {
                    try await Task.sleep(for: .milliseconds(10))
                    first = try await left.glance(at: rightKey.publicKey)
                }
                let handshake = try #require(first?.latestHandshake)
                #expect(abs(Double(handshake.components.seconds) - began.timeIntervalSince1970) < 10)
                #expect(first?.unansweredInitiations == 0)
                #expect(first?.receivedBytes ?? 0 >= 92)
                #expect(try await right.status().peers.first?.endpoint == Endpoint("127.0.0.1:40011"))
                // What does not change keeps the session; forgetting the peer makes a new one.
                #expect(try await left.apply(wanted, endpoints: endpoints).isEmpty)
                #expect(try await left.glance(at: rightKey.publicKey)?.latestHandshake == handshake)
                // Nearer than 20 ms the other end takes an initiation for a flood, and its timestamp may be the same.
                try await Task.sleep(for: .milliseconds(60))
                try await left.forget(rightKey.publicKey)
                #expect(try await left.glance(at: rightKey.publicKey) == nil)
                #expect(try await left.apply(wanted, endpoints: endpoints) == TunnelChange(peersAdded: 1))
                for _ in 0..<500 {
                    if let again = try await left.glance(at: rightKey.publicKey)?.latestHandshake, again > handshake { break }
                    try await Task.sleep(for: .milliseconds(10))
                }
                #expect(try #require(try await left.glance(at: rightKey.publicKey)?.latestHandshake) > handshake)
                try await left.remove()
                try await right.remove()
            }
        }

        @Test func identitiesShareAPortAndMoveTogether() async throws {
            try await Self.withEngine { engine in
                let port = EmbeddedPort(engine)
                let backends = (0..<3).map { _ in backend("cwee", engine, port, listenPort: 40021) }
                func use(_ number: UInt16, _ mark: UInt32 = 0) async throws {
                    for backend in backends {
                        _ = try await backend.apply(
                            TunnelConfiguration(interfaceName: "cwee", privateKey: PrivateKey(), listenPort: number, fwmark: mark), endpoints: [:])
                    }
                }
                for backend in backends { _ = try await backend.create() }
                try await use(40021)
                for backend in backends { #expect(try await backend.status().listenPort == 40021) }
                try await use(40022, 7)
                for backend in backends {
                    #expect(try await backend.status().listenPort == 40022)
                    #expect(try await backend.status().fwmark == 7)
                }
                // The old port is free again.
                let other = try engine.openPort(.init(port: 40021))
                try engine.closePort(other)
                for backend in backends { try await backend.remove() }
                await port.close()
                try engine.closePort(try engine.openPort(.init(port: 40022)))
            }
        }

        @Test func aPortThatIsTakenIsAnError() async throws {
            try await Self.withEngine { engine in
                let first = backend("cwee", engine, listenPort: 40031), second = backend("cwee2", engine, listenPort: 40031)
                _ = try await first.create()
                let error = await #expect(throws: EngineError.self) { try await second.create() }
                #expect(error?.cause == .system(EADDRINUSE))
                try await first.remove()
            }
        }

        @Test func theEngineMayGoFirst() async throws {
            var left: EmbeddedBackend?
            try await Self.withEngine { engine in
                left = backend("cwee", engine)
                _ = try await left!.create()
            }
            try await left!.remove()
        }
    }
}
