import Addresses
import Testing
import WireGuard

@testable import Gateway
@testable import Settings

@Suite struct TunnelSettingsTests {
    static let first = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", second = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="

    func tunnel(_ lines: String = "", peer: String = "endpoint = \"192.0.2.1:1\"") throws -> CausewayConfiguration.Tunnel {
        try sample(
            """
            [[listen]]
            address = "127.0.0.2"
            [[pool]]
            name = "users"
            gateway = "10.8.0.1"
            ranges = ["10.8.0.10-10.8.0.19"]
            [[tunnel]]
            name = "hub"
            interface = "cw-hub"
            \(lines)
            [[tunnel.peer]]
            public-key = "\(Self.first)"
            allowed-ips = ["0.0.0.0/0"]
            \(peer)

            """
        ).tunnels[0]
    }

    @Test func hubsAndTheirEndpointsInOrder() throws {
        let routes = try tunnel(
            "private-key-file = \"/key\"",
            peer: """
                endpoints = ["192.0.2.1:1", "hub.example:2"]
                persistent-keepalive = 7
                [[tunnel.peer.standby]]
                public-key = "\(Self.second)"
                endpoint = "[2001:db8::1]:3"
                preshared-key-file = "/key"
                """
        ).routes()
        #expect(routes.count == 1)
        #expect(routes[0].hubs.map { "\($0.publicKey)" } == [Self.first, Self.second])
        #expect(routes[0].hubs.map { $0.endpoints.map { "\($0)" } } == [["192.0.2.1:1", "hub.example:2"], ["[2001:db8::1]:3"]])
        #expect(routes[0].hubs.map { $0.presharedKey != nil } == [false, true])
        #expect(routes[0].keepalive == 7)
        #expect(routes[0].allowedIPs == [IPPrefix("0.0.0.0/0")!])
    }

    @Test(arguments: [
        ("private-key-file = \"/key\"", "ann", nil, ""), ("mode = \"per-user\"", "ann", "west", "ann"),
        ("mode = \"group\"", "ann", "west", "west"), ("mode = \"group\"", "ann", nil, "default"),
        ("mode = \"group\"\ndefault-group = \"rest\"", "ann", nil, "rest"),
    ] as [(String, String, String?, String)])
    func whoseIdentity(_ lines: String, _ user: String, _ group: String?, _ name: String) throws {
        #expect(try tunnel(lines).identityName(of: UplinkRequest(tunnel: "hub", user: user, group: group)) == name)
    }

    @Test func timing() throws {
        let tunnel = try tunnel("private-key-file = \"/key\"\nfailover-after = \"10s\"\nreturn-after = \"60s\"")
        #expect(tunnel.hubTiming(.embedded) == .init(failoverAfter: .seconds(10), returnAfter: .seconds(60)))
        // The kernel shows an unanswered packet later.
        #expect(tunnel.hubTiming(.kernel) == .init(failoverAfter: .seconds(15), returnAfter: .seconds(60)))
        #expect(try self.tunnel("private-key-file = \"/key\"\nreturn-after = 0").hubTiming(.embedded).returnAfter == nil)
    }

    /// Identities of ours share a port; kernel interfaces cannot.
    @Test func theDevice() throws {
        let shared = try tunnel("private-key-file = \"/key\"\nlisten-port = 7\naddresses = [\"10.9.0.2/24\"]\nfwmark = 5\nmtu = 1300")
        let key = PrivateKey()
        let kernel = shared.device("cw-hub", key, .kernel), embedded = shared.device("cw-hub", key, .embedded)
        #expect(kernel.listenPort == 7 && embedded.listenPort == 7)
        #expect(kernel.addresses == [TunnelAddress("10.9.0.2/24")!])
        #expect(embedded.addresses.isEmpty)
        #expect(embedded.fwmark == 5 && embedded.mtu == 1300 && embedded.privateKey == key)
        let many = try tunnel("mode = \"per-user\"\nlisten-port = 7")
        #expect(many.device("cw-hub.1", key, .kernel).listenPort == nil)
        #expect(many.device("cw-hub", key, .embedded).listenPort == 7)
    }

    // ---- Which backend ----

    struct Asked: Error {}

    @Test(arguments: [
        ("auto", BackendProbe.Result.available, BackendKind.kernel), ("auto", .unavailable(reason: "no module"), .embedded),
        ("kernel", .available, .kernel), ("embedded", .available, .embedded), ("embedded", .unavailable(reason: ""), .embedded),
    ])
    func theBackend(_ configured: String, _ kernel: BackendProbe.Result, _ kind: BackendKind) throws {
        let configuration = try sample("").with(backend: configured)
        #expect(try TunnelManager.chooseBackends(configuration, probe: { kernel }) == ["hub": kind])
    }

    @Test func theKernelIsAskedOnlyIfItMatters() throws {
        #expect(try TunnelManager.chooseBackends(try sample("").with(backend: "embedded"), probe: { throw Asked() }) == ["hub": .embedded])
        #expect(throws: Asked.self) { try TunnelManager.chooseBackends(try sample("").with(backend: "auto"), probe: { throw Asked() }) }
    }

    @Test func aKernelWithoutWireGuardIsAnErrorWhereItIsAskedFor() throws {
        let configuration = try sample("").with(backend: "kernel")
        let error = #expect(throws: GatewayError.self) {
            try TunnelManager.chooseBackends(configuration, probe: { .unavailable(reason: "no module") })
        }
        #expect("\(error!)".contains("modprobe wireguard"))
    }

    /// Each identity is an interface there.
    @Test func tooManyIdentitiesForTheKernel() throws {
        var configuration = try sample("").with(backend: "auto")
        configuration.tunnels[0].mode = .perUser
        configuration.tunnels[0].mostIdentities = 256
        #expect(try TunnelManager.chooseBackends(configuration, identities: ["hub": 256], probe: { .available }) == ["hub": .kernel])
        #expect(try TunnelManager.chooseBackends(configuration, identities: ["hub": 257], probe: { .available }) == ["hub": .embedded])
        configuration.tunnels[0].backend = .kernel
        let error = #expect(throws: GatewayError.self) {
            try TunnelManager.chooseBackends(configuration, identities: ["hub": 257], probe: { .available })
        }
        #expect("\(error!)".contains("backend = \"embedded\""))
    }
}

extension CausewayConfiguration {
    fileprivate func with(backend: String) -> CausewayConfiguration {
        var changed = self
        changed.tunnels[0].backend = .init(rawValue: backend)!
        return changed
    }
}
