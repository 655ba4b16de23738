import Addresses
import Logging
import Testing

@testable import WireGuard

/// A device in memory that remembers what it was told.
private actor FakeBackend: TunnelBackend {
    nonisolated let interfaceName = "wg0"
    private(set) var calls: [String] = []
    private(set) var endpoints: [PublicKey: Endpoint] = [:]
    private var failsToApply: Bool

    init(failsToApply: Bool = false) { self.failsToApply = failsToApply }

    func create() -> UInt32 {
        calls.append("create")
        return 7
    }
    func apply(_ configuration: TunnelConfiguration, endpoints: [PublicKey: Endpoint]) throws -> TunnelChange {
        calls.append("apply")
        if failsToApply { throw TunnelError.device(interface: "wg0", reason: "no") }
        self.endpoints = endpoints
        return TunnelChange(peersAdded: configuration.peers.count)
    }
    func setEndpoint(_ endpoint: Endpoint, of peer: PublicKey) { endpoints[peer] = endpoint }
    func status() throws -> TunnelStatus { throw TunnelError.notCreated("wg0") }
    func remove() { calls.append("remove") }
}

private struct FakeResolver: EndpointResolver {
    func resolve(_ name: String, port: UInt16) async throws -> [Endpoint] {
        guard name == "hub.example" else { throw ResolutionError(name: name, reason: "unknown") }
        return [Endpoint(IPAddress("192.0.2.1")!, port)]
    }
}

@Suite struct TunnelTests {
    private func tunnel(_ backend: FakeBackend, _ names: [String], mtu: UInt32 = 1420) -> Tunnel {
        let peers = names.enumerated().map {
            PeerConfiguration(publicKey: publicKey(UInt8($0 + 1)), endpoint: PeerEndpoint($1), allowedIPs: [])
        }
        return Tunnel(
            backend: backend, configuration: TunnelConfiguration(interfaceName: "wg0", privateKey: privateKey(99), mtu: mtu, peers: peers),
            resolver: FakeResolver(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }

    @Test func aStartResolvesNamesFirst() async throws {
        let backend = FakeBackend()
        let tunnel = tunnel(backend, ["hub.example:5", "unknown.example:5", "192.0.2.9:5"])
        #expect(try await tunnel.start() == 7)
        #expect(await backend.calls == ["create", "apply"])
        #expect(await backend.endpoints == [publicKey(1): endpoint("192.0.2.1:5"), publicKey(3): endpoint("192.0.2.9:5")])
        #expect(try await tunnel.recover() == 7)
        #expect(await backend.endpoints.count == 2)
        try await tunnel.stop()
        #expect(await backend.calls == ["create", "apply", "remove", "create", "apply", "remove"])
    }

    @Test func aFailedStartLeavesNothing() async {
        let backend = FakeBackend(failsToApply: true)
        let tunnel = tunnel(backend, [])
        await #expect(throws: TunnelError.self) { try await tunnel.start() }
        #expect(await backend.calls == ["create", "apply", "remove"])
    }

    @Test func aWrongConfigurationTouchesNothing() async {
        let backend = FakeBackend()
        let tunnel = tunnel(backend, [], mtu: 5)
        await #expect(throws: TunnelError.self) { try await tunnel.start() }
        #expect(await backend.calls == [])
    }
}
