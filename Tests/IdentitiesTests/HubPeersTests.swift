import Addresses
import Authentication
import Hub
import Settings
import Testing
import WireGuard

@testable import Identities

@Suite struct HubPeersTests {
    private func peers(_ configuration: CausewayConfiguration, _ identities: [Identity] = [], hub: String? = nil) throws -> [HubPeer] {
        try configuration.hubPeers(of: #require(configuration.tunnel(named: "hub")), identities: identities, hub: hub)
    }
    private func networks(_ peer: HubPeer?) -> [String]? { peer?.allowedIPs.sorted().map(\.description) }

    /// The public key was worked out with `wg pubkey`.
    @Test func shared() throws {
        let rest = Configured.user("ann", "address = \"10.7.0.1\"\nprefixes = [\"192.168.7.0/24\"]") + Configured.access("user = \"eve\"\naddress = \"10.7.0.2\"")
        let peers = try peers(Configured.parse(mode: "shared", secrets: "ann * p *\n", rest: rest))
        #expect(peers.map(\.publicKey) == ["HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="])
        #expect(peers.map(\.comment) == ["tunnel hub"] && peers[0].presharedKey == nil)
        #expect(networks(peers[0]) == ["10.7.0.1/32", "10.7.0.2/32", "10.8.0.1/32", "10.8.0.10/31", "10.8.0.12/32", "192.168.7.0/24"])
    }

    @Test func perUser() throws {
        let rest = Configured.user("bob", "pool = \"users\"\nprefixes = [\"192.168.7.0/24\"]".replacing("prefixes", with: "address = \"10.8.0.12\"\nprefixes"))
            + Configured.access("user = \"eve\"\naddress = \"10.7.0.2\"\nprefixes = [\"192.168.9.0/24\"]")
        let configuration = try Configured.parse(mode: "per-user", secrets: "ann * p *\nbob * p *\n", rest: rest)
        let identities = [
            IdentityFileTests.identity("gone", addresses: ["10.8.0.11"], retiredAt: 7), IdentityFileTests.identity("bob", addresses: ["10.8.0.12"]),
            IdentityFileTests.identity("ann"), IdentityFileTests.identity("eve", addresses: ["10.7.0.2"]),
            IdentityFileTests.identity("ann", tunnel: "aux", addresses: ["10.9.0.8"]), IdentityFileTests.identity("tills", kind: .group, addresses: []),
        ]
        let peers = try peers(configuration, identities)
        #expect(peers.map(\.comment) == ["user ann", "user bob", "user eve", "user gone, retired"])
        #expect(peers.map { networks($0) } == [["10.8.0.10/32"], ["10.8.0.12/32", "192.168.7.0/24"], ["10.7.0.2/32", "192.168.9.0/24"], ["10.8.0.11/32"]])
        #expect(peers[0].publicKey == "\(identities[0].publicKey)")
        #expect(try self.peers(configuration, identities.reversed()) == peers)
    }

    /// Who draws from the pool brings the pool, and our end of those links.
    @Test func groups() throws {
        let rest = Configured.user("bob", "group = \"tills\"\naddress = \"10.7.0.1\"\nprefixes = [\"192.168.7.0/24\"]")
        let configuration = try Configured.parse(mode: "group", secrets: "ann * p *\nbob * p *\ncarl * p 10.7.0.0\n", rest: rest + Configured.user("carl", ""))
        let identities = ["tills", "default", "old"].map { IdentityFileTests.identity($0, kind: .group, addresses: []) }
        let peers = try peers(configuration, identities)
        #expect(peers.map(\.comment) == ["group default", "group old", "group tills"])
        #expect(
            peers.map { networks($0) } == [
                ["10.7.0.0/32", "10.8.0.1/32", "10.8.0.10/31", "10.8.0.12/32"], [], ["10.7.0.1/32", "192.168.7.0/24"],
            ])
    }

    @Test func eachHubHasItsPresharedKey() throws {
        let hub = "preshared-key-file = \"/psk\"\n[[tunnel.peer.standby]]\npublic-key = \"\(Configured.keys[1])\"\nendpoint = \"192.0.2.7:1\"\npreshared-key-file = \"/psk2\""
        for mode in ["shared", "per-user"] {
            let configuration = try Configured.parse(mode: mode, secrets: "ann * p *\n", hub: hub)
            let identities = [IdentityFileTests.identity("ann")]
            #expect(try peers(configuration, identities).map(\.presharedKeyText) == [Configured.keys[0]])
            #expect(try peers(configuration, identities, hub: Configured.keys[0]).map(\.presharedKeyText) == [Configured.keys[0]])
            #expect(try peers(configuration, identities, hub: Configured.keys[1]).map(\.presharedKeyText) == [Configured.keys[1]])
            #expect(throws: IdentityError.self) { _ = try peers(configuration, identities, hub: Configured.key) }
        }
    }
}
