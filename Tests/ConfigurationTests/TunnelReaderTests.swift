import Addresses
import Authentication
import Glibc
import Testing

@testable import Settings

@Suite struct TunnelReaderTests {
    @Test(arguments: [
        ("interface = \"cw-0\"", "tunnel[0].interface"), ("backend = \"userland\"", "tunnel[0].backend"),
        ("listen-port = 65536", "tunnel[0].listen-port"), ("fwmark = -1", "tunnel[0].fwmark"), ("mtu = 500", "tunnel[0].mtu"),
        ("mode = \"peruser\"", "tunnel[0].mode"), ("default-group = \"\"", "tunnel[0].default-group"),
        ("most-identities = 0", "tunnel[0].most-identities"), ("most-identities = 10000", "tunnel[0].most-identities"),
        ("linger = \"25h\"", "tunnel[0].linger"), ("failover-after = \"9s\"", "tunnel[0].failover-after"),
        ("failover-after = \"11m\"", "tunnel[0].failover-after"), ("return-after = \"29s\"", "tunnel[0].return-after"),
        ("return-after = \"25h\"", "tunnel[0].return-after"), ("hub-hook = \"hook\"", "tunnel[0].hub-hook"),
        ("addresses = [\"10.9.0.2/33\"]", "tunnel[0].addresses[0]"), ("table = 255", "tunnel[0].table"),
        ("private-key = \"x\"", "tunnel[0].private-key"), ("colour = 1", "tunnel[0].colour"),
    ])
    func wrongTunnels(line: String, key: String) {
        var sample = Sample()
        if line.hasPrefix("interface") {
            sample.tunnel = sample.tunnel.replacing("cw-hub", with: "sixteen-chars-xx")
        } else {
            sample.tunnel += line + "\n"
        }
        #expect(sample.issues.map(\.key) == [key])
    }

    @Test func tunnelValues() throws {
        var sample = Sample()
        sample.tunnel +=
            "backend = \"kernel\"\nlisten-port = 51820\nfwmark = 0xCA6C\nmtu = 1380\naddresses = [\"10.9.0.2/24\", \"fd00::2/64\"]\ntable = 77\n"
        sample.peer += "preshared-key-file = \"/psk\"\npersistent-keepalive = 0\n"
        sample.files["/psk"] = Sample.key
        let tunnel = try sample.parse().tunnels[0]
        #expect(
            tunnel.backend == .kernel && tunnel.listenPort == 51820 && tunnel.fwmark == 0xCA6C && tunnel.mtu == 1380
                && tunnel.table == 77)
        #expect(tunnel.addresses.map(\.description) == ["10.9.0.2/24", "fd00::2/64"])
        #expect(tunnel.peers[0].primary.presharedKey?.count == 32)
        #expect(tunnel.peers[0].persistentKeepalive == 0)
    }

    @Test(arguments: [
        ("public-key = \"\(Sample.publicKey)\"", "public-key = \"AAAA\"", "public-key"),
        ("public-key = \"\(Sample.publicKey)\"", "", "public-key"),
        // The last digit has bits that no byte uses.
        ("8Dg=", "8Dh=", "public-key"),
        ("hub.example.org:51820", "hub.example.org", "endpoint"), ("hub.example.org:51820", "hub.example.org:0", "endpoint"),
        ("hub.example.org:51820", "-x.org:1", "endpoint"), ("hub.example.org:51820", "2001:db8::1:51820", "endpoint"),
        ("hub.example.org:51820", "300.1.1.1:1", "endpoint"),
        ("[\"0.0.0.0/0\"]", "[\"10.0.0.1/8\"]", "allowed-ips[0]"), ("[\"0.0.0.0/0\"]", "[\"10.0.0.1\"]", "allowed-ips[0]"),
        ("allowed-ips = [\"0.0.0.0/0\"]", "", "allowed-ips"),
        ("allowed-ips", "persistent-keepalive = 65536\nallowed-ips", "persistent-keepalive"),
        ("allowed-ips", "preshared-key = \"x\"\nallowed-ips", "preshared-key"),
        ("allowed-ips", "endpoints = [\"a:1\"]\nallowed-ips", "endpoints"),
        ("endpoint = \"hub.example.org:51820\"", "endpoints = \"hub.example.org:51820\"", "endpoints"),
        ("endpoint = \"hub.example.org:51820\"", "endpoints = [\"hub.example.org:51820\", \"hub\"]", "endpoints[1]"),
        ("endpoint = \"hub.example.org:51820\"", "endpoints = [\"a:1\", \"a:1\"]", "endpoints"),
    ])
    func wrongPeers(old: String, new: String, key: String) {
        var sample = Sample()
        sample.peer = sample.peer.replacing(old, with: new)
        #expect(sample.issues.map(\.key) == ["tunnel[0].peer[0].\(key)"])
    }

    @Test(arguments: ["", "short", Sample.key.dropLast() + "x", "\(Sample.key) extra"]) func wrongKeyFiles(contents: String) {
        var sample = Sample()
        sample.files["/key"] = contents
        #expect(sample.issues.map(\.key) == ["tunnel[0].private-key-file"])
        #expect(contents.isEmpty || !sample.messages[0].contains(contents))
    }

    @Test func missingKeyFile() {
        var sample = Sample()
        sample.files["/key"] = nil
        #expect(sample.messages == ["causeway.toml:10: tunnel[0].private-key-file: /key: does not exist"])
    }

    @Test func aTunnelNeedsAPeer() {
        var sample = Sample()
        sample.peer = ""
        #expect(sample.issues.map(\.key) == ["tunnel[0]"])
    }

    @Test func tablesDependOnTheNameOnly() throws {
        var sample = Sample()
        let first = try sample.parse().tunnels[0].table
        sample.tunnel = sample.tunnel.replacing("hub", with: "aux") + sample.peer + sample.tunnel
        sample.listen += "tunnel = \"hub\"\n"
        let both = try sample.parse().tunnels
        #expect(both.map(\.name) == ["aux", "hub"])
        #expect(both[1].table == first && both[0].table != first)
    }

    @Test func userspaceIsGone() {
        var sample = Sample()
        sample.tunnel += "backend = \"userspace\"\n"
        #expect(
            sample.messages == [
                "causeway.toml:11: tunnel[0].backend: \"userspace\" (wireguard-go) is gone; Causeway's own engine took its place: backend = \"embedded\""
            ])
        sample.tunnel = sample.tunnel.replacing("userspace", with: "embedded")
        #expect(try! sample.parse().tunnels[0].backend == .embedded)
    }

    @Test func defaults() throws {
        let tunnel = try Sample().parse().tunnels[0]
        #expect(tunnel.mode == .shared && tunnel.defaultGroup == "default" && tunnel.mostIdentities == 256)
        #expect(tunnel.failoverAfter == .seconds(20) && tunnel.returnAfter == .seconds(300) && tunnel.linger == .seconds(180))
        #expect(tunnel.hubHook == nil && tunnel.peers[0].hubs.count == 1)
        #expect(tunnel.interface(ofIdentity: 7) == "cw-hub-7")
    }

    // ---- Hubs ----

    @Test func severalEndpointsAndHubs() throws {
        var sample = Sample()
        sample.tunnel += "failover-after = \"15s\"\nreturn-after = 0\n"
        sample.peer = sample.peer.replacing(
            "endpoint = \"hub.example.org:51820\"", with: "endpoints = [\"hub.example.org:51820\", \"[2001:db8::1]:7\", \"192.0.2.9:8\"]")
        sample.peer += Sample.standby + "preshared-key-file = \"/psk\"\n"
        sample.files["/psk"] = Sample.key
        let tunnel = try sample.parse().tunnels[0]
        #expect(tunnel.failoverAfter == .seconds(15) && tunnel.returnAfter == .zero)
        let hubs = tunnel.peers[0].hubs
        #expect(hubs.map(\.publicKey) == [Sample.publicKey, Sample.otherPublicKey])
        #expect(hubs.map { $0.endpoints.map(\.description) } == [
            ["hub.example.org:51820", "[2001:db8::1]:7", "192.0.2.9:8"], ["hub2.example.org:51820"],
        ])
        #expect(hubs.map { $0.presharedKey?.count } == [nil, 32])
        #expect(tunnel.peers[0].primary == hubs[0])
    }

    @Test(arguments: [
        ("public-key = \"\(Sample.otherPublicKey)\"\n", "", "public-key"), ("endpoint = \"hub2.example.org:51820\"\n", "", ""),
        ("endpoint", "allowed-ips = [\"10.0.0.0/8\"]\nendpoint", "allowed-ips"), ("endpoint", "endpont", "endpont"),
        (Sample.otherPublicKey, Sample.publicKey, "public-key"), ("hub2.example.org:51820", "hub2", "endpoint"),
    ])
    func wrongStandIns(old: String, new: String, key: String) {
        var sample = Sample()
        sample.peer += Sample.standby.replacing(old, with: new)
        #expect(sample.issues.map(\.key).contains("tunnel[0].peer[0].standby[0]" + (key.isEmpty ? "" : ".\(key)")), "\(sample.messages)")
    }

    @Test func aHubWithAStandInNeedsAnEndpointItself() {
        var sample = Sample()
        sample.peer = sample.peer.replacing("endpoint = \"hub.example.org:51820\"\n", with: "") + Sample.standby
        #expect(sample.issues.map(\.key) == ["tunnel[0].peer[0]"])
    }

    // ---- Identities ----

    @Test(arguments: ["group", "per-user"]) func identitiesHaveKeysOfTheirOwn(_ mode: String) throws {
        var sample = Sample()
        sample.tunnel += "mode = \"\(mode)\"\n"
        let warned = try sample.parse()
        #expect(warned.warnings.map(\.key) == ["tunnel[0].private-key-file"])
        #expect(warned.tunnels[0].privateKey == nil && warned.tunnels[0].privateKeyFile == nil)
        sample.tunnel = sample.tunnel.replacing("private-key-file = \"/key\"\n", with: "")
        #expect(try sample.parse().warnings.isEmpty)
        sample.tunnel = sample.tunnel.replacing(mode, with: "shared")
        #expect(sample.issues.map(\.key) == ["tunnel[0].private-key-file"])
    }

    @Test func whatMeansNothingIsAWarning() throws {
        var sample = Sample()
        sample.tunnel += "default-group = \"g\"\nmost-identities = 5\nlinger = \"1m\"\n"
        #expect(try sample.parse().warnings.map(\.key) == ["tunnel[0].default-group", "tunnel[0].most-identities", "tunnel[0].linger"])
    }

    // ---- The hook ----

    @Test func theHookIsAProgram() throws {
        var template = Array("/tmp/causeway-XXXXXX".utf8CString)
        let path = mkstemp(&template)
        try #require(path >= 0)
        close(path)
        let file = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        defer { unlink(file) }
        for (mode, problem): (mode_t, String?) in [
            (0o755, nil), (0o500, nil), (0o644, "is not executable"), (0o757, "can be changed by every user of this host"),
        ] {
            chmod(file, mode)
            #expect(messages(ofHook: file).first?.contains(problem ?? "") ?? (problem == nil), "\(mode)")
        }
        #expect(messages(ofHook: file + "-not").first?.hasSuffix("does not exist") == true)
        #expect(messages(ofHook: "/tmp").first?.hasSuffix("is not a program") == true)
        #expect(messages(ofHook: "bin/sh").first?.contains("expected the absolute path of a program") == true)
    }

    private func messages(ofHook path: String) -> [String] { Sample.with { $0.tunnel += "hub-hook = \"\(path)\"\n" }.messages }
}
