import Benchmark
import CLoad
import Foundation

/// Carries out a plan, inside the room: beds first, then case by case with the contenders in turns.
public final class Runner {
    private let plan: BenchPlan
    private let say: (String) -> Void
    private var beds: [Bed] = []
    private var report: BenchReport
    private let deadline: ContinuousClock.Instant

    private static let tools = ["ip", "ethtool", "taskset", "sysctl"]

    private enum Stop: Error { case limit }

    /// `say` is told how far it is.
    public init(_ plan: BenchPlan, command: String, say: @escaping (String) -> Void) throws {
        self.plan = plan
        self.say = say
        deadline = .now + plan.limit
        let processors = Self.processors()
        let division = plan.binds ? BenchPlan.division(processors: processors, workers: plan.workers) : nil
        func list(_ numbers: [Int]) -> String { numbers.map(String.init).joined(separator: ",") }
        report = BenchReport(
            date: Date(), command: command, machine: Self.machine(processors: processors.count),
            settings: BenchReport.Settings(
                clients: plan.clients, profile: plan.profile, secondsPerTrial: plan.seconds, rounds: plan.rounds, tolerance: plan.tolerance,
                workers: plan.workers, gatewayProcessors: division.map { list($0.gateway) }, otherProcessors: division.map { list($0.others) },
                faults: plan.faults))
    }

    /// Those that this process may use.
    private static func processors() -> [Int] {
        (0..<Int32(CLOAD_MAX_PROCESSORS)).filter { cload_has_processor($0) }.map(Int.init)
    }

    private static func machine(processors: Int) -> BenchReport.Machine {
        let cpu = (try? String(contentsOfFile: "/proc/cpuinfo", encoding: .utf8))?.split(separator: "\n")
            .first { $0.hasPrefix("model name") }?.split(separator: ":").last?.trimmingCharacters(in: .whitespaces)
        let kernel = (try? String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8))?.trimmingCharacters(in: .whitespacesAndNewlines)
        return BenchReport.Machine(
            cpu: cpu ?? "unknown processor", processors: processors, memoryBytes: ProcessInfo.processInfo.physicalMemory,
            system: "Linux \(kernel ?? "")")
    }

    public func run() throws -> BenchReport {
        for tool in Self.tools where try Command.status(of: ["which", tool]).0 != 0 {
            throw BenchError.unavailable("the program \(tool) is missing; needed are iproute2, ethtool, util-linux and procps")
        }
        try prepareHost()
        defer { for bed in beds { bed.close() } }
        for (number, contender) in plan.contenders.enumerated() {
            say("\(contender.name): network, hub, gateway, \(plan.clients) clients")
            let bed = Bed(contender, number: number, plan: plan, gatewayProcessors: report.settings.gatewayProcessors)
            beds.append(bed)
            do { try bed.open() } catch BenchError.unavailable(let reason) where number > 0 {
                // The others are worth a table without it.
                say("\(contender.name) is left out: \(reason)")
                report.missing.append(BenchReport.Missing(name: contender.name, reason: reason))
                beds.removeLast().close()
                continue
            }
            try checkSizes(bed)
        }
        guard beds.count > 1 || report.missing.isEmpty else { throw BenchError.unavailable(report.missing[0].reason) }
        do {
            for one in plan.cases { report.cases.append(BenchReport.Case(one, results: try measure(one))) }
            if plan.soakSeconds > 0 { try soak() }
        } catch Stop.limit {
            report.incomplete = "the time limit of \(plan.limit) was reached; the last case and what comes after it are missing"
        }
        for bed in beds { bed.close() }
        report.contenders = beds.map(\.description)
        beds = []
        return report
    }

    private func prepareHost() throws {
        // This process lives in the clients' namespace.
        try Command.run(["ip", "link", "set", "lo", "up"])
        try Command.run(
            ["sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1", "net.ipv4.conf.all.rp_filter=0", "net.ipv4.conf.default.rp_filter=0"])
        if let others = report.settings.otherProcessors { try Command.run(["taskset", "-a", "-p", "-c", others, "\(getpid())"]) }
    }

    private func checkSizes(_ bed: Bed) throws {
        for one in plan.cases {
            let longest = one.direction == .toHub ? bed.innerMTU : min(bed.innerMTU, BenchPlan.profiles[plan.profile] ?? bed.innerMTU)
            guard case .udp(let mix) = one.load, let size = mix.firstLonger(than: longest) else { continue }
            throw BenchError.unavailable("\(one.name): packets of \(size) octets do not fit clients of profile \(plan.profile), which take \(longest)")
        }
    }

    private func checkTime() throws { if ContinuousClock.now > deadline { throw Stop.limit } }

    // ---- one case ----

    private func measure(_ one: BenchCase) throws -> [BenchReport.Result] {
        var results = beds.map { BenchReport.Result(contender: $0.contender.name) }
        switch one.load {
        case .udp(let mix):
            if plan.rate == nil { for (index, bed) in beds.enumerated() { try search(bed, mix, one, &results[index]) } }
            let highest = results.map { plan.rate ?? $0.highestRate }
            guard let lowest = highest.compactMap(\.self).min() else { return results }
            try rounds(one, &results) { bed, index in
                highest[index] == nil ? nil : try bed.udp(mix, one.direction, rate: plan.rate ?? lowest * 0.9, seconds: plan.seconds)
            }
            for load in plan.loads {
                for (index, bed) in beds.enumerated() {
                    guard let highest = highest[index] else { continue }
                    try checkTime()
                    say("\(one.name): latency at \(load) %, \(bed.contender.name)")
                    let sample = try bed.udp(mix, one.direction, rate: highest * Double(load) / 100, seconds: plan.seconds)
                    results[index].latencies.append(BenchReport.LatencyAtLoad(load: load, sample: sample))
                }
            }
        case .tcp:
            try rounds(one, &results) { bed, _ in try bed.tcp(one.direction, seconds: plan.seconds) }
        }
        return results
    }

    /// All beds in turns, with a bad wire each without its faults as well; who of these two is first changes from round to round.
    private func rounds(_ one: BenchCase, _ results: inout [BenchReport.Result], _ measure: (Bed, Int) throws -> BenchReport.Sample?) throws {
        for round in 1...max(1, plan.rounds) {
            for (index, bed) in beds.enumerated() {
                for hasFaults in plan.faults == nil ? [true] : round % 2 == 1 ? [false, true] : [true, false] {
                    try checkTime()
                    say("\(one.name): round \(round) of \(plan.rounds), \(bed.contender.name)\(hasFaults ? "" : ", clean wire")")
                    try bed.setFaults(hasFaults)
                    defer { try? bed.setFaults(true) }
                    guard let sample = try measure(bed, index) else { continue }
                    if hasFaults { results[index].rounds.append(sample) } else { results[index].cleanRounds.append(sample) }
                }
            }
        }
    }

    private func search(_ bed: Bed, _ mix: PacketMix, _ one: BenchCase, _ result: inout BenchReport.Result) throws {
        var search = RateSearch(ceiling: plan.ceiling)
        while case .trial(let rate) = search.next {
            try checkTime()
            say("\(one.name): \(bed.contender.name), trial \(search.trials + 1) at \(Int(rate)) packets/s")
            let sample = try bed.udp(mix, one.direction, rate: rate, seconds: plan.seconds)
            result.trials.append(sample)
            search.report(carried: sample.isCarried(tolerance: plan.tolerance))
        }
        guard case .done(let found?) = search.next else { return }
        result.highestRate = found
        let refused = result.trials.filter { ($0.rate ?? 0) > found && !$0.isCarried(tolerance: plan.tolerance) }
        result.limit = refused.isEmpty ? .ceiling : refused.filter(\.isGeneratorsFault).count * 2 > refused.count ? .generator : .gateway
    }

    // ---- soak ----

    private static let soakSlice = 10.0

    /// Half of the highest rate of the first case with one, in slices. What there is when the time is over stays in the report.
    private func soak() throws {
        for (one, measured) in zip(plan.cases, report.cases) {
            guard case .udp(let mix) = one.load else { continue }
            for (bed, result) in zip(beds, measured.results) {
                guard let rate = plan.rate ?? result.highestRate.map({ $0 / 2 }) else { continue }
                report.soaks.append(BenchReport.Soak(contender: bed.contender.name, name: one.name, slices: []))
                let slice = min(Self.soakSlice, plan.soakSeconds)
                let count = max(1, Int((plan.soakSeconds / slice).rounded(.up)))
                for number in 0..<count {
                    try checkTime()
                    let at = Double(number) * slice
                    say("soak: \(bed.contender.name), \(one.name), \(Int(at)) of \(Int(plan.soakSeconds)) s")
                    let drops = try bed.gatewayDrops(), hostDrops = bed.hostDrops
                    let sample = try bed.udp(mix, one.direction, rate: rate, seconds: min(slice, plan.soakSeconds - at))
                    let dropsAfter = try bed.gatewayDrops()
                    report.soaks[report.soaks.count - 1].slices.append(
                        BenchReport.Soak.Slice(
                            at: at, sample: sample, residentBytes: bed.residentBytes, drops: drops.flatMap { before in dropsAfter.map { $0 - before } },
                            hostDrops: bed.hostDrops - hostDrops))
                }
            }
            return
        }
    }
}
