import Addresses
import Authentication
import Webhooks

/// Everything an administrator decides about one gateway, checked: names resolve, ranges do not overlap, key files were read.
///
/// `load(path:)` is the way to get one; Config/causeway.toml documents every key, its unit and its default.
public struct CausewayConfiguration: Sendable, Equatable {
    /// Marks what this gateway creates in the kernel; two gateways on one host need two names.
    public var instance: String = "main"
    /// The account the daemon changes to once it has what only root may open: the key `run-as`.
    public var user: String = "causeway"
    public var logLevel: LogLevel = .info
    public var logFormat: LogFormat = .text
    public var controlSocket: String = "/run/causeway/causeway.sock"
    /// nil: the control API is on its Unix socket only.
    public var api: API?
    /// What has to outlive the gateway: the identities of its users.
    public var stateDirectory: String = "/var/lib/causeway"
    public var store = Store()
    public var migration = Migration()
    public var firewall = Firewall()
    public var webhooks: [Webhook] = []
    public var listeners: [Listener] = []
    public var pptp = PPTP()
    public var ppp = PPP()
    public var encryption = Encryption()
    public var authentication = Authentication()
    public var pools: [Pool] = []
    public var tunnels: [Tunnel] = []
    /// nil: nobody connects natively.
    public var access: Access?
    public var dataPath = DataPath()
    /// The secrets files and the `[[user]]` tables, merged.
    public var users = UserDirectory()
    /// What was accepted but deserves a log line.
    public var warnings: [ConfigurationIssue] = []

    public init() {}

    public enum LogLevel: String, Sendable, CaseIterable { case trace, debug, info, notice, warning, error, critical }
    public enum LogFormat: String, Sendable, CaseIterable { case text, json }

    /// An address on which PPTP is served, and where its users go unless their entry says otherwise.
    public struct Listener: Sendable, Equatable {
        public var address: IPAddress
        public var port: UInt16
        /// Always the name of a configured tunnel and of a configured pool.
        public var tunnel: String
        public var pool: String
    }

    /// Limits and deadlines of the control connection. A limit of 0 is not possible: each must allow at least one.
    public struct PPTP: Sendable, Equatable {
        public var hostName = "causeway"
        public var maxConnections = 4096
        public var maxConnectionsPerSource = 256
        public var maxHalfOpen = 256
        public var maxHalfOpenPerSource = 16
        public var connectsPerSecondPerSource = 10
        public var maxCallsPerConnection = 16
        public var maxUnauthenticated = 1024
        public var maxUnauthenticatedPerSource = 64
        public var startTimeout: Duration = .seconds(10)
        public var authenticationTimeout: Duration = .seconds(30)
        public var negotiationTimeout: Duration = .seconds(60)
        public var echoInterval: Duration = .seconds(60)
        public var echoTimeout: Duration = .seconds(60)
        /// Zero: a connection without calls may stay.
        public var idleConnectionTimeout: Duration = .seconds(60)
        public var stopTimeout: Duration = .seconds(3)
        /// IPv4 networks that clients may come from; none: from everywhere.
        public var allowedSources: [IPPrefix] = []
        /// Networks that they may not come from all the same.
        public var blockedSources: [IPPrefix] = []

        /// Both lists together.
        public static let mostSources = 1024

        public func admits(_ source: IPAddress) -> Bool {
            (allowedSources.isEmpty || allowedSources.contains { $0.contains(source) }) && !blockedSources.contains { $0.contains(source) }
        }
    }

    public struct PPP: Sendable, Equatable {
        public var mru = 1400
        /// nil: as large as the path and the peer's MRU allow.
        public var mtu: Int?
        /// Zero: no LCP echo.
        public var echoInterval: Duration = .seconds(20)
        public var echoFailures = 3
        /// At most two each (RFC 1877).
        public var dns: [IPAddress] = []
        public var nbns: [IPAddress] = []
        /// Zero: a user is asked once.
        public var rechallengeInterval: Duration = .zero
    }

    public struct Encryption: Sendable, Equatable {
        public var required = true
        /// In bits: 128, 56, 40; the strongest first.
        public var strengths = [128]
        public var stateful = false
    }

    public struct Authentication: Sendable, Equatable {
        public var secrets = ["/etc/causeway/chap-secrets"]
        public var serverName = "causeway"
        public var maxRetries = 3
        public var whenConnected = WhenConnected.replace
        public var lockoutFailures = 10
        public var lockoutTime: Duration = .seconds(60)

        /// What a log-in of a user who is connected already does.
        public enum WhenConnected: String, Sendable, CaseIterable { case replace, refuse, allow }
    }

    /// Inner addresses for users without a static one.
    public struct Pool: Sendable, Equatable {
        public var name: String
        /// Our end of every link of this pool.
        public var gateway: IPAddress
        public var ranges: [AddressRange]
    }

    /// Where users, their phases, sessions and traffic are written down.
    public struct Store: Sendable, Equatable {
        public var enabled = true
        /// nil: `causeway.db` in the state directory.
        public var path: String?
        /// Days for which ended sessions, traffic and events are kept; 0: for ever.
        public var retainSessions = 730
        public var retainTraffic = 730
        public var retainEvents = 730
    }

    public var storePath: String { store.path ?? "\(stateDirectory)/causeway.db" }

    /// What moves users on by itself.
    public struct Migration: Sendable, Equatable {
        /// Days without PPTP after which a user of WireGuard is migrated.
        public var quietDays = 14
        /// Days as migrated after which PPTP is refused; 0: never by itself.
        public var retireAfterDays = 0
        /// What a PPTP log-in does while the user's own WireGuard peer is connected.
        public var whileNative = WhileNative.refuse

        public enum WhileNative: String, Sendable, CaseIterable {
            case refuse
            /// The PPTP session gets the address; the peer waits until it is over.
            case replace
            /// The PPTP session gets another address, and none of the networks behind the user.
            case secondAddress = "second-address"
        }
    }

    /// What `causeway firewall` makes of it; the gateway itself does not touch the packet filter for this.
    public struct Firewall: Sendable, Equatable {
        /// New control connections of one source; 0: no limit.
        public var connectsPerMinute = 600
        /// Whether this host translates addresses of PPTP connections.
        public var pptpHelper = false
        /// Names of tunnels whose users leave with the address of the interface.
        public var masquerade: [String] = []
    }

    /// The control API over TLS, for who has a token.
    public struct API: Sendable, Equatable {
        public var listen: Endpoint
        /// PEM, our own certificate first.
        public var certificateFile: String
        public var privateKeyFile: String
        /// PEM, as in the file.
        public var privateKey: Secret

        public init(listen: Endpoint, certificateFile: String, privateKeyFile: String, privateKey: Secret) {
            self.listen = listen
            self.certificateFile = certificateFile
            self.privateKeyFile = privateKeyFile
            self.privateKey = privateKey
        }
    }

    /// Somebody who hears of the migration over HTTP.
    public struct Webhook: Sendable, Equatable {
        public var secretFile: String
        public var receiver: WebhookReceiver
    }

    public struct DataPath: Sendable, Equatable {
        /// The TUN device.
        public var interface = "causeway0"
        /// The routing table of the way back: from the tunnels to the users.
        public var returnTable: UInt32 = 51999
        /// Our policy rules have this preference and the ones behind it.
        public var rulePriority: UInt32 = 10000
        /// 0: one for each processor.
        public var workers = 0
        /// Whether each worker keeps to a processor of its own.
        public var pin = true
        /// How long a worker under load looks for more before it sleeps.
        public var pollMicroseconds = 20
        public var batch = 32
        public var gre = GRE.raw
        public var reorderPackets = 64
        public var reorderTime: Duration = .milliseconds(50)
        public var ackDelay: Duration = .milliseconds(100)
        public var maxSessions = 4096
        public var allowUserToUser = false
        /// Whether users may reach addresses of this host.
        public var allowGateway = false
        /// Whether GRE of a call may come from another address than its control connection.
        public var allowAddressChange = false

        /// How GRE comes in: packet rings where they can be had, raw sockets alone, packet rings or nothing, or XDP where it can be had,
        /// otherwise packet rings where they can.
        public enum GRE: String, Sendable, CaseIterable { case auto, raw, packet, xdp }
    }

    public func pool(named name: String) -> Pool? { pools.first { $0.name == name } }
    public func tunnel(named name: String) -> Tunnel? { tunnels.first { $0.name == name } }
}

/// `10.8.0.10-10.8.0.250`, or a prefix without its network and broadcast address.
public struct AddressRange: Sendable, Hashable, CustomStringConvertible {
    public let first: IPAddress
    public let last: IPAddress

    /// nil if the families differ or the order is wrong.
    public init?(first: IPAddress, last: IPAddress) {
        guard first.family == last.family, first <= last else { return nil }
        self.first = first
        self.last = last
    }

    public init?(_ text: String) {
        let ends = text.split(separator: "-", omittingEmptySubsequences: false)
        if ends.count == 2, let first = IPAddress(Self.trim(ends[0])), let last = IPAddress(Self.trim(ends[1])) {
            self.init(first: first, last: last)
        } else if ends.count == 1, let prefix = IPPrefix(text) {
            let hasEdges = prefix.family == .v4 && prefix.length < 31
            guard
                let first = prefix.first.advanced(by: hasEdges ? 1 : 0), let last = prefix.last.advanced(by: hasEdges ? -1 : 0)
            else { return nil }
            self.init(first: first, last: last)
        } else {
            return nil
        }
    }

    public func contains(_ address: IPAddress) -> Bool {
        address.family == first.family && first <= address && address <= last
    }
    public func overlaps(_ other: AddressRange) -> Bool {
        first.family == other.first.family && first <= other.last && other.first <= last
    }
    public func overlaps(_ prefix: IPPrefix) -> Bool {
        first.family == prefix.family && first <= prefix.last && prefix.first <= last
    }

    public var description: String { first == last ? "\(first)" : "\(first)-\(last)" }

    private static func trim(_ text: Substring) -> String {
        var text = text
        while text.first == " " { text.removeFirst() }
        while text.last == " " { text.removeLast() }
        return String(text)
    }
}

/// An address with the length of its network, host bits and all: `10.9.0.2/24`.
public struct InterfaceAddress: Sendable, Hashable, LosslessStringConvertible {
    public let address: IPAddress
    public let length: Int

    public init?(_ text: String) {
        let parts = text.split(separator: "/", omittingEmptySubsequences: false)
        guard parts.count <= 2, let address = IPAddress(String(parts[0])) else { return nil }
        var length = address.family.bitCount
        if parts.count == 2 {
            guard let given = Int(parts[1]), String(given) == parts[1], (0...length).contains(given) else { return nil }
            length = given
        }
        self.address = address
        self.length = length
    }

    public var description: String { "\(address)/\(length)" }
}

/// Where a peer is: an address or a name, and a port. Names are resolved where the tunnel is run, not here.
public struct HostAndPort: Sendable, Hashable, LosslessStringConvertible {
    public let host: String
    public let port: UInt16

    public init?(_ text: String) {
        if let endpoint = Endpoint(text) {
            guard endpoint.port != 0 else { return nil }
            self.host = endpoint.address.description
            self.port = endpoint.port
            return
        }
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let host = text[..<colon]
        let digits = text[text.index(after: colon)...]
        guard let port = UInt16(digits), port != 0, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        let labels = host.split(separator: ".", omittingEmptySubsequences: false)
        let valid = labels.allSatisfy { label in
            (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
                && label.utf8.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") }
        }
        // A last label of digits only is an address that went wrong, not a name.
        guard host.utf8.count <= 253, valid, !(labels.last?.utf8.allSatisfy { (0x30...0x39).contains($0) } ?? true) else {
            return nil
        }
        self.host = String(host)
        self.port = port
    }

    /// The address, where no name has to be resolved.
    public var endpoint: Endpoint? { IPAddress(host).map { Endpoint($0, port) } }
    public var description: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

func isAlphanumeric(_ byte: UInt8) -> Bool {
    switch byte {
    case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
    default: false
    }
}
