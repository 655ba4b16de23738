import Documents
import Foundation

/// The report as one file that needs no other: plots, tables, light and dark, fit to be printed.
extension BenchReport {
    public var html: String {
        let title = "Causeway bench, \(Self.dateText(date))"
        return HTMLPage(title: title).text("""
            <h1>\(escaped(title))</h1>
            \(HTMLPage.table(nil, facts.map { [$0, $1] }))
            <h2>Gateways</h2>
            \(HTMLPage.table(["name", "program", "version", "tunnel", "I/O", "kernels", "log-ins a second", "memory, MB"], contenders.map {
                [$0.name, $0.program, $0.version, $0.tunnelBackend, $0.ioBackend, $0.kernels, number($0.setupsPerSecond), number(Double($0.residentBytes) / 1e6)]
            }))
            <h2>Throughput and cost</h2>
            \(plot("Highest rate under \(number(settings.tolerance * 100)) % loss, thousand packets a second") { result in
                result.highestRate.map { BarPlot.Bar(value: $0 / 1000, least: $0 / 1000, greatest: $0 / 1000) }
            })\(plot("Mbit/s that arrived (all gateways at the same rate; TCP as fast as it goes)") { bar($0.megabitsPerSecond) })\
            \(plot("CPU seconds of the gateway for each GB; less is better") { bar($0.cpuSecondsPerGB) })
            \(HTMLPage.table(["", "gateway", "highest kpps", "limit", "Mbit/s", "CPU s/GB", "ratio"] + (settings.faults == nil ? [] : ["of the clean wire's Mbit/s"]), cases.flatMap { one in
                one.results.map {
                    [
                        one.name, $0.contender, $0.highestRate.map { number($0 / 1000) } ?? "-", $0.limit?.rawValue ?? "-",
                        spread($0.megabitsPerSecond), spread($0.cpuSecondsPerGB), ratio(one.cost(of: $0)),
                    ] + (settings.faults == nil ? [] : [ratio($0.goodputKept)])
                }
            }))
            \(latencyPart)\(soakPart)<ul>\(notes.map { "<li>\(escaped($0))</li>" }.joined())</ul>
            """)
    }

    private func bar(_ spread: Spread?) -> BarPlot.Bar? { spread.map { BarPlot.Bar(value: $0.median, least: $0.least, greatest: $0.greatest) } }

    private func plot(_ title: String, _ bar: (Result) -> BarPlot.Bar?) -> String {
        let groups = cases.map { one in
            (name: one.name, bars: contenders.map { contender in one.results.first { $0.contender == contender.name }.flatMap(bar) })
        }
        return BarPlot(title: title, series: contenders.map(\.name), groups: groups.filter { $0.bars.contains { $0 != nil } }).svg
    }

    private var latencyPart: String {
        let rows = cases.flatMap { one in one.results.flatMap { result in result.latencies.map { (one.name, result.contender, $0) } } }
        guard !rows.isEmpty else { return "" }
        let plots = contenders.map { contender in
            let groups = rows.filter { $0.1 == contender.name }.map { name, _, at in
                (
                    name: "\(name), \(at.load) %",
                    bars: [at.sample.latency?.median, at.sample.latency?.p99].map { $0.map { BarPlot.Bar(value: $0, least: $0, greatest: $0) } }
                )
            }
            return BarPlot(title: "Latency, microseconds: \(contender.name)", series: ["median", "99 %"], groups: groups).svg
        }
        let table = HTMLPage.table(
            ["", "gateway", "load", "kpps", "median", "90 %", "99 %", "99.9 %", "greatest", "lost %"],
            rows.map { name, contender, at in
                let latency = at.sample.latency
                return [name, contender, "\(at.load) %", number((at.sample.rate ?? 0) / 1000)]
                    + [latency?.median, latency?.p90, latency?.p99, latency?.p999, latency?.greatest].map { $0.map(number) ?? "-" }
                    + [number(share(at.sample.lost, of: at.sample.sent))]
            })
        let distributions = cases.flatMap { one in
            one.results.map { result in distribution(of: result.latencies, "\(one.name), \(result.contender)") }
        }
        return "<h2>Latency</h2><p>One way, from when a packet was due; loads in percent of the highest rate.</p>\n" + plots.joined() + table
            + "<h3>Distribution</h3>" + distributions.joined()
    }

    /// Percent of the packets of each load against their latency, whose axis is logarithmic.
    private func distribution(of latencies: [LatencyAtLoad], _ name: String) -> String {
        let measured = latencies.compactMap { at in at.sample.latency.map { (at.load, $0) } }
        guard let least = measured.compactMap(\.1.bins.first?.microseconds).min(), let greatest = measured.map(\.1.p999).max(), greatest > least else { return "" }
        let steps = 40
        let edges = (0...steps).map { least * pow(greatest / least, Double($0) / Double(steps)) }
        let classes = measured.map { $0.1.classes(edges) }
        return AreaPlot(
            title: "Packets in % by latency in microseconds (loads on top of each other; the last class: all that took longer): \(name)", series: measured.map { "\($0.0) %" },
            labels: (edges + [greatest]).map(number), values: (0...edges.count).map { step in classes.map { $0[step] } }
        ).svg
    }

    private var soakPart: String {
        guard !soaks.isEmpty else { return "" }
        return "<h2>Soak</h2>"
            + HTMLPage.table(
                ["gateway", "", "packets sent", "lost", "CPU s/GB"],
                soaks.map { [$0.contender, $0.name, "\($0.sent)", "\($0.lost)", spread($0.cpuSecondsPerGB)] })
            + soaks.map { soak in
                // Memory and losses one below the other: they have a scale each.
                let moments = soak.slices.map { number($0.at) + " s" }
                func area(_ what: String, _ value: (Soak.Slice) -> Double) -> String {
                    AreaPlot(title: "\(what): \(soak.contender)", series: [what], labels: moments, values: soak.slices.map { [value($0)] }).svg
                }
                return area("Resident memory, MB") { Double($0.residentBytes) / 1e6 } + area("Packets lost") { Double($0.sample.lost) }
                    + HTMLPage.table(Self.soakHeader, soak.thinned(to: 60).map(Self.soakRow))
            }.joined()
    }
}
