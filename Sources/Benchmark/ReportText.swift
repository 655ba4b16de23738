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
            ["", "gateway", "highest kpps", "limit", "Mbit/s", "CPU s/GB", "packets/CPU s", "ratio"],
            cases.flatMap { one in
                one.results.map { result in
                    [
                        result == one.results.first ? one.name : "", result.contender,
                        result.highestRate.map { number($0 / 1000) } ?? "-", result.limit?.rawValue ?? "-",
                        spread(result.megabitsPerSecond), spread(result.cpuSecondsPerGB),
                        result.rounds.contains { $0.rate != nil } ? number(result.packetsPerCPUSecond?.median ?? 0) : "-",
                        one.cost(of: result).map { String(format: "%.2fx", $0) } ?? "-",
                    ]
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
            let lost = soak.slices.reduce(0) { $0 + $1.lost }, sent = soak.slices.reduce(0) { $0 + $1.sent }
            let cost = soak.slices.map(\.cpuSecondsPerGB)
            lines += ["", "SOAK \(soak.contender), \(soak.name): \(sent) packets sent, \(lost) lost, CPU s/GB \(spread(Spread(cost)))"]
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
            notes.append("Ratio: processor time for each GB of \(contenders[0].name), divided by this one's, at the same rate (TCP: each at its own).")
        }
        if let incomplete { notes.append("INCOMPLETE: \(incomplete)") }
        return notes
    }

    static func dateText(_ date: Date) -> String { ISO8601DateFormatter().string(from: date) }
}

extension BenchReport.Case {
    /// How much less processor time the gateway `result` took than the first one; nil for the first one.
    public func cost(of result: BenchReport.Result) -> Double? {
        guard let first = results.first, first.contender != result.contender, let ours = result.cpuSecondsPerGB?.median, ours > 0,
            let theirs = first.cpuSecondsPerGB?.median
        else { return nil }
        return theirs / ours
    }
}

func share(_ part: UInt64, of whole: UInt64) -> Double { whole == 0 ? 0 : Double(part) / Double(whole) * 100 }

func spread(_ spread: Spread?) -> String {
    guard let spread else { return "-" }
    return spread.least == spread.greatest ? number(spread.median) : "\(number(spread.median)) (\(number(spread.least))-\(number(spread.greatest)))"
}
