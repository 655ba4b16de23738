import Addresses
import Authentication
import DataPath
import PPP
import PPTP
import SessionMapper
import Testing

@testable import Gateway
@testable import Settings

@Suite struct ConfigurationMappingTests {
    // MARK: Ranges

    static func addresses(_ prefix: IPPrefix) -> [IPAddress] {
        var all = [prefix.first]
        while let last = all.last, last != prefix.last { all.append(last.advanced(by: 1)!) }
        return all
    }

    /// Exactly the range, in order, each address once, and no two neighbours that would be one prefix.
    static func check(_ range: AddressRange) {
        let prefixes = range.prefixes
        #expect(prefixes.first?.first == range.first)
        #expect(prefixes.last?.last == range.last)
        for (left, right) in zip(prefixes, prefixes.dropFirst()) {
            #expect(left.last.advanced(by: 1) == right.first, "\(range): \(left), \(right)")
            let joined = IPPrefix(containing: left.first, length: left.length - 1)!
            #expect(!(left.length == right.length && joined.contains(right)), "\(range): \(left) and \(right) are \(joined)")
        }
    }

    @Test func rangesAreCoveredExactly() {
        var generator = Seeded(state: 42)
        for _ in 0..<2000 {
            let first = IPAddress(v4: UInt32.random(in: .min ... .max, using: &generator))
            let span = UInt32.random(in: 0...(1 << UInt32.random(in: 0...24, using: &generator)), using: &generator)
            let last = IPAddress(v4: first.v4!.addingReportingOverflow(span).overflow ? .max : first.v4! + span)
            Self.check(AddressRange(first: first, last: last)!)
        }
        for _ in 0..<500 {
            let low = UInt64.random(in: .min ... .max, using: &generator)
            let span = UInt64.random(in: 0...(1 << UInt64.random(in: 0...60, using: &generator)), using: &generator)
            let high = low.addingReportingOverflow(span).overflow ? .max : low + span
            func address(_ value: UInt64) -> IPAddress {
                IPAddress(bytes: [0xFD, 0, 0, 0, 0, 0, 0, 1] + (0..<8).map { UInt8(truncatingIfNeeded: value >> (56 - 8 * $0)) })!
            }
            Self.check(AddressRange(first: address(low), last: address(high))!)
        }
    }

    /// Every address of small ranges, one by one.
    @Test func smallRangesAddressByAddress() {
        for start in 0..<32 {
            for count in 0..<40 {
                let first = IPAddress("10.0.0.0")!.advanced(by: start)!
                let range = AddressRange(first: first, last: first.advanced(by: count)!)!
                let expected = (0...count).map { first.advanced(by: $0)! }
                #expect(range.prefixes.flatMap(Self.addresses) == expected, "\(range)")
            }
        }
    }

    @Test func theEdgesOfTheAddressSpace() {
        #expect(AddressRange(first: IPAddress("0.0.0.0")!, last: IPAddress("255.255.255.255")!)!.prefixes == [IPPrefix("0.0.0.0/0")!])
        #expect(
            AddressRange(first: IPAddress("255.255.255.254")!, last: IPAddress("255.255.255.255")!)!.prefixes
                == [IPPrefix("255.255.255.254/31")!])
        #expect(AddressRange(first: IPAddress("::")!, last: IPAddress("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff")!)!.prefixes == [IPPrefix("::/0")!])
        #expect(AddressRange("10.8.0.10-10.8.0.10")!.prefixes == [IPPrefix("10.8.0.10/32")!])
        #expect(
            AddressRange("10.9.0.0/29")!.prefixes.map(\.description) == ["10.9.0.1/32", "10.9.0.2/31", "10.9.0.4/31", "10.9.0.6/32"])
    }

    // MARK: What may enter a tunnel

    static let twoTunnels = """
        [[listen]]
        address = "127.0.0.2"
        tunnel = "one"
        pool = "a"
        [[listen]]
        address = "127.0.0.3"
        tunnel = "two"
        pool = "b"
        [[pool]]
        name = "a"
        gateway = "10.8.0.1"
        ranges = ["10.8.0.8-10.8.0.15"]
        [[pool]]
        name = "b"
        gateway = "10.9.0.1"
        ranges = ["10.9.0.16-10.9.0.31", "10.9.0.64-10.9.0.64"]
        [[pool]]
        name = "c"
        gateway = "10.10.0.1"
        ranges = ["10.10.0.4-10.10.0.7"]
        [[tunnel]]
        name = "one"
        interface = "cw-one"
        private-key-file = "/key"
        [[tunnel.peer]]
        public-key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
        allowed-ips = ["0.0.0.0/0"]
        [[tunnel]]
        name = "two"
        interface = "cw-two"
        private-key-file = "/key"
        [[tunnel.peer]]
        public-key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
        allowed-ips = ["0.0.0.0/0"]
        [[tunnel]]
        name = "three"
        interface = "cw-three"
        private-key-file = "/key"
        [[tunnel.peer]]
        public-key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
        allowed-ips = ["0.0.0.0/0"]

        """

    static func user(_ name: String, _ rest: String) -> String { "[[user]]\nname = \"\(name)\"\npassword = \"pw\"\n\(rest)\n" }

    func prefixes(_ tunnel: String, _ users: String) throws -> [String] {
        try sample(Self.twoTunnels + users).innerPrefixes(ofTunnel: tunnel).map(\.description)
    }

    @Test func poolsOfAListenerEnterItsTunnel() throws {
        #expect(try prefixes("one", "") == ["10.8.0.1/32", "10.8.0.8/29"])
        #expect(try prefixes("two", "") == ["10.9.0.1/32", "10.9.0.16/28", "10.9.0.64/32"])
        #expect(try prefixes("three", "").isEmpty)
    }

    @Test func aUsersNetworksEnterTheTunnelOfTheirEntry() throws {
        let site = Self.user("site", "tunnel = \"two\"\naddress = \"10.8.1.5\"\nprefixes = [\"192.168.5.0/24\"]")
        #expect(try prefixes("two", site) == ["10.8.1.5/32", "10.9.0.1/32", "10.9.0.16/28", "10.9.0.64/32", "192.168.5.0/24"])
        #expect(try prefixes("one", site) == ["10.8.0.1/32", "10.8.0.8/29"])
        // A tunnel that no listener leads to, and a pool that no listener draws from.
        let bound = Self.user("site", "tunnel = \"three\"\npool = \"c\"\nprefixes = [\"192.168.5.0/24\"]")
        #expect(try prefixes("three", bound) == ["10.10.0.1/32", "10.10.0.4/30", "192.168.5.0/24"])
        #expect(try prefixes("one", bound) == ["10.8.0.1/32", "10.8.0.8/29"])
    }

    /// Users who name no tunnel go where their listener leads.
    @Test func usersOfTheOnlyListener() throws {
        let site = Self.user("site", "prefixes = [\"192.168.5.0/24\"]") + Self.user("far", "address = \"10.8.1.5\"")
        let found = try sample(site).innerPrefixes(ofTunnel: "hub").map(\.description)
        #expect(found == ["10.8.0.1/32", "10.8.0.10/31", "10.8.0.12/30", "10.8.0.16/30", "10.8.1.5/32", "192.168.5.0/24"])
    }

    /// What lies inside another prefix needs no rule of its own.
    @Test func coveredPrefixesAreLeftOut() throws {
        let inside = Self.user("till", "tunnel = \"one\"\naddress = \"10.8.0.9\"")
        #expect(try prefixes("one", inside) == ["10.8.0.1/32", "10.8.0.8/29"])
    }

    @Test func staticAddressesAndNetworksAreReserved() throws {
        let configuration = try sample(
            Self.user("till", "address = \"10.8.0.11\"") + Self.user("any", "")
                + Self.user("site", "prefixes = [\"192.168.5.0/24\", \"192.168.7.0/24\"]"))
        let reserved = Dictionary(uniqueKeysWithValues: configuration.reservations.map { ($0.user, $0.prefixes.map(\.description)) })
        #expect(reserved == ["till": ["10.8.0.11/32"], "site": ["192.168.5.0/24", "192.168.7.0/24"]])
    }

    @Test func pools() throws {
        let pools = try sample(Self.twoTunnels).addressPools
        #expect(pools.map(\.name) == ["a", "b", "c"])
        #expect(pools.map(\.gateway.description) == ["10.8.0.1", "10.9.0.1", "10.10.0.1"])
        #expect(pools.map(\.freeCount) == [8, 17, 4])
    }

    // MARK: Limits and deadlines

    /// Every number of its own, so that no two keys can be mixed up.
    static let numbers = """
        [pptp]
        host-name = "gate"
        max-connections = 1001
        max-connections-per-source = 102
        max-half-open = 103
        max-half-open-per-source = 14
        connects-per-second-per-source = 15
        max-calls-per-connection = 16
        max-unauthenticated = 107
        max-unauthenticated-per-source = 18
        start-timeout = "21s"
        authentication-timeout = "22s"
        negotiation-timeout = "23s"
        echo-interval = "24s"
        echo-timeout = "25s"
        idle-connection-timeout = "26s"
        stop-timeout = "7s"
        [ppp]
        mru = 1410
        mtu = 1300
        echo-interval = "31s"
        echo-failures = 5
        dns = ["10.8.0.53"]
        rechallenge-interval = "600s"
        [encryption]
        required = false
        strengths = [128, 56, 40]
        stateful = true
        [data-path]
        interface = "cwtun"
        workers = 3
        pin = false
        poll-microseconds = 66
        batch = 17
        reorder-packets = 33
        reorder-time = "44ms"
        ack-delay = "55ms"
        max-sessions = 777
        allow-user-to-user = true
        allow-gateway = true

        """

    @Test func admission() throws {
        let limits = try sample(Self.numbers, authentication: "max-retries = 4\nserver-name = \"gw\"").admission
        #expect(limits.connections == 1001)
        #expect(limits.connectionsPerSource == 102)
        #expect(limits.halfOpen == 103)
        #expect(limits.halfOpenPerSource == 14)
        #expect(limits.calls == 777)
        #expect(limits.callsPerConnection == 16)
        // Many users behind one NAT are one source.
        #expect(limits.callsPerSource == 777)
        #expect(limits.unauthenticated == 107)
        #expect(limits.unauthenticatedPerSource == 18)
        #expect(limits.attemptsPerSecondPerSource == 15)
        #expect(limits.attemptBurstPerSource == 30)
    }

    @Test func control() throws {
        let control = try sample(Self.numbers).control
        #expect(control.hostName == "gate")
        #expect(control.maximumCalls == 16)
        #expect(control.startTimeout == .seconds(21))
        #expect(control.echoInterval == .seconds(24))
        #expect(control.echoTimeout == .seconds(25))
        #expect(control.idleTimeout == .seconds(26))
        #expect(control.stopTimeout == .seconds(7))
    }

    @Test func link() throws {
        let link = try sample(Self.numbers, authentication: "max-retries = 4\nserver-name = \"gw\"").link
        #expect(link.role == .server)
        #expect(link.authentication == [.msCHAPv2])
        #expect(link.lcp.mru == 1410)
        #expect(link.challengeName == "gw")
        // The first attempt and the retries.
        #expect(link.authenticationAttempts == 5)
        #expect(link.rechallengeInterval == .seconds(600))
        #expect(link.echoInterval == .seconds(31))
        #expect(link.echoFailures == 5)
        #expect(link.authenticationTimeout == .seconds(22))
        #expect(link.negotiationTimeout == .seconds(23))
        #expect(link.encryption.mode == .optional)
        #expect(link.encryption.strengths == [.bits128, .bits56, .bits40])
        #expect(link.encryption.allowsStateful)
    }

    @Test func withoutEchoOrRechallenge() throws {
        let link = try sample("[ppp]\necho-interval = 0\nrechallenge-interval = 0\n").link
        #expect(link.echoInterval == nil)
        #expect(link.rechallengeInterval == nil)
        #expect(link.encryption.mode == .required)
        #expect(link.encryption.strengths == [.bits128])
        #expect(!link.encryption.allowsStateful)
    }

    @Test(arguments: [(128, MPPEStrengths.bits128), (56, .bits56), (40, .bits40)])
    func eachStrength(_ bits: Int, _ strength: MPPEStrengths) throws {
        #expect(try sample("[encryption]\nstrengths = [\(bits)]\n").link.encryption.strengths == strength)
    }

    @Test func engine() throws {
        let engine = try sample(Self.numbers).engine(["hub": .kernel])
        #expect(engine.role == .gateway)
        #expect(engine.interface == "cwtun")
        #expect(engine.workers == 3)
        #expect(!engine.pinWorkers)
        #expect(engine.pollMicroseconds == 66)
        #expect(engine.batchSize == 17)
        #expect(engine.reorderPackets == 33)
        #expect(engine.reorderMicroseconds == 44_000)
        #expect(engine.acknowledgeMicroseconds == 55_000)
        #expect(engine.sessionCapacity >= 777 + 128)
        #expect(engine.allowUserToUser)
        #expect(engine.allowLocalDestinations)
        let other = try sample("").engine(["hub": .kernel])
        #expect((1...64).contains(other.workers))
        #expect(other.pinWorkers && other.pollMicroseconds == 20)
        #expect(!other.allowUserToUser)
        #expect(!other.allowLocalDestinations)
    }

    /// Handles of the data path are 16 bits.
    @Test func theCapacityHasACeiling() throws {
        #expect(try sample("[data-path]\nmax-sessions = 65000\n").engine(["hub": .kernel]).sessionCapacity <= 65_535)
    }

    /// Without a tunnel of the kernel's there is no TUN; without an embedded one or native users, no WireGuard engine.
    @Test func whatTheDataPathIsGiven() throws {
        let kernel = try sample(Self.numbers).engine(["hub": .kernel]), embedded = try sample(Self.numbers).engine(["hub": .embedded])
        #expect(kernel.interface == "cwtun" && kernel.wireGuard == nil)
        #expect(embedded.interface == nil)
        #expect(try #require(embedded.wireGuard).identityCapacity >= 2 * 777)
        #expect(try #require(embedded.wireGuard).peerCapacity > (try #require(embedded.wireGuard).identityCapacity))
        let both = try sample(Self.numbers).engine(["hub": .kernel, "other": .embedded])
        #expect(both.interface == "cwtun" && both.wireGuard != nil)
        let native = try sample(Self.access).engine(["hub": .kernel])
        #expect(native.interface == "causeway0" && native.wireGuard != nil)
    }

    static let access = """
        [access]
        private-key-file = "/access"
        [[access.peer]]
        user = "eve"
        public-key = "fZVl0GPtNPQfHH8AMbpJEIbYUbKOOXZ53hkK51Bjmnc="
        address = "10.8.0.9"
        prefixes = ["192.168.9.0/24"]

        """

    @Test func durations() {
        #expect(Duration.milliseconds(1500).microseconds == 1_500_000)
        #expect(Duration.microseconds(7).microseconds == 7)
        #expect(Duration.zero.microseconds == 0)
        #expect(Duration.milliseconds(250).seconds == 0.25)
        #expect(Duration.seconds(3).seconds == 3)
    }
}

/// Numbers that are the same in every run (SplitMix64).
struct Seeded: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// A configuration from its text; the sections that every one needs are added where they are missing.
func sample(_ text: String, authentication: String = "", secrets: String = "") throws -> CausewayConfiguration {
    var whole = text
    if !text.contains("[[listen]]") {
        whole += """

            [[listen]]
            address = "127.0.0.2"
            [[pool]]
            name = "users"
            gateway = "10.8.0.1"
            ranges = ["10.8.0.10-10.8.0.19"]
            [[tunnel]]
            name = "hub"
            interface = "cw-hub"
            private-key-file = "/key"
            [[tunnel.peer]]
            public-key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
            allowed-ips = ["0.0.0.0/0"]

            """
    }
    whole += "\n[authentication]\nsecrets = [\(secrets.isEmpty ? "" : "\"/secrets\"")]\n\(authentication)\n"
    let files = [
        "/key": "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=\n", "/access": "KDm7oRhpLgjlkMXuOoJZJGAhRUXrVScFmkgZI3K0jFo=\n", "/secrets": secrets,
    ]
    return try CausewayConfiguration.parse(whole, file: "causeway.toml") { path, _ throws(FileIssue) in
        guard let contents = files[path] else { throw FileIssue(file: path, message: "does not exist", kind: .missing) }
        return Secret(utf8: contents)
    }
}
