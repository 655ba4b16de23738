import Testing

@testable import Settings

@Suite struct ConfigurationChecksTests {
    @Test func somethingMustBeThere() {
        do throws(ConfigurationError) {
            _ = try Sample.parse("", files: ["/etc/causeway/chap-secrets": "ann * pw *\n"])
            Issue.record("an empty file was accepted")
        } catch {
            #expect(error.issues.map(\.key) == ["listen", "tunnel", "pool"])
        }
    }

    @Test func listenersDoNotCollide() throws {
        var sample = Sample()
        sample.listen += "[[listen]]\naddress = \"192.0.2.1\"\n"
        #expect(sample.issues.map(\.key) == ["listen[1].address"])
        sample.listen = sample.listen.replacing(
            "[[listen]]\naddress = \"192.0.2.1\"\n[[listen]]", with: "[[listen]]\naddress = \"0.0.0.0\"\n[[listen]]")
        #expect(sample.issues.map(\.key) == ["listen[1].address"])
        sample.listen += "port = 1724\n"
        #expect(try sample.parse().listeners.count == 2)
    }

    @Test(arguments: ["::", "2001:db8::1", "::ffff:192.0.2.1"]) func listenersAreIPv4(_ address: String) {
        var sample = Sample()
        sample.listen += "[[listen]]\naddress = \"\(address)\"\nport = 1724\n"
        #expect(sample.issues.map(\.key) == ["listen[1].address"])
    }

    private func secondTunnel(_ change: (inout String) -> Void) -> Sample {
        var sample = Sample()
        sample.listen += "tunnel = \"hub\"\n"
        var second = (sample.tunnel + sample.peer).replacing("\"hub\"", with: "\"aux\"").replacing("cw-hub", with: "cw-aux")
        change(&second)
        sample.peer += second
        return sample
    }

    @Test func tunnelsAreToldApart() throws {
        #expect(try secondTunnel { _ in }.parse().tunnels.count == 2)
        #expect(secondTunnel { $0 = $0.replacing("\"aux\"", with: "\"hub\"") }.issues.map(\.key).contains("tunnel[1].name"))
        #expect(secondTunnel { $0 = $0.replacing("cw-aux", with: "cw-hub") }.issues.map(\.key) == ["tunnel[1].interface"])
        #expect(secondTunnel { $0 = $0.replacing("cw-aux", with: "causeway0") }.issues.map(\.key) == ["tunnel[1].interface"])
        #expect(
            secondTunnel { $0 = $0.replacing("interface", with: "table = 51999\ninterface") }.issues.map(\.key) == [
                "tunnel[1].table"
            ])
        var ports = secondTunnel { $0 = $0.replacing("interface", with: "listen-port = 7\ninterface") }
        #expect(ports.issues.isEmpty)
        ports.tunnel += "listen-port = 7\n"
        #expect(ports.issues.map(\.key) == ["tunnel[1].listen-port"])
    }

    @Test func peersAreToldApart() throws {
        var sample = Sample()
        sample.peer +=
            "[[tunnel.peer]]\npublic-key = \"\(Sample.publicKey)\"\nendpoint = \"192.0.2.7:1\"\nallowed-ips = [\"10.1.0.0/16\"]\n"
        #expect(sample.issues.map(\.key) == ["tunnel[0].peer[1].public-key"])
        sample.peer = sample.peer.replacing(
            "\(Sample.publicKey)\"\nendpoint = \"192.0.2.7:1\"", with: "\(Sample.otherPublicKey)\"\nendpoint = \"192.0.2.7:1\"")
        #expect(try sample.parse().tunnels[0].peers.count == 2)
        // One of them may have everything; a second default route would silently take it over.
        sample.peer = sample.peer.replacing("[\"10.1.0.0/16\"]", with: "[\"0.0.0.0/0\"]")
        #expect(sample.messages.count == 1)
        #expect(
            sample.messages[0].contains("tunnel[0].peer[1].allowed-ips: 0.0.0.0/0 belongs to peer[0] of this tunnel already; "))
    }

    @Test func aPeerThatNobodyCanFindIsAWarning() throws {
        var sample = Sample()
        sample.peer = sample.peer.replacing("endpoint = \"hub.example.org:51820\"\n", with: "")
        #expect(try sample.parse().warnings.map(\.key) == ["tunnel[0].peer[0]"])
        sample.tunnel += "listen-port = 51820\n"
        #expect(try sample.parse().warnings.isEmpty)
    }

    @Test(arguments: [
        ("10.8.0.10-10.8.0.250\"", "10.8.0.10-10.8.0.250\", \"10.8.0.0/28\"", "pool[0].ranges[1]"),
        ("10.8.0.10-10.8.0.250\"", "10.8.0.0/24\"", "pool[0].gateway"),
    ])
    func poolsDoNotOverlap(old: String, new: String, key: String) {
        var sample = Sample()
        sample.pool = sample.pool.replacing(old, with: new)
        #expect(sample.issues.map(\.key).contains(key))
    }

    @Test func twoPoolsDoNotOverlapEither() {
        var sample = Sample()
        sample.listen += "pool = \"users\"\n"
        sample.pool += "[[pool]]\nname = \"more\"\ngateway = \"10.8.0.11\"\nranges = [\"10.8.0.250-10.8.1.1\"]\n"
        #expect(sample.issues.map(\.key) == ["pool[1].gateway", "pool[1].ranges[0]"])
        sample.pool = sample.pool.replacing("10.8.0.11", with: "10.8.0.1").replacing(
            "10.8.0.250-10.8.1.1", with: "10.8.0.251-10.8.1.1")
        #expect(sample.issues.isEmpty)
    }

    @Test func tunnelAddressesAreNotInAPool() {
        var sample = Sample()
        sample.tunnel += "addresses = [\"10.8.0.99/32\"]\n"
        #expect(sample.issues.map(\.key) == ["tunnel[0].addresses[0]"])
    }

    struct UserCase: Sendable {
        var secrets: String
        var tables: String
        var message: String?

        init(_ secrets: String, _ tables: String = "", _ message: String?) {
            self.secrets = secrets
            self.tables = tables
            self.message = message
        }
    }

    @Test(arguments: [
        UserCase("a * p 10.8.0.7\nb * p 10.8.0.8\n", "", nil),
        UserCase("a * p 10.8.0.20\n", "", nil),  // in the pool's range: kept for this user
        UserCase("a * p 10.8.0.7\na vpn p 10.8.0.7\n", "", nil),  // one user, two lines
        UserCase(
            "a * p 10.8.0.7\nb * p 10.8.0.7\n", "",
            "chap-secrets:2: 10.8.0.7 of user b also belongs to user a (/etc/causeway/chap-secrets:1)"),
        UserCase("a * p 10.8.0.1\n", "", "chap-secrets:1: 10.8.0.1 of user a holds our own address 10.8.0.1 (pool[0].gateway)"),
        UserCase("a * p *\n", "name = \"b\"\npassword = \"p\"\nprefixes = [\"192.168.0.0/24\"]", nil),
        UserCase(
            "a * p *\n", "name = \"a\"\nprefixes = [\"10.8.0.0/28\"]",
            "user[0]: 10.8.0.0/28 of user a holds our own address 10.8.0.1 (pool[0].gateway)"),
        UserCase(
            "a * p *\n", "name = \"a\"\nprefixes = [\"10.8.0.128/25\"]",
            "user[0]: 10.8.0.128/25 of user a overlaps the pool range 10.8.0.10-10.8.0.250"),
        UserCase(
            "a * p 192.168.0.9\n", "name = \"b\"\npassword = \"p\"\nprefixes = [\"192.168.0.0/24\"]",
            "192.168.0.9 of user a lies in 192.168.0.0/24 of user b"),
        UserCase(
            "a * p *\nb * p 192.168.0.9\n", "name = \"a\"\nprefixes = [\"192.168.0.0/24\", \"192.168.0.8/30\"]",
            "chap-secrets:2: 192.168.0.9 of user b lies in 192.168.0.8/30 of user a"),
        UserCase("a * p *\n", "name = \"a\"\naddress = \"192.168.0.9\"\nprefixes = [\"192.168.0.0/24\"]", nil),  // its own network
        UserCase("a * p 10.8.0.0/24\n", "", nil),
        UserCase(
            "a * p 172.16.0.0/24\n", "",
            "chap-secrets:1: user a may only have an address in 172.16.0.0/24, and no pool has one there"),
    ])
    func whatUsersHold(sample: UserCase) {
        var whole = Sample()
        whole.files["/etc/causeway/chap-secrets"] = sample.secrets
        if !sample.tables.isEmpty { whole.rest = "[[user]]\n\(sample.tables)\n" }
        guard let message = sample.message else {
            #expect(whole.messages.isEmpty)
            return
        }
        #expect(whole.messages.contains { $0.contains(message) }, "\(whole.messages)")
    }

    /// Two listeners, two tunnels; the second pool and what is appended are the case's.
    private func twoTunnels(secondListener: String, secrets: String = "ann * pw *\n", rest: String = "") -> Sample {
        var sample = secondTunnel { _ in }
        sample.listen += "pool = \"users\"\n[[listen]]\naddress = \"192.0.2.2\"\n\(secondListener)\n"
        sample.pool += "[[pool]]\nname = \"more\"\ngateway = \"10.9.0.1\"\nranges = [\"10.9.1.0/24\"]\n"
        sample.files["/etc/causeway/chap-secrets"] = secrets
        sample.rest = rest
        return sample
    }

    @Test func aPoolHasOneTunnel() {
        #expect(twoTunnels(secondListener: "tunnel = \"aux\"\npool = \"more\"").issues.isEmpty)
        #expect(twoTunnels(secondListener: "tunnel = \"hub\"\npool = \"users\"").issues.isEmpty)
        let messages = twoTunnels(secondListener: "tunnel = \"aux\"\npool = \"users\"").messages
        #expect(messages.count == 1)
        #expect(
            messages[0].contains(
                "listen[1].pool: addresses of pool \"users\" go through tunnel \"hub\" (listen[0]); listen[1] would use"))
    }

    @Test(arguments: [
        UserCase("ann * pw *\n", "name = \"ann\"\ntunnel = \"aux\"\npool = \"more\"", nil),
        UserCase("ann * pw *\n", "name = \"ann\"\ntunnel = \"hub\"\npool = \"users\"", nil),
        UserCase(
            "ann * pw *\n", "name = \"ann\"\ntunnel = \"aux\"\npool = \"users\"", "user ann would use them in tunnel \"aux\""),
        UserCase("ann * pw *\n", "name = \"ann\"\ntunnel = \"aux\"", "user ann would use them in tunnel \"aux\""),
        UserCase("ann * pw *\n", "name = \"ann\"\npool = \"more\"", "user ann would use them in tunnel \"hub\""),
        UserCase(
            "ann * pw 10.77.0.1\n", "",
            "user ann has addresses of their own and could come in for tunnels \"aux\", \"hub\""),
        UserCase("ann * pw 10.77.0.1\n", "name = \"ann\"\ntunnel = \"aux\"", nil),
        UserCase("ann * pw 10.8.0.20\n", "name = \"ann\"\ntunnel = \"aux\"", "user ann would use them in tunnel \"aux\""),
        UserCase("ann * pw 10.8.0.20\n", "name = \"ann\"\ntunnel = \"hub\"", nil),
        UserCase("ann * pw *\n", "name = \"ann\"\nprefixes = [\"192.168.0.0/24\"]", "user ann has addresses of their own"),
    ])
    func everyAddressHasOneTunnel(sample: UserCase) {
        let whole = twoTunnels(
            secondListener: "tunnel = \"aux\"\npool = \"more\"", secrets: sample.secrets,
            rest: sample.tables.isEmpty ? "" : "[[user]]\n\(sample.tables)\n")
        let messages = whole.messages
        guard let message = sample.message else {
            #expect(messages.isEmpty)
            return
        }
        #expect(messages.contains { $0.contains(message) }, "\(messages)")
    }

    @Test func gatewaysOfTwoTunnelsDiffer() {
        var sample = twoTunnels(secondListener: "tunnel = \"aux\"\npool = \"more\"")
        sample.pool = sample.pool.replacing("10.9.0.1", with: "10.8.0.1")
        #expect(sample.issues.map(\.key) == ["pool[1].gateway"])
    }

    @Test func manyUsersAreCheckedQuickly() throws {
        var sample = Sample()
        sample.files["/etc/causeway/chap-secrets"] = (0..<20_000).map {
            "u\($0) * pw 10.\(100 + $0 / 65536).\($0 / 256 % 256).\($0 % 256)\n"
        }.joined()
        let clock = ContinuousClock()
        var count = 0
        let time = try clock.measure { count = try sample.parse().users.entries.count }
        #expect(count == 20_000)
        #expect(time < .seconds(10))
    }

    @Test func timesFitTogether() throws {
        var sample = Sample()
        sample.rest = "[pptp]\nnegotiation-timeout = \"20s\"\n"
        #expect(sample.issues.map(\.key) == ["pptp.negotiation-timeout"])
        sample.rest += "authentication-timeout = \"10s\"\n"
        #expect(sample.issues.isEmpty)
    }

    @Test func lists() {
        var sample = Sample()
        sample.rest = "[ppp]\ndns = [\"10.0.0.1\", \"10.0.0.2\", \"10.0.0.3\"]\nnbns = [\"::1\"]\n[encryption]\nstrengths = []\n"
        #expect(sample.issues.map(\.key) == ["ppp.dns", "ppp.nbns[0]", "encryption.strengths"])
    }

    @Test func weakEncryptionIsAWarning() throws {
        var sample = Sample()
        sample.rest = "[encryption]\nrequired = false\nstrengths = [40, 128, 40]\n"
        let configuration = try sample.parse()
        #expect(configuration.encryption.strengths == [128, 40])
        #expect(configuration.warnings.map(\.key) == ["encryption.required", "encryption.strengths"])
    }
}
