import ArgumentParser
import Benchmark
import BenchmarkRunner
import Foundation

struct Bench: ParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Measure what this machine can carry as a gateway.",
        discussion: """
            Runs the real gateway between PPTP clients and a WireGuard hub, all on this machine, sends packets through it and says how many \
            it carries, at what cost in processor time, and how late they arrive. Needs root, iproute2, ethtool, util-linux and procps.

            Gateway, hub and clients live in namespaces of their own (processes, network, mounts): nothing of it is seen outside, and nothing \
            is left when it ends, is interrupted or is killed. The configuration of a gateway that runs here is not read.

            WHAT IS MEASURED
              UDP: packets at a constant rate, on schedule whether or not they arrive, for each of --size and --direction. The highest rate at \
            which at most 0.1 % is lost is searched as in RFC 2544 (it doubles, halves the distance, and confirms). Then, in turns with \
            whatever it is compared with: --rounds at 90 % of that rate for the cost, and one-way latencies at 10, 50 and 90 %. With \
            --compare, --backend and the like the rounds run at one rate for all: 90 % of the lowest.
              TCP: one connection for each client (at most 64), as fast as it goes.
              With --loss and --reorder a bad wire lies between clients and gateway. Every round is then measured over it and, in turns, over the \
            same wire without the faults: TCP's Mbit/s against each other are what the faults cost. What the wire took does not count as lost by the gateway.
              --soak: memory, losses and drops of the gateway every ten seconds.
              Log-ins per second: from the start of the clients until all are up, 64 at a time.

            Clients, hub and generator share the machine with the gateway and need more processor time than it does. With at least two \
            processors the gateway's workers have the first ones for themselves and everything else has the others. Where the generator's side gave \
            up first, the report says so: LIMIT generator. Processor time for each GB is the gateway's alone and holds anyway.

            COMPARISONS
              The first --backend, --io, --isa and --workers of this program is the reference; every further one, and --compare, is another gateway \
            with the same load in turns. Ratios are processor time of the reference divided by the other's.

            EXIT STATUS
              0   measured
              64  the command line is wrong (EX_USAGE)
              69  something it needs is missing, or a gateway refuses its configuration; the report has the others, if there are two (EX_UNAVAILABLE)
              70  a gateway, the clients or the hub ended or carried nothing (EX_SOFTWARE)
              75  --limit was reached; the report has what was measured until then (EX_TEMPFAIL)
              77  permission denied (EX_NOPERM)

            EXAMPLES
              What can this machine do? A table, and a page with plots (some fifteen minutes):
                sudo causeway bench --html bench.html

              One minute instead, one size, UDP only:
                sudo causeway bench --size 1400 --traffic udp --seconds 1 --rounds 1

              This version against the one before, and two kernels, for a script:
                sudo causeway bench --compare /usr/local/bin/causeway-old --json >compare.json
                sudo causeway bench --isa avx2 --isa scalar --json >kernels.json

              What do packets that overtake each other cost a TCP connection?
                sudo causeway bench --traffic tcp --clients 1 --reorder 5:8
            """)

    enum Traffic: String, ExpressibleByArgument, CaseIterable { case udp, tcp, all }

    @Option(name: .customLong("size"), help: ArgumentHelp("Length of inner IP packets, or imix; may be repeated. (default: 64, 512, 1400, imix)", valueName: "octets"))
    var sizes: [PacketMix] = []

    @Option(name: .customLong("direction"), help: "May be repeated. (default: to-hub, from-hub)")
    var directions: [Direction] = []

    @Option(help: "What to send.")
    var traffic = Traffic.all

    @Option(help: ArgumentHelp("PPTP sessions, 1 to \(BenchPlan.mostClients); with one source address.", valueName: "n"))
    var clients = 16

    @Option(help: "How the clients behave: windows, pppd, embedded. The first two carry at most 1396 octets.")
    var profile = "embedded"

    @Option(
        name: .customLong("workers"),
        help: ArgumentHelp("The gateway's worker threads; may be repeated. Hub and clients have the most of these each. (default: 1)", valueName: "n"))
    var workerCounts: [Int] = []
    var workers: Int { workerCounts.max() ?? 1 }

    @Option(help: ArgumentHelp("Length of one trial.", valueName: "duration"))
    var seconds = Span(.seconds(2))

    @Option(help: ArgumentHelp("Measurements for each median.", valueName: "n"))
    var rounds = 5

    @Option(help: ArgumentHelp("Loss up to which a rate counts as carried.", valueName: "percent"))
    var tolerance = 0.1

    @Option(help: ArgumentHelp("Lose so many of the GRE packets between clients and gateway, each way.", valueName: "percent"))
    var loss = 0.0

    @Option(
        help: ArgumentHelp(
            "Hold so many of them until 1 to as many others (1 to \(WireFaults.mostPlaces); \(WireFaults.defaultPlaces)) have overtaken them.",
            valueName: "percent[:places]"))
    var reorder: Reordering?

    @Option(help: ArgumentHelp("Send at this rate instead of searching for the highest.", valueName: "packets/s"))
    var rate: Double?

    @Option(help: ArgumentHelp("Search no higher than this.", valueName: "packets/s"))
    var maxRate = 2_000_000

    @Option(help: ArgumentHelp("After the first UDP case, send at half its highest rate for this long.", valueName: "duration"))
    var soak: Span?

    @Option(name: .customLong("backend"), help: ArgumentHelp("The gateway's tunnel: embedded or kernel; may be repeated. (default: embedded)", valueName: "name"))
    var backends: [String] = []

    @Option(name: .customLong("io"), help: ArgumentHelp("How the gateway has its GRE packets ([data-path] gre): raw, packet or xdp; may be repeated. (default: its own choice)", valueName: "name"))
    var ios: [String] = []

    @Option(name: .customLong("isa"), help: ArgumentHelp("The gateway's kernels: scalar, avx2, avx512; may be repeated. (default: its own choice)", valueName: "name"))
    var isas: [String] = []

    @Option(name: .customLong("compare"), help: ArgumentHelp("Another causeway program; may be repeated.", valueName: "file"))
    var others: [String] = []

    @Option(help: ArgumentHelp("The tunnel's backend in the configuration of --compare, where the name is another one.", valueName: "name"))
    var compareBackend: String?

    @Option(help: ArgumentHelp("End after this long, with what there is.", valueName: "duration"))
    var limit = Span(.seconds(3600))

    @Flag(help: "Leave it to the kernel which processor runs what.")
    var noBinding = false

    @Flag(help: "Print one JSON document instead of the table.")
    var json = false

    @Option(help: ArgumentHelp("Write a page with plots and tables.", valueName: "file"))
    var html: String?

    @Flag(name: .shortAndLong, help: "Do not say on standard error how far it is.")
    var quiet = false

    func validate() throws {
        func check(_ holds: Bool, _ complaint: String) throws { if !holds { throw ValidationError(complaint) } }
        try check((1...BenchPlan.mostClients).contains(clients), "--clients: 1 to \(BenchPlan.mostClients) is expected")
        try check(workerCounts.allSatisfy { (1...64).contains($0) }, "--workers: 1 to 64 is expected")
        try check(BenchPlan.profiles[profile] != nil, "--profile: windows, pppd or embedded is expected, found \"\(profile)\"")
        try check((1...1000).contains(rounds), "--rounds: 1 to 1000 is expected")
        try check(seconds.duration >= .milliseconds(100) && seconds.duration <= .seconds(60), "--seconds: 100ms to 60s is expected")
        try check(tolerance > 0 && tolerance < 100, "--tolerance: more than 0 and less than 100 is expected")
        try check((0..<100).contains(loss), "--loss: 0 to less than 100 is expected")
        try check(soak.map { $0.duration >= .seconds(1) && $0.duration <= .seconds(86400) } ?? true, "--soak: 1s to 24h is expected")
        try check(rate.map { (1...10_000_000).contains($0) } ?? true, "--rate: 1 to 10000000 is expected")
        try check((1000...10_000_000).contains(maxRate), "--max-rate: 1000 to 10000000 is expected")
        try check(contenders(program: "").count <= BenchPlan.mostContenders, "at most \(BenchPlan.mostContenders) gateways are compared at a time")
        for other in others { try check(FileManager.default.isExecutableFile(atPath: other), "--compare: \(other) is not a program") }
    }

    func run() throws {
        guard geteuid() == 0 else {
            printError("bench makes namespaces and interfaces: run it as root")
            throw ExitCode.noPermission
        }
        do {
            let environment = ProcessInfo.processInfo.environment
            guard try Room.isInside(environment) else {
                let status = try Room.run(CommandLine.arguments, environment: environment)
                throw ExitCode(status)
            }
            try measure()
        } catch let error as BenchError {
            printError("\(error)")
            if case .failed = error { throw ExitCode.software }
            throw ExitCode.unavailable
        }
    }

    private func measure() throws {
        // "/proc/self/exe" would be another program for every child.
        let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let runner = try Runner(plan(program: program), command: (["causeway"] + CommandLine.arguments.dropFirst()).joined(separator: " ")) { text in
            if !quiet { FileHandle.standardError.write(Data("bench: \(text)\n".utf8)) }
        }
        let report = try runner.run()
        if json { try printJSON(report) } else { print(report.text) }
        if let html {
            do { try Data(report.html.utf8).write(to: URL(fileURLWithPath: html), options: .atomic) } catch {
                throw BenchError.unavailable("cannot write \(html): \(error.localizedDescription)")
            }
        }
        if report.incomplete != nil { throw ExitCode(75) }
        if !report.missing.isEmpty { throw ExitCode.unavailable }
    }

    func plan(program: String) -> BenchPlan {
        let mixes = sizes.isEmpty ? ["64", "512", "1400", "imix"].compactMap { PacketMix($0) } : sizes
        let cases = BenchCase.all(
            mixes: mixes, directions: directions.isEmpty ? [.toHub, .fromHub] : directions, udp: traffic != .tcp, tcp: traffic != .udp)
        var plan = BenchPlan(contenders: contenders(program: program), cases: cases, program: program)
        plan.clients = clients
        plan.profile = profile
        plan.workers = workers
        plan.seconds = seconds.duration / .seconds(1)
        plan.rounds = rounds
        plan.tolerance = tolerance / 100
        plan.faults = faults
        plan.ceiling = Double(maxRate)
        plan.rate = rate
        plan.soakSeconds = soak.map { $0.duration / .seconds(1) } ?? 0
        plan.limit = limit.duration
        plan.binds = !noBinding
        return plan
    }

    /// nil: none are asked for.
    private var faults: WireFaults? {
        var faults = reorder?.faults ?? WireFaults()
        faults?.loss = loss
        return faults.flatMap { $0.isNone ? nil : $0 }
    }

    private static func text(workers: Int) -> String { "\(workers) worker\(workers == 1 ? "" : "s")" }

    /// The reference first, then what differs from it in one thing.
    func contenders(program: String) -> [BenchPlan.Contender] {
        let reference = BenchPlan.Contender(
            name: [backends.first ?? "embedded", ios.first, isas.first, workerCounts.count > 1 ? Self.text(workers: workerCounts[0]) : nil].compactMap(\.self)
                .joined(separator: " "), program: program, backend: backends.first ?? "embedded", io: ios.first, isa: isas.first, workers: workerCounts.first ?? 1)
        func different(_ name: String, _ change: (inout BenchPlan.Contender) -> Void) -> BenchPlan.Contender {
            var other = reference
            other.name = name
            change(&other)
            return other
        }
        return [reference]
            + backends.dropFirst().map { backend in different(backend) { $0.backend = backend } }
            + ios.dropFirst().map { io in different(io) { $0.io = io } }
            + isas.dropFirst().map { isa in different(isa) { $0.isa = isa } }
            + workerCounts.dropFirst().map { count in different(Self.text(workers: count)) { $0.workers = count } }
            + others.enumerated().map { number, other in
                different(others.count == 1 ? "other" : "other \(number + 1)") {
                    $0.program = URL(fileURLWithPath: other).standardizedFileURL.path
                    $0.backend = compareBackend ?? $0.backend
                    $0.io = nil
                    $0.isa = nil
                }
            }
    }
}

extension PacketMix: ExpressibleByArgument {
    public init?(argument: String) { self.init(argument) }
}

extension Direction: ExpressibleByArgument {}

extension Bench {
    /// The value of --reorder.
    struct Reordering: ExpressibleByArgument {
        let faults: WireFaults

        init?(argument: String) {
            guard let faults = WireFaults(reordering: argument) else { return nil }
            self.faults = faults
        }
    }
}

extension ExitCode {
    /// EX_SOFTWARE
    fileprivate static let software = ExitCode(70)
}
