import Addresses
import ArgumentParser
import LegacyClient
import Logging

struct Dial: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Dial a PPTP server as a legacy client would.",
        discussion: """
            Opens one or many PPTP sessions, as a Windows machine, a Linux machine with pppd or a small router would open them: control \
            connection on TCP 1723, LCP, MS-CHAPv2, MPPE and IPCP over GRE. It serves to try out a gateway, in tests and with thousands \
            of sessions; it is no replacement for a modern VPN.

            All sessions share one TUN interface, which is made at the start and is gone at the end, with its addresses and routes. Each \
            session's address is added to it as a /32; a program chooses its session by binding to that address (ping -I, curl \
            --interface). Only packets whose source is the address of a session, or lies in its --prefix, are carried.

            It runs as root (CAP_NET_ADMIN and CAP_NET_RAW), best in a network namespace of its own. When all sessions are up it prints \
            "ready" on standard output (with --json on standard error), so that a script can wait for that line; progress and complaints \
            go to standard error. It stays up until SIGINT or SIGTERM, or for the time of --hold, then hangs up the way the chosen profile does it. If a session cannot \
            be set up, the others are still pinged, and the run ends without holding; with --redial it is dialled again until it is up, and "ready" \
            is printed whenever all are. Routes that contain the server's own address are \
            refused: the tunnel would swallow itself.

            PROFILES
              pppd      pptp-linux and pppd 2.4: waits 1 s before the call, MRU 1400, compressed headers, tries IPV6CP, IPCP after CCP
              windows   Set-Link-Info, identification, callback and multilink offered, CCP and IPCP in parallel, name servers
              embedded  a small router's firmware: MRU 1460, no compressed headers, Van Jacobson compression and name servers asked for

            DURATIONS
              200ms, 30s, 5m, 1h; a bare number counts seconds

            EXIT STATUS
              0   all sessions came up and stayed up, and every ping was answered
              64  the command line is wrong (EX_USAGE)
              69  a session could not be set up, or this host refused something (EX_UNAVAILABLE)
              75  a session was lost, or a ping was, or the run was interrupted before all sessions were up (EX_TEMPFAIL)
              77  authentication failed, of either side (EX_NOPERM)
              78  CAUSEWAY_ISA is wrong (EX_CONFIG)

            ENVIRONMENT
              CAUSEWAY_ISA   scalar, avx2 or avx512: at most these instructions; by default the best
                             that the processor has

            EXAMPLES
              One session, five pings to a host behind the gateway, then hang up:
                causeway dial --server 192.0.2.1 --user alice --password-file alice.password --ping 10.99.0.1 --hold 0

              A thousand sessions, 64 at a time, as Windows machines, each pinging, with a report for a script:
                causeway dial --server 192.0.2.1 --user 'load%04d' --count 1000 --concurrency 64 --password-file load.password \\
                  --profile windows --ping 10.99.0.1 --ping-count 3 --hold 0 --json

              How many log-ins a second does a gateway take? (In the report: logInsPerSecond, upMilliseconds, causes)
                causeway dial --server 192.0.2.1 --user 'load%d' --count 10000 --concurrency 256 --password-file load.password \\
                  --profile embedded --only-log-in --hold 0 --json

              Pull the plug after ten seconds; the server hears nothing more:
                causeway dial --server 192.0.2.1 --user alice --password-file alice.password --vanish-after 10s --hold 60s
            """)

    @Option(help: ArgumentHelp("The PPTP server, an address or a name.", valueName: "address[:port]"))
    var server: Server

    @Option(
        name: .customLong("user"),
        help: ArgumentHelp("User name; may be repeated. In a single one, %d or %04d counts the sessions from 1.", valueName: "name"))
    var users: [String] = []

    @Option(help: ArgumentHelp("The password of all users, on the first line. Must not be readable by others.", valueName: "file"))
    var passwordFile: String

    @Option(help: "How to behave: \(LegacyProfileName.allCases.map(\.rawValue).joined(separator: ", ")).")
    var profile = LegacyProfileName.pppd

    @Option(help: ArgumentHelp("Name of the TUN interface.", valueName: "name"))
    var interface = "cwdial0"

    @Option(help: ArgumentHelp("Number of sessions; by default one for each --user.", valueName: "n"))
    var count: Int?

    @Option(help: ArgumentHelp("Sessions being set up at the same time.", valueName: "n"))
    var concurrency = 32

    @Option(help: ArgumentHelp("Sessions that share one control connection.", valueName: "n"))
    var callsPerConnection = 1

    @Option(help: ArgumentHelp("Worker threads of the data path.", valueName: "n"))
    var workers = 1

    @Option(
        name: .customLong("route"),
        help: ArgumentHelp("Destination that is routed into the interface; may be repeated.", valueName: "prefix"))
    var routes: [IPPrefix] = []

    @Option(
        name: .customLong("prefix"),
        help: ArgumentHelp(
            "A network behind this client, carried in the session besides its address; may be repeated. For a single session.",
            valueName: "prefix"))
    var prefixes: [IPPrefix] = []

    @Option(help: ArgumentHelp("Send ICMP echo requests there from each session, once all are up.", valueName: "address"))
    var ping: IPAddress?

    @Option(help: ArgumentHelp("Requests from each session; 0: until the end.", valueName: "n"))
    var pingCount = 5

    @Option(help: ArgumentHelp("Time between two requests of one session.", valueName: "duration"))
    var pingInterval = Span(.seconds(1))

    @Option(
        help: ArgumentHelp(
            "Stay up this long once all sessions are up; 0: until the pings are done. By default until a signal comes.",
            valueName: "duration"))
    var hold: Span?

    @Option(
        help: ArgumentHelp(
            "Fall silent this long after all sessions are up: no answers, no farewell, no FIN, not even at the end of the process.",
            valueName: "duration"))
    var vanishAfter: Span?

    @Option(help: ArgumentHelp("Time for each session from its turn to its network.", valueName: "duration"))
    var setupTimeout = Span(.seconds(60))

    @Option(
        help: ArgumentHelp(
            "Dial a session that could not be set up or was lost again, after half to one and a half times this long.", valueName: "duration"))
    var redial: Span?

    @Flag(help: "Do not add sessions' addresses to the interface: nothing is sent through them, and thousands log in faster.")
    var onlyLogIn = false

    @Option(help: ArgumentHelp("MPPE strength: 128, 56 or 40.", valueName: "bits"))
    var keyBits = 128

    @Flag(help: "Ask for stateful MPPE.")
    var stateful = false

    @Flag(help: "Send data in the clear and refuse MPPE.")
    var noEncryption = false

    @Flag(help: "Leave out the profile's wait before the call (pppd: 1 s).")
    var noDelay = false

    @Flag(help: "At the end, print one JSON document with every session and the totals.")
    var json = false

    @Flag(name: .shortAndLong, help: "Say on standard error what is being negotiated.")
    var verbose = false

    func validate() throws {
        func check(_ holds: Bool, _ complaint: String) throws { if !holds { throw ValidationError(complaint) } }
        try check((1...15).contains(interface.utf8.count) && !interface.contains { $0 == "/" || $0.isWhitespace },
            "--interface: a name of 1 to 15 bytes without / and blanks is expected, found \"\(interface)\"")
        try check(concurrency >= 1, "--concurrency: at least 1 is expected")
        try check((1...65535).contains(callsPerConnection), "--calls-per-connection: 1 to 65535 is expected")
        try check((1...64).contains(workers), "--workers: 1 to 64 is expected")
        try check((1...60_000).contains(count ?? 1), "--count: 1 to 60000 is expected")
        try check(pingCount >= 0, "--ping-count: 0 or more is expected")
        try check(pingInterval.duration > .zero, "--ping-interval: more than 0 is expected")
        try check(LegacyEncryption.Strength(rawValue: keyBits) != nil, "--key-bits: 128, 56 or 40 is expected, found \(keyBits)")
        try check(!(noEncryption && stateful), "--stateful and --no-encryption exclude each other")
        try check(ping?.family != .v6, "--ping: an IPv4 address is expected")
        try check(ping == nil || pingCount > 0 || hold?.duration != .zero, "--ping-count 0 never ends with --hold 0")
        try check(ping == nil || !(onlyLogIn || redial != nil), "--ping goes with neither --only-log-in nor --redial")
        try check(redial == nil || vanishAfter == nil, "--redial and --vanish-after exclude each other")
        try check(redial.map { $0.duration > .zero } ?? true, "--redial: more than 0 is expected")
        try check(prefixes.count <= 31, "--prefix: at most 31 are carried besides the session's address")
        let names: [String]
        do {
            names = try UserNames.expand(users, count: count)
        } catch {
            throw ValidationError("--user: \(error)")
        }
        try check(prefixes.isEmpty || names.count == 1, "--prefix belongs to one session, but there are \(names.count)")
    }

    func run() async throws {
        try checkInstructions()
        LoggingSystem.bootstrap { StreamLogHandler.standardError(label: $0) }
        var logger = Logger(label: "dial")
        logger.logLevel = verbose ? .debug : .warning
        var run = DialRun(self, logger: logger)
        let code = try await run.run()
        if code != ExitCode.success { throw code }
    }
}

extension IPPrefix: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

extension IPAddress: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

extension LegacyProfileName: ExpressibleByArgument {}

extension Dial {
    /// An IPv4 address or a name, and a port.
    struct Server: ExpressibleByArgument, CustomStringConvertible {
        let host: String
        let port: Int

        init?(argument: String) {
            let parts = argument.split(separator: ":", omittingEmptySubsequences: false)
            guard parts.count <= 2, let host = parts.first, !host.isEmpty else { return nil }
            guard let port = parts.count == 2 ? UInt16(parts[1]) : 1723, port > 0 else { return nil }
            self.host = String(host)
            self.port = Int(port)
        }

        var description: String { port == 1723 ? host : "\(host):\(port)" }
    }
}

/// A duration on a command line.
struct Span: ExpressibleByArgument, CustomStringConvertible {
    let duration: Duration

    init(_ duration: Duration) { self.duration = duration }

    init?(argument: String) {
        let digits = argument.prefix { $0.isASCII && $0.isNumber }
        guard let number = Int(digits), number <= 1_000_000_000 else { return nil }
        switch argument.dropFirst(digits.count) {
        case "ms": duration = .milliseconds(number)
        case "", "s": duration = .seconds(number)
        case "m": duration = .seconds(number * 60)
        case "h": duration = .seconds(number * 3600)
        default: return nil
        }
    }

    var description: String {
        let parts = duration.components
        return parts.attoseconds == 0 ? "\(parts.seconds)s" : "\(parts.seconds * 1000 + parts.attoseconds / 1_000_000_000_000_000)ms"
    }
}
