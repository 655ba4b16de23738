import Addresses
import Testing

@testable import Settings

/// The listener for users who have WireGuard themselves.
@Suite struct AccessTests {
    private func sample(_ peer: String = "", secrets: String = "ann * pw *\n", users: String = "", _ change: (inout Sample) -> Void = { _ in }) -> Sample {
        Sample.with {
            $0.rest = users + Sample.access + peer
            $0.files["/etc/causeway/chap-secrets"] = secrets
            change(&$0)
        }
    }

    private func peer(_ lines: String, key: String = Sample.otherPublicKey) -> String {
        "[[access.peer]]\npublic-key = \"\(key)\"\n\(lines)\n"
    }

    @Test func defaults() throws {
        let access = try #require(try sample().parse().access)
        #expect(access.interface == "cw-access" && access.listenPort == 51820 && access.fwmark == 0 && access.mtu == 1420)
        #expect(access.tunnel == "hub" && access.privateKey.count == 32)
        #expect(
            access.peers == [
                .init(user: "eve", publicKey: Sample.publicKey, address: IPAddress("10.8.1.7")!, prefixes: [], tunnel: "hub", group: nil)
            ])
        #expect(try Sample().parse().access == nil)
    }

    @Test func everyKey() throws {
        let all = """
            interface = "cwa"
            listen-port = 7
            fwmark = 9
            mtu = 1300
            tunnel = "hub"
            [[access.peer]]
            """
        let access = try #require(
            try sample { $0.rest = $0.rest.replacing("[[access.peer]]", with: all) + "preshared-key-file = \"/key\"\nprefixes = [\"10.77.0.0/16\"]\n" }.parse().access)
        #expect(access.interface == "cwa" && access.listenPort == 7 && access.fwmark == 9 && access.mtu == 1300)
        #expect(access.peers[0].presharedKey?.count == 32 && access.peers[0].prefixes.map(\.description) == ["10.77.0.0/16"])
    }

    @Test(arguments: [
        ("private-key-file = \"/access\"", "", "access.private-key-file"),
        ("private-key-file = \"/access\"", "private-key = \"x\"", "access.private-key"),
        ("private-key-file = \"/access\"", "private-key-file = \"/nothing\"", "access.private-key-file"),
        // The same key would make two identities one.
        ("private-key-file = \"/access\"", "private-key-file = \"/key\"", "access.private-key-file"),
        ("[[access.peer]]", "listen-port = 0\n[[access.peer]]", "access.listen-port"),
        ("[[access.peer]]", "listen-prot = 1\n[[access.peer]]", "access.listen-prot"),
        ("[[access.peer]]", "mtu = 1\n[[access.peer]]", "access.mtu"), ("[[access.peer]]", "tunnel = \"x\"\n[[access.peer]]", "access.tunnel"),
        ("[[access.peer]]", "interface = \"cw-hub\"\n[[access.peer]]", "access.interface"),
        ("[[access.peer]]", "interface = \"causeway0\"\n[[access.peer]]", "access.interface"),
        ("[[access.peer]]", "backend = \"kernel\"\n[[access.peer]]", "access.backend"),
        ("user = \"eve\"", "", "access.peer[0].user"), ("user = \"eve\"", "user = \"\"", "access.peer[0].user"),
        (Sample.publicKey, "x", "access.peer[0].public-key"), ("10.8.1.7", "2001:db8::1", "access.peer[0].address"),
        ("address = \"10.8.1.7\"", "", "access.peer[0].address"), ("address = \"10.8.1.7\"", "addres = \"10.8.1.7\"", "access.peer[0].addres"),
        ("address = \"10.8.1.7\"", "address = \"10.8.0.1\"", "access.peer[0]"),
        ("address = \"10.8.1.7\"", "address = \"10.8.1.7\"\nprefixes = [\"10.8.0.0/28\"]", "access.peer[0]"),
        ("address = \"10.8.1.7\"", "address = \"10.8.1.7\"\nprefixes = [\"0.0.0.0/0\"]", "access.peer[0].prefixes[0]"),
        ("address = \"10.8.1.7\"", "address = \"10.8.1.7\"\npreshared-key = \"x\"", "access.peer[0].preshared-key"),
    ])
    func wrong(old: String, new: String, key: String) {
        let wrong = sample { $0.rest = $0.rest.replacing(old, with: new) }
        #expect(wrong.issues.map(\.key).contains(key), "\(wrong.messages)")
    }

    @Test func itsPortIsNoTunnels() {
        #expect(sample { $0.tunnel += "listen-port = 51820\n" }.issues.map(\.key) == ["access.listen-port"])
    }

    /// With a store, users can be invited.
    @Test func nobodyIsAWarning() throws {
        let empty = sample { $0.rest = "[access]\nprivate-key-file = \"/access\"\n" }
        #expect(try empty.parse().warnings.isEmpty)
        let never = sample { $0.rest = "[access]\nprivate-key-file = \"/access\"\n[store]\nenabled = false\n" }
        #expect(try never.parse().warnings.map(\.key) == ["access"])
    }

    // ---- Peers and users ----

    @Test func peersAreToldApart() {
        #expect(sample(peer("user = \"fay\"\naddress = \"10.8.1.8\"", key: Sample.publicKey)).issues.map(\.key) == ["access.peer[1].public-key"])
        #expect(sample(peer("user = \"eve\"\naddress = \"10.8.1.8\"")).issues.map(\.key) == ["access.peer[1].user"])
        let same = sample(peer("user = \"fay\"\naddress = \"10.8.1.7\"")).messages
        #expect(same.count == 1 && same[0].contains("10.8.1.7 of user fay also belongs to user eve (access.peer[0])"), "\(same)")
        let inside = sample(peer("user = \"fay\"\naddress = \"10.8.2.1\"\nprefixes = [\"10.8.1.0/24\"]")).messages
        #expect(inside.count == 1 && inside[0].contains("10.8.1.7 of user eve lies in 10.8.1.0/24 of user fay"), "\(inside)")
        #expect(sample(peer("user = \"fay\"\naddress = \"10.8.1.8\"")).issues.isEmpty)
    }

    @Test func anAddressBelongsToOneUserWhicheverWayTheyComeIn() {
        let messages = sample(secrets: "ann * pw 10.8.1.7\n").messages
        #expect(messages.count == 1 && messages[0].contains("of user ann also belongs to user eve"), "\(messages)")
    }

    /// The same user dials in and connects: one address, taken from where it is written.
    @Test func aUserOfBothKinds() throws {
        let fromSecrets = try sample(peer("user = \"ann\""), secrets: "ann * pw 10.8.1.9\n").parse()
        #expect(fromSecrets.access?.peers[1].address == IPAddress("10.8.1.9"))
        let toSecrets = try sample(peer("user = \"ann\"\naddress = \"10.8.1.9\"")).parse()
        #expect(toSecrets.users.entries[0].attributes.staticAddress == IPAddress("10.8.1.9"))
        let within = try sample(peer("user = \"ann\"\naddress = \"10.8.0.30\""), secrets: "ann * pw 10.8.0.0/24\n").parse()
        #expect(within.users.entries[0].attributes.staticAddress == IPAddress("10.8.0.30"))
        // Who may not dial in at all still connects.
        let refused = try sample(peer("user = \"ann\"\naddress = \"10.8.1.9\""), secrets: "ann * pw -\n").parse()
        #expect(refused.users.entries[0].attributes.address == .refused)
    }

    @Test(arguments: ["10.8.1.10", "10.8.1.0/30"]) func anotherAddressThanTheUsersIsRefused(_ column: String) {
        let messages = sample(peer("user = \"ann\"\naddress = \"10.8.1.9\""), secrets: "ann * pw \(column)\n").messages
        #expect(messages.contains { $0.contains("access.peer[1].address: 10.8.1.9 is not an address of user ann by /etc/causeway/chap-secrets:1") }, "\(messages)")
    }

    @Test func prefixesOfTheUser() throws {
        let users = "[[user]]\nname = \"ann\"\nprefixes = [\"192.168.7.0/24\"]\naddress = \"10.8.1.9\"\ngroup = \"tills\"\n"
        let taken = try #require(try sample(peer("user = \"ann\""), users: users).parse().access?.peers[1])
        #expect(taken.prefixes.map(\.description) == ["192.168.7.0/24"] && taken.group == "tills")
        let own = try sample(peer("user = \"ann\"\nprefixes = []"), users: users).parse().access?.peers[1]
        #expect(own?.prefixes == [])
    }

    @Test func prefixesAreLimited() {
        let many = (0...31).map { "\"10.100.\($0).0/24\"" }.joined(separator: ", ")
        #expect(sample { $0.rest += "prefixes = [\(many)]\n" }.issues.map(\.key) == ["access.peer[0].prefixes"])
    }

    // ---- Tunnels ----

    private static let second = """
        [[tunnel]]
        name = "aux"
        interface = "cw-aux"
        private-key-file = "/aux"
        [[tunnel.peer]]
        public-key = "\(Sample.publicKey)"
        endpoint = "192.0.2.8:1"
        allowed-ips = ["0.0.0.0/0"]

        """

    @Test func whereAPeerGoes() throws {
        let two = { (users: String, change: (inout Sample) -> Void) in
            sample(peer("user = \"ann\"\naddress = \"10.8.1.9\""), users: users) {
                $0.listen += "tunnel = \"hub\"\n"
                $0.peer += Self.second
                $0.files["/aux"] = Sample.key
                change(&$0)
            }
        }
        let tunnels = { (sample: Sample) in try sample.parse().access?.peers.map(\.tunnel) }
        #expect(try tunnels(two("") { _ in }) == ["hub", "hub"])
        #expect(try tunnels(two("[[user]]\nname = \"ann\"\ntunnel = \"aux\"\n") { _ in }) == ["hub", "aux"])
        let elsewhere = two("") { $0.rest = $0.rest.replacing("[access]", with: "[access]\ntunnel = \"aux\"") }
        #expect(elsewhere.issues.map(\.key) == ["access.peer[1]"])
        #expect(elsewhere.messages[0].contains("user ann dials in for tunnel \"hub\" and would connect for tunnel \"aux\""))
    }

    @Test func innerPrefixes() throws {
        let prefixes = try sample { $0.rest += "prefixes = [\"10.77.0.0/16\"]\n" }.parse().innerPrefixes(ofTunnel: "hub").map(\.description)
        #expect(prefixes.contains("10.8.1.7/32") && prefixes.contains("10.77.0.0/16") && prefixes.contains("10.8.0.1/32"))
    }

    @Test func anIdentityGivesTheAddress() throws {
        let perUser = sample { $0.rest = $0.rest.replacing("address = \"10.8.1.7\"\n", with: ""); $0.tunnel += "mode = \"per-user\"\n" }
        #expect(try perUser.parse().access?.peers[0].address == nil)
    }
}
