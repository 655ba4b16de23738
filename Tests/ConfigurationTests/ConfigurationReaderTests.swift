import Addresses
import Authentication
import Testing

@testable import Settings

@Suite struct ConfigurationReaderTests {
    @Test func theSampleIsRight() throws {
        let configuration = try Sample().parse()
        #expect(configuration.listeners == [.init(address: IPAddress("192.0.2.1")!, port: 1723, tunnel: "hub", pool: "users")])
        #expect(configuration.pools[0].ranges.map(\.description) == ["10.8.0.10-10.8.0.250"])
        let tunnel = configuration.tunnels[0]
        #expect(tunnel.privateKey?.count == 32)
        #expect(tunnel.peers[0].primary.endpoints.map(\.description) == ["hub.example.org:51820"])
        #expect(tunnel.peers[0].persistentKeepalive == 25)
        #expect((52000..<53000).contains(tunnel.table))
        #expect(configuration.users.entry(userName: Array("ann".utf8), serverName: "causeway") != nil)
        #expect(configuration.warnings.isEmpty)
        #expect(configuration.pptp == CausewayConfiguration.PPTP())
    }

    struct Wrong: Sendable {
        var section: String
        var key: String
        var value: String
        var found: String?

        init(_ section: String, _ key: String, _ value: String, found: String? = nil) {
            self.section = section
            self.key = key
            self.value = value
            self.found = found
        }
    }

    /// Values outside what each key takes, at the end of the file, where the line is known.
    @Test(arguments: [
        Wrong("control", "socket", "\"relative\""),
        Wrong("control", "socket", "\"/\(String(repeating: "x", count: 107))\"", found: ""),
        Wrong("pptp", "host-name", "\"two words\""), Wrong("pptp", "host-name", "\"\""), Wrong("pptp", "host-name", "7"),
        Wrong("pptp", "max-connections", "0"), Wrong("pptp", "max-connections", "65536"),
        Wrong("pptp", "max-connections", "\"9\""),
        Wrong("pptp", "max-connections-per-source", "0"), Wrong("pptp", "max-half-open", "-1"),
        Wrong("pptp", "max-half-open", "1.5"),
        Wrong("pptp", "max-half-open-per-source", "true"), Wrong("pptp", "connects-per-second-per-source", "0"),
        Wrong("pptp", "max-calls-per-connection", "0"), Wrong("pptp", "max-unauthenticated", "0"),
        Wrong("pptp", "max-unauthenticated-per-source", "0"), Wrong("pptp", "start-timeout", "\"0s\""),
        Wrong("pptp", "authentication-timeout", "\"11m\""), Wrong("pptp", "negotiation-timeout", "\"soon\""),
        Wrong("pptp", "echo-interval", "0"), Wrong("pptp", "echo-timeout", "\"2h\""),
        Wrong("pptp", "idle-connection-timeout", "-1"),
        Wrong("pptp", "stop-timeout", "61"),
        Wrong("pptp", "allowed-sources", "\"192.0.2.0/24\""), Wrong("pptp", "blocked-sources", "7"),
        Wrong("data-path", "gre", "\"dpdk\""), Wrong("data-path", "gre", "true"),
        Wrong("ppp", "mru", "575"), Wrong("ppp", "mru", "1457"), Wrong("ppp", "mtu", "0"),
        Wrong("ppp", "echo-interval", "\"61m\""),
        Wrong("ppp", "echo-failures", "0"), Wrong("ppp", "dns", "\"10.0.0.1\""), Wrong("ppp", "nbns", "7"),
        Wrong("ppp", "rechallenge-interval", "\"25h\""),
        Wrong("encryption", "required", "\"yes\""), Wrong("encryption", "strengths", "128"), Wrong("encryption", "stateful", "1"),
        Wrong("authentication", "secrets", "\"/etc/chap-secrets\""), Wrong("authentication", "server-name", "\"\""),
        Wrong("authentication", "max-retries", "21"), Wrong("authentication", "when-connected", "\"Replace\""),
        Wrong("authentication", "lockout-failures", "-1"), Wrong("authentication", "lockout-time", "0"),
        Wrong("data-path", "interface", "\"sixteen-chars-xx\""), Wrong("data-path", "interface", "\"a/b\""),
        Wrong("data-path", "interface", "\"..\""), Wrong("data-path", "return-table", "254"),
        Wrong("data-path", "return-table", "0"),
        Wrong("data-path", "rule-priority", "32766"), Wrong("data-path", "workers", "65"), Wrong("data-path", "batch", "257"),
        Wrong("data-path", "reorder-packets", "257"), Wrong("data-path", "reorder-time", "2"),
        Wrong("data-path", "ack-delay", "0"),
        Wrong("data-path", "poll-microseconds", "1001"),
        Wrong("data-path", "max-sessions", "65536"), Wrong("data-path", "allow-user-to-user", "0"),
        Wrong("data-path", "allow-gateway", "\"no\""), Wrong("data-path", "allow-address-change", "[]", found: "an empty array"),
    ])
    func wrongValues(wrong: Wrong) {
        var sample = Sample()
        sample.rest = "[\(wrong.section)]\n\(wrong.key) = \(wrong.value)\n"
        let line = sample.text.split(separator: "\n", omittingEmptySubsequences: false).count - 1
        let issues = sample.issues
        #expect(issues.count == 1, "\(issues)")
        #expect(issues.first?.key == "\(wrong.section).\(wrong.key)")
        #expect(issues.first?.line == line)
        #expect(issues.first?.message.hasPrefix("expected ") == true)
        #expect(issues.first?.message.hasSuffix("found " + (wrong.found ?? wrong.value)) == true || wrong.found == "")
    }

    @Test func outerSources() throws {
        var sample = Sample()
        sample.rest = "[pptp]\nallowed-sources = [\"192.0.2.0/24\", \"198.51.100.7/32\"]\nblocked-sources = [\"192.0.2.9/32\"]\n"
        let pptp = try sample.parse().pptp
        let expected = ["192.0.2.0": true, "192.0.2.9": false, "198.51.100.7": true, "198.51.100.8": false, "10.0.0.1": false]
        for (source, admitted) in expected { #expect(pptp.admits(IPAddress(source)!) == admitted, "\(source)") }
        sample.rest = "[pptp]\nblocked-sources = [\"192.0.2.0/24\"]\n"
        #expect(try sample.parse().pptp.admits(IPAddress("10.0.0.1")!))
        #expect(try !sample.parse().pptp.admits(IPAddress("192.0.2.1")!))
        for wrong in ["192.0.2.1", "192.0.2.1/24", "2001:db8::/32", "all"] {
            sample.rest = "[pptp]\nblocked-sources = [\"\(wrong)\"]\n"
            #expect(sample.messages.count == 1 && sample.messages[0].contains("expected an IPv4 network"), "\(wrong)")
        }
        func many(_ count: Int) -> String { (0..<count).map { "\"10.\($0 / 256).\($0 % 256).0/24\"" }.joined(separator: ",") }
        sample.rest = "[pptp]\nallowed-sources = [\(many(1000))]\nblocked-sources = [\(many(24))]\n"
        #expect(sample.messages == [])
        sample.rest = "[pptp]\nallowed-sources = [\(many(1000))]\nblocked-sources = [\(many(25))]\n"
        #expect(sample.messages.count == 1 && sample.messages[0].contains("at most 1024 networks in both lists, found 1025"))
    }

    @Test(arguments: CausewayConfiguration.DataPath.GRE.allCases) func greBackends(_ gre: CausewayConfiguration.DataPath.GRE) throws {
        var sample = Sample()
        #expect(try sample.parse().dataPath.gre == .raw)
        sample.rest = "[data-path]\ngre = \"\(gre.rawValue)\"\n"
        #expect(try sample.parse().dataPath.gre == gre)
    }

    @Test(arguments: [
        ("instance", "\"\""), ("instance", "\"Main\""), ("instance", "\"seventeen-letters\""), ("run-as", "\"a b\""),
        ("run-as", "\"-x\""),
        ("log-level", "\"verbose\""), ("state-directory", "\"var/lib\""), ("log-format", "\"xml\""), ("control", "7"), ("pptp", "\"x\""), ("user", "\"causeway\""),
    ])
    func wrongTopLevelValues(key: String, value: String) {
        var sample = Sample()
        sample.top = "\(key) = \(value)\n"
        #expect(sample.issues.map(\.key) == [key])
        #expect(sample.issues.map(\.line) == [1])
    }

    @Test func topLevelValues() throws {
        var sample = Sample()
        sample.top = "instance = \"a-1\"\nrun-as = \"daemon\"\nlog-level = \"debug\"\nlog-format = \"json\"\n"
        let configuration = try sample.parse()
        #expect(configuration.instance == "a-1")
        #expect(configuration.user == "daemon")
        #expect(configuration.logLevel == .debug)
        #expect(configuration.logFormat == .json)
    }

    @Test func theDatabaseIsInTheStateDirectory() throws {
        var sample = Sample()
        sample.top = "state-directory = \"/s\"\n"
        #expect(try sample.parse().storePath == "/s/causeway.db")
        let usual = try sample.parse()
        sample.rest = "[store]\npath = \"/s/causeway.db\"\n"
        #expect(try sample.parse() == usual)
        sample.rest = "[store]\npath = \"/elsewhere/x.db\"\nenabled = false\n[migration]\nquiet-days = 0\nretire-after-days = 30\n"
        let configuration = try sample.parse()
        #expect(configuration.storePath == "/elsewhere/x.db" && !configuration.store.enabled)
        #expect(configuration.migration == .init(quietDays: 0, retireAfterDays: 30))
    }

    @Test func whatIsKeptHowLong() throws {
        var sample = Sample()
        #expect(try sample.parse().store == .init(enabled: true, path: nil, retainSessions: 730, retainTraffic: 730, retainEvents: 730))
        sample.rest = "[store]\nretain-sessions = 1\nretain-traffic = 0\nretain-events = 36500\n"
        #expect(try sample.parse().store == .init(retainSessions: 1, retainTraffic: 0, retainEvents: 36500))
    }

    @Test(arguments: [
        ("store", "path", "\"x.db\""), ("store", "enabled", "1"), ("migration", "quiet-days", "366"), ("migration", "quiet-days", "-1"),
        ("migration", "retire-after-days", "3651"), ("store", "retain-sessions", "-1"), ("store", "retain-traffic", "36501"),
        ("store", "retain-events", "\"1y\""),
    ])
    func wrongValuesOfTheStore(_ section: String, _ key: String, _ value: String) {
        var sample = Sample()
        sample.rest = "[\(section)]\n\(key) = \(value)\n"
        #expect(sample.issues.map(\.key) == ["\(section).\(key)"])
    }

    @Test func unknownKeys() {
        var sample = Sample()
        sample.top = "instnace = \"x\"\n"
        sample.rest = "[ppp]\nmru = 1400\nmtuu = 1\ncolour = 3\n[colours]\n"
        let messages = sample.messages
        #expect(messages.count == 4)
        #expect(messages[0] == "causeway.toml:1: instnace: unknown key; did you mean \"instance\"?")
        #expect(messages.contains { $0.hasSuffix("ppp.mtuu: unknown key; did you mean \"mtu\"?") })
        #expect(messages.contains { $0.contains("ppp.colour: unknown key; expected one of dns, echo-failures, ") })
        #expect(messages.contains { $0.contains(": colours: unknown key; ") })
    }

    @Test func everythingWrongIsReportedInOrder() {
        var sample = Sample()
        sample.top = "instance = \"\"\n"
        sample.pool = "[[pool]]\ngateway = \"10.8.0.1\"\nranges = [\"x\", \"10.8.0.9-10.8.0.2\"]\n"
        sample.tunnel += "mtu = 1\n"
        sample.files["/etc/causeway/chap-secrets"] = "ann\nbob * p !x\n"
        let issues = sample.issues
        #expect(
            issues.compactMap(\.key) == [
                "instance", "listen[0].pool", "pool[0].name", "pool[0].ranges[0]", "pool[0].ranges[1]", "tunnel[0].mtu",
            ])
        #expect(issues.suffix(2).map(\.file) == ["/etc/causeway/chap-secrets", "/etc/causeway/chap-secrets"])
        #expect(issues.suffix(2).map(\.line) == [1, 2])
    }

    @Test func syntaxErrorsNameTheLine() {
        var sample = Sample()
        sample.top = "a = 1\nb = = 2\n"
        #expect(sample.issues.map(\.line) == [2])
        #expect(sample.issues[0].message.hasPrefix("not valid TOML: "))
        sample.top = "a = 1\na = 2\n"
        #expect(sample.issues.map(\.line) == [2])
    }

    // ---- Listeners, pools ----

    @Test(arguments: [
        ("address = \"example.org\"", "listen[0].address"), ("", "listen[0].address"),
        ("address = \"192.0.2.1\"\nport = 0", "listen[0].port"),
        ("address = \"192.0.2.1\"\npool = \"x\"", "listen[0].pool"), ("address = \"192.0.2.1\"\ntunnel = 7", "listen[0].tunnel"),
        ("address = \"192.0.2.1\"\nprot = 1", "listen[0].prot"), ("address = \"224.0.0.1\"", "listen[0].address"),
    ])
    func wrongListeners(lines: String, key: String) {
        var sample = Sample()
        sample.listen = "[[listen]]\n\(lines)\n"
        #expect(sample.issues.map(\.key) == [key])
    }

    @Test func namesAreNeededOnceThereAreTwo() throws {
        var sample = Sample()
        sample.pool += "[[pool]]\nname = \"other\"\ngateway = \"10.9.0.1\"\nranges = [\"10.9.1.0/24\"]\n"
        #expect(sample.messages == ["causeway.toml:1: listen[0].pool: expected one of \"users\", \"other\", found no such key"])
        sample.listen += "pool = \"other\"\n"
        #expect(try sample.parse().listeners[0].pool == "other")
    }

    @Test(arguments: [
        ("gateway = \"10.8.0.1\"\nranges = []", "pool[0].name"), ("name = \"u\"\nranges = []", "pool[0].gateway"),
        ("name = \"u\"\ngateway = \"10.8.0.1\"", "pool[0].ranges"),
        ("name = \"u\"\ngateway = \"::1\"\nranges = []", "pool[0].gateway"),
        ("name = \"u\"\ngateway = \"127.0.0.1\"\nranges = []", "pool[0].gateway"),
        ("name = \"u\"\ngateway = \"10.8.0.1\"\nranges = [\"2001:db8::/64\"]", "pool[0].ranges[0]"),
        ("name = \"u\"\ngateway = \"10.8.0.1\"\nranges = [\"10.8.0.1/24\"]", "pool[0].ranges[0]"),
    ])
    func wrongPools(lines: String, key: String) {
        var sample = Sample()
        sample.pool = "[[pool]]\n\(lines)\n"
        #expect(sample.issues.map(\.key).contains(key))
    }

    @Test func ranges() {
        #expect(AddressRange("10.0.0.0/24")?.description == "10.0.0.1-10.0.0.254")
        #expect(AddressRange("10.0.0.0/31")?.description == "10.0.0.0-10.0.0.1")
        #expect(AddressRange("10.0.0.7")?.description == "10.0.0.7")
        #expect(AddressRange("10.0.0.1 - 10.0.0.9")?.description == "10.0.0.1-10.0.0.9")
        for wrong in ["", "-", "10.0.0.9-10.0.0.1", "10.0.0.1-::1", "10.0.0.1-2", "10.0.0.1/24"] {
            #expect(AddressRange(wrong) == nil)
        }
    }

    // ---- Users ----

    @Test(arguments: [
        ("password = \"x\"", "user[0].name"), ("name = \"\"\npassword = \"x\"", "user[0].name"),
        ("name = \"u\"\npassword = \"\"", "user[0].password"),
        ("name = \"u\"\npassword = 12345", "user[0].password"), ("name = \"u\"\nnt-hash = \"12\"", "user[0].nt-hash"),
        ("name = \"u\"\npassword = \"x\"\nnt-hash = \"44EBBA8D5312B8D611474411F56989AE\"", "user[0].nt-hash"),
        ("name = \"u\"\npassword = \"x\"\naddress = \"10.8.0.300\"", "user[0].address"),
        ("name = \"u\"\npassword = \"x\"\nprefixes = [\"10.1.0.1/24\"]", "user[0].prefixes[0]"),
        ("name = \"u\"\npassword = \"x\"\nprefixes = [\"0.0.0.0/0\"]", "user[0].prefixes[0]"),
        ("name = \"u\"\npassword = \"x\"\npool = \"y\"", "user[0].pool"),
        ("name = \"u\"\npassword = \"x\"\ntunnel = \"y\"", "user[0].tunnel"),
        ("name = \"u\"\npassword = \"x\"\nrate = 1", "user[0].rate"), ("name = \"u\"\npassword = \"x\"\ngroup = \"a b\"", "user[0].group"),
        ("name = \"u\"\npasword = \"x\"\npassword = \"y\"", "user[0].pasword"),
    ])
    func wrongUsers(lines: String, key: String) {
        var sample = Sample()
        sample.rest = "[[user]]\n\(lines)\n"
        #expect(sample.issues.map(\.key) == [key])
        #expect(!sample.messages[0].contains("12345"))
    }

    @Test func tooManyPrefixes() {
        var sample = Sample()
        let prefixes = (0..<32).map { "\"10.100.\($0).0/24\"" }.joined(separator: ", ")
        sample.rest = "[[user]]\nname = \"u\"\npassword = \"x\"\nprefixes = [\(prefixes)]\n"
        #expect(sample.issues.map(\.key) == ["user[0].prefixes"])
    }

    @Test func userValues() throws {
        var sample = Sample()
        sample.rest = """
            [[user]]
            name = "site"
            nt-hash = "44ebba8d5312b8d611474411f56989ae"
            address = "10.8.0.20"
            prefixes = ["192.168.7.0/24"]
            pool = "users"
            tunnel = "hub"
            rate = 2000
            group = "tills"

            """
        let user = try #require(try sample.parse().users.entry(userName: Array("site".utf8), serverName: "x"))
        #expect(user.ntHashes == [MSCHAPv2.ntHash(password: Secret(utf8: "clientPass"))])
        #expect(
            user.attributes
                == UserAttributes(
                    address: .fixed(IPAddress("10.8.0.20")!), prefixes: [IPPrefix("192.168.7.0/24")!], pool: "users",
                    tunnel: "hub", rate: 2000, group: "tills"))
        #expect(user.origin == .init(file: "causeway.toml", line: 15))
    }

    @Test func aUserTableAddsToTheSecretsFile() throws {
        var sample = Sample()
        sample.files["/etc/causeway/chap-secrets"] = "ann vpn pw 10.8.0.30\nann * pw *\n"
        sample.rest = "[[user]]\nname = \"ann\"\nprefixes = [\"192.168.7.0/24\"]\nrate = 100\n"
        let users = try sample.parse().users
        let named = try #require(users.entry(userName: Array("ann".utf8), serverName: "vpn"))
        #expect(named.attributes.staticAddress == IPAddress("10.8.0.30"))
        #expect(named.attributes.prefixes.count == 1 && named.attributes.rate == 100)
        #expect(users.entry(userName: Array("ann".utf8), serverName: "x")?.attributes.address == .any)
        sample.rest += "address = \"10.8.0.31\"\n"
        #expect(
            try sample.parse().users.entries.map(\.attributes.staticAddress) == [IPAddress("10.8.0.31"), IPAddress("10.8.0.31")])
    }

    @Test func usersWithoutOrWithTwoPasswords() {
        var sample = Sample()
        sample.rest =
            "[[user]]\nname = \"zoe\"\n[[user]]\nname = \"ann\"\npassword = \"x\"\n[[user]]\nname = \"ann\"\npassword = \"x\"\n"
        let messages = sample.messages
        #expect(messages.contains { $0.contains("user[0]: user \"zoe\" has no password") })
        #expect(messages.contains { $0.contains("user[1]: user \"ann\" has another password in /etc/causeway/chap-secrets:1") })
        #expect(messages.contains { $0.contains("user[2].name: another user is called \"ann\" already") })
    }

    @Test func theDefaultSecretsFileMayBeMissing() throws {
        var sample = Sample()
        sample.files["/etc/causeway/chap-secrets"] = nil
        #expect(sample.messages == ["causeway.toml: authentication.secrets[0]: /etc/causeway/chap-secrets: does not exist"])
        sample.rest = "[[user]]\nname = \"u\"\npassword = \"x\"\n"
        #expect(try sample.parse().users.entries.count == 1)
        sample.rest += "[authentication]\nsecrets = [\"/etc/causeway/chap-secrets\"]\n"
        #expect(sample.issues.count == 1)
        sample.rest = sample.rest.replacing("[\"/etc/causeway/chap-secrets\"]", with: "[]")
        #expect(try sample.parse().users.entries.count == 1)
    }

    @Test func severalSecretsFiles() throws {
        var sample = Sample()
        sample.files["/a"] = "ann * one *\n"
        sample.files["/b"] = "ann * two *\nbob * @/c 10.8.0.9\n"
        sample.files["/c"] = "three"
        sample.rest = "[authentication]\nsecrets = [\"/a\", \"/b\"]\n"
        let users = try sample.parse().users
        #expect(users.entry(userName: Array("ann".utf8), serverName: "x")?.origin.file == "/a")
        #expect(
            users.entry(userName: Array("bob".utf8), serverName: "x")?.ntHashes == [
                MSCHAPv2.ntHash(password: Secret(utf8: "three"))
            ])
        sample.rest = "[authentication]\nsecrets = [\"/a\", \"/a\"]\n"
        #expect(sample.issues.map(\.key) == ["authentication.secrets[1]"])
    }

    @Test func passwordsNeedAProtectedFile() throws {
        var sample = Sample()
        sample.exposure = FileIssue(
            file: "causeway.toml", message: "is open to every user of this host; run: chmod 640 causeway.toml")
        #expect(sample.issues.isEmpty)
        sample.rest = "[[user]]\nname = \"u\"\npassword = \"x\"\n"
        #expect(
            sample.messages == [
                "causeway.toml:15: user[0]: this file holds a password, but it is open to every user of this host; run: chmod 640 causeway.toml"
            ])
    }

    @Test func warningsOfSecretsFilesComeThrough() throws {
        var sample = Sample()
        sample.files["/etc/causeway/chap-secrets"] = "ann * pw\n"
        #expect(try sample.parse().warnings.map(\.line) == [1])
        sample.files["/etc/causeway/chap-secrets"] = "# nobody\n"
        #expect(try sample.parse().warnings.map(\.message) == ["there are no users: nobody can log in"])
    }
}
