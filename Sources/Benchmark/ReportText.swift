import Documents
import Foundation

/// The report for a terminal.
extension BenchReport {
    public var text: String {
        var lines = facts.map { "\($0.padded(to: 12))\($1)" }
        lines += ["", "GATEWAYS"]
        lines += textTable(
            ["name", "version", "tunnel", "I/O", "kernels", "log-ins/s", "memory MB"],
            contenders.map {
                [$0.name, $0.version, $0.tunnelBackend, $0.ioBackend, $0.kernels, number($0.setupsPerSecond), number(Double($0.residentBytes) / 1e6)]
            })
        lines += ["", "THROUGHPUT AND COST (medians of \(settings.rounds) rounds, least-greatest)"]
        lines += textTable(
            ["", "gateway", "highest kpps", "limit", "Mbit/s", "CPU s/GB", "packets/CPU s", "ratio"] + (settings.faults == nil ? [] : ["of the clean wire's Mbit/s"]),
            cases.flatMap { one in
                one.results.map { result in
                    [
                        result == one.results.first ? one.name : "", result.contender,
                        result.highestRate.map { number($0 / 1000) } ?? "-", result.limit?.rawValue ?? "-",
                        spread(result.megabitsPerSecond), spread(result.cpuSecondsPerGB),
                        result.rounds.contains { $0.rate != nil } ? number(result.packetsPerCPUSecond?.median ?? 0) : "-",
                        ratio(one.cost(of: result)),
                    ] + (settings.faults == nil ? [] : [ratio(result.goodputKept)])
                }
            })
        let latencies = cases.flatMap { one in
            one.results.flatMap { result in
                result.latencies.map { at -> [String] in
                    let latency = at.sample.latency
                    return [one.name, result.contender, "\(at.load) %", number((at.sample.rate ?? 0) / 1000)]
                        + [latency?.median, latency?.p90, latency?.p99, latency?.p999, latency?.greatest].map { $0.map(number) ?? "-" }
                        + [String(format: "%.3f", share(at.sample.lost, of: at.sample.sent))]
                }
            }
        }
        if !latencies.isEmpty {
            lines += ["", "LATENCY (one way, microseconds, from when a packet was due)"]
            lines += textTable(["", "gateway", "load", "kpps", "median", "90 %", "99 %", "99.9 %", "greatest", "lost %"], latencies)
        }
        for soak in soaks {
            let growth = soak.growthBytes.map { ", memory \($0 < 0 ? "-" : "+")\(number(abs(Double($0)) / 1e6)) MB" } ?? ""
            lines += ["", "SOAK \(soak.contender), \(soak.name): \(soak.sent) packets sent, \(soak.lost) lost, CPU s/GB \(spread(soak.cpuSecondsPerGB))\(growth)"]
            lines += textTable(Self.soakHeader, soak.thinned(to: 20).map(Self.soakRow))
        }
        lines += [""] + notes
        return lines.joined(separator: "\n")
    }

    var facts: [(String, String)] {
        [
            ("date", Self.dateText(date)), ("command", command), ("machine", "\(machine.cpu), \(machine.processors) processors, \(number(Double(machine.memoryBytes) / 1e9)) GB"),
            ("system", machine.system),
            (
                "settings",
                "\(settings.clients) clients (\(settings.profile)), \(number(settings.secondsPerTrial)) s a trial, at most \(number(settings.tolerance * 100)) % lost, \(settings.workers) worker\(settings.workers == 1 ? "" : "s")"
            ),
            ("wire", settings.faults.map { "between clients and gateway, each way: \($0.description)" } ?? "no faults"),
            (
                "processors",
                settings.gatewayProcessors.map { "gateway on \($0), the rest on \(settings.otherProcessors ?? "all")" } ?? "shared by gateway, clients, hub and generator"
            ),
        ]
    }

    /// What has to be known to read the figures.
    var notes: [String] {
        var notes = [
            "CPU seconds are those of the gateway's processes; GB are 10^9 octets of inner packets that arrived (TCP: of payload).",
            "What the kernel does for the gateway while the sender sends, as on any veth, is in nobody's account but the sender's.",
        ]
        let gateway = cases.flatMap(\.results).flatMap(\.rounds).reduce(0) { $0 + $1.gatewayCPUSeconds }
        let generator = cases.flatMap(\.results).flatMap(\.rounds).reduce(0) { $0 + $1.generatorCPUSeconds }
        if gateway > 0 {
            notes.append("Clients, hub and generator together took \(String(format: "%.1f", generator / gateway)) times the gateway's processor time.")
        }
        if cases.flatMap(\.results).contains(where: { $0.limit == .generator }) {
            notes.append("Limit \"generator\": the clients, the hub or the generator lost the packets first; the gateway can do more than that.")
        }
        if contenders.count > 1 {
            notes.append("Ratio: processor time for each GB of \(contenders[0].name), divided by this one's in the same round, at the same rate (TCP: each at its own).")
        }
        if settings.faults != nil {
            notes.append("What the bad wire took does not count against a rate. Each round was measured over the bad wire and the clean one in turns.")
        }
        notes += missing.map { "NOT MEASURED: \($0.name): \($0.reason)" }
        if let incomplete { notes.append("INCOMPLETE: \(incomplete)") }
        return notes
    }

    static func dateText(_ date: Date) -> String { ISO8601DateFormatter().string(from: date) }
}

extension BenchReport.Case {
    /// How much less processor time the gateway `result` took than the first one, round by round; nil for the first one.
    public func cost(of result: BenchReport.Result) -> Spread? {
        guard let first = results.first, first.contender != result.contender else { return nil }
        return Spread(ratios(first.rounds, result.rounds, \.cpuSecondsPerGB))
    }
}

extension BenchReport.Soak {
    /// Evenly, with the last one; slices of a long one say little new each.
    func thinned(to most: Int) -> [Slice] {
        guard slices.count > most else { return slices }
        return (1...most).map { slices[$0 * slices.count / most - 1] }
    }
}

extension BenchReport {
    static let soakHeader = ["at, s", "kpps", "lost", "dropped by gateway", "by its host", "memory, MB", "median, us", "99 %"]

    static func soakRow(_ slice: Soak.Slice) -> [String] {
        [
            number(slice.at), number(slice.sample.packetsPerSecond / 1000), "\(slice.sample.lost)", slice.drops.map { "\($0)" } ?? "-", "\(slice.hostDrops)",
            number(Double(slice.residentBytes) / 1e6), slice.sample.latency.map { number($0.median) } ?? "-", slice.sample.latency.map { number($0.p99) } ?? "-",
        ]
    }
}

func ratio(_ spread: Spread?) -> String {
    spread.map { String(format: $0.least == $0.greatest ? "%.2fx" : "%.2fx (%.2f-%.2f)", $0.median, $0.least, $0.greatest) } ?? "-"
}

func share(_ part: UInt64, of whole: UInt64) -> Double { whole == 0 ? 0 : Double(part) / Double(whole) * 100 }

func spread(_ spread: Spread?) -> String {
    guard let spread else { return "-" }
    return spread.least == spread.greatest ? number(spread.median) : "\(number(spread.median)) (\(number(spread.least))-\(number(spread.greatest)))"
}
