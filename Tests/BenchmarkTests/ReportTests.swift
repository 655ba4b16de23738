import Foundation
import Testing

@testable import Benchmark

@Suite struct ReportTests {
    @Test func medianWithLeastAndGreatest() {
        #expect(Spread([]) == nil)
        #expect(Spread([3, 1, 2]) == Spread([1, 2, 3]) && Spread([3, 1, 2])?.median == 2)
        let even = Spread([4, 1, 3, 2])
        #expect(even?.median == 2.5 && even?.least == 1 && even?.greatest == 4)
    }

    private static func sample(rate: Double = 1000, offered: UInt64 = 1000, sent: UInt64 = 1000, received: UInt64, byGenerator: UInt64 = 0) -> BenchReport.Sample {
        var sample = BenchReport.Sample(rate: rate, seconds: 1)
        sample.offered = offered
        sample.sent = sent
        sample.received = received
        sample.lost = sent - received
        sample.lostByGenerator = byGenerator
        sample.receivedBytes = received * 1000
        sample.gatewayCPUSeconds = 0.25
        return sample
    }

    @Test func carriedIsWhatWasSentAndArrived() {
        #expect(Self.sample(received: 999).isCarried(tolerance: 0.001))
        #expect(!Self.sample(received: 998).isCarried(tolerance: 0.001))
        // What the generator could not send does not count as carried.
        #expect(!Self.sample(sent: 998, received: 998).isCarried(tolerance: 0.001))
        #expect(!Self.sample(offered: 0, sent: 0, received: 0).isCarried(tolerance: 0.001))
    }

    @Test func whoseFaultItWas() {
        #expect(!Self.sample(received: 900).isGeneratorsFault)
        #expect(!Self.sample(received: 900, byGenerator: 50).isGeneratorsFault)
        #expect(Self.sample(received: 900, byGenerator: 51).isGeneratorsFault)
        #expect(Self.sample(sent: 900, received: 880).isGeneratorsFault)
    }

    @Test func costOfWhatArrived() {
        let sample = Self.sample(received: 500)
        #expect(sample.megabitsPerSecond == 4 && sample.packetsPerSecond == 500 && sample.cpuSecondsPerGB == 500 && sample.packetsPerCPUSecond == 2000)
        #expect(Self.sample(received: 0).cpuSecondsPerGB == 0)
    }

    /// Two gateways, the second one at half the cost, its name one that has to be escaped.
    private static func report() -> BenchReport {
        var report = BenchReport(
            date: Date(timeIntervalSince1970: 1_800_000_000), command: "causeway bench --size 64",
            machine: .init(cpu: "A CPU", processors: 2, memoryBytes: 4_000_000_000, system: "Linux 6.1"),
            settings: .init(
                clients: 16, profile: "embedded", secondsPerTrial: 1, rounds: 2, tolerance: 0.001, workers: 1, gatewayProcessors: "0",
                otherProcessors: "1"))
        report.contenders = ["embedded", "<other>"].map {
            .init(name: $0, program: "/bin/\($0)", version: "1.0", tunnelBackend: "embedded", ioBackend: "-", kernels: "avx2", setupSeconds: 1, setupsPerSecond: 16, residentBytes: 50_000_000)
        }
        var results = report.contenders.map { BenchReport.Result(contender: $0.name) }
        for index in results.indices {
            results[index].highestRate = 100_000
            results[index].limit = index == 0 ? .gateway : .generator
            results[index].rounds = [sample(received: 1000), sample(received: 1000)]
            for round in results[index].rounds.indices where index == 1 { results[index].rounds[round].gatewayCPUSeconds = 0.125 }
            var histogram = Histogram()
            for value in 1...1000 as ClosedRange<UInt64> { histogram.record(value * 1000) }
            var sample = sample(received: 1000)
            sample.latency = BenchReport.Latency(histogram)
            results[index].latencies = [.init(load: 50, sample: sample)]
        }
        report.cases = [.init(BenchCase(.udp(PacketMix("64")!), .toHub), results: results), .init(BenchCase(.tcp, .both), results: [results[0]])]
        report.soaks = [
            .init(
                contender: "embedded", name: "UDP 64 to-hub",
                slices: (0..<50).map {
                    .init(at: Double($0) * 10, sample: sample(received: 999), residentBytes: 50_000_000 + UInt64($0) * 100_000, drops: $0 == 49 ? 7 : nil, hostDrops: 0)
                })
        ]
        report.missing = [.init(name: "kernel", reason: "no module")]
        report.incomplete = "time & tide"
        return report
    }

    @Test func survivesItsJSON() throws {
        let report = Self.report()
        #expect(try JSONDecoder().decode(BenchReport.self, from: JSONEncoder().encode(report)) == report)
    }

    @Test func theTableSaysWhatCounts() {
        let text = Self.report().text
        #expect(text.contains("UDP 64 to-hub  embedded  100") && text.contains("2.00x") && text.contains("INCOMPLETE: time & tide"))
        #expect(text.contains("SOAK embedded, UDP 64 to-hub: 50000 packets sent, 50 lost, CPU s/GB 250, memory +4.90 MB"))
        // Its last slice is one of those that are shown.
        #expect(text.contains("490    1.00  1     7 ") && !text.contains("\n0      1.00"))
        #expect(text.contains("NOT MEASURED: kernel: no module") && text.contains("no faults") && !text.contains("clean wire"))
        #expect(text.contains("Limit \"generator\"") && text.contains("gateway on 0, the rest on 1"))
        #expect(!text.split(separator: "\n", omittingEmptySubsequences: false).contains { $0.hasSuffix(" ") })
    }

    @Test func ratiosAreThoseOfTheRounds() {
        var report = Self.report()
        // Twice as loaded in the second round, both of them: 4, 8 against 1, 4.
        for (round, (ours, theirs)) in [(1.0, 0.25), (2.0, 1.0)].enumerated() {
            report.cases[0].results[0].rounds[round].gatewayCPUSeconds = ours
            report.cases[0].results[1].rounds[round].gatewayCPUSeconds = theirs
        }
        let ratio = report.cases[0].cost(of: report.cases[0].results[1])
        #expect(ratio?.median == 3 && ratio?.least == 2 && ratio?.greatest == 4)
        #expect(report.cases[0].cost(of: report.cases[0].results[0]) == nil)
        #expect(report.text.contains("3.00x (2.00-4.00)") && report.html.contains("3.00x (2.00-4.00)"))
        // A round without a tick says nothing.
        report.cases[0].results[1].rounds[0].gatewayCPUSeconds = 0
        #expect(report.cases[0].cost(of: report.cases[0].results[1])?.least == 2)
    }

    @Test func aBadWireAgainstTheCleanOne() {
        var report = Self.report()
        report.settings.faults = WireFaults(loss: 1, reorder: 5, places: 4)
        for index in report.cases[0].results.indices { report.cases[0].results[index].cleanRounds = [Self.sample(received: 1000), Self.sample(received: 500)] }
        #expect(report.cases[0].results[0].goodputKept?.least == 1 && report.cases[0].results[0].goodputKept?.greatest == 2)
        #expect(report.text.contains("1.50x (1.00-2.00)") && report.text.contains("1 % lost, 5 % overtaken by up to 4") && report.html.contains("1.50x (1.00-2.00)"))
    }

    @Test func whatTheWireTookIsNobodysLoss() {
        var sample = Self.sample(received: 900)
        sample.lostByWire = 99
        #expect(sample.isCarried(tolerance: 0.001) && !sample.isCarried(tolerance: 0.0009))
        // Of the one that is left.
        sample.lostByGenerator = 1
        #expect(sample.isGeneratorsFault)
        sample.lostByGenerator = 0
        #expect(!sample.isGeneratorsFault)
    }

    @Test func latenciesInClasses() {
        var histogram = Histogram()
        for value in [10, 20, 20, 60] as [UInt64] { histogram.record(value * 1000) }
        let latency = BenchReport.Latency(histogram)
        #expect(latency?.bins.map(\.packets) == [1, 2, 1] && latency?.bins.last.map { (60...62).contains($0.microseconds) } == true)
        #expect(latency?.classes([12, 40]) == [25, 50, 25] && latency?.classes([]) == [100] && latency?.classes([100]) == [100, 0])
    }

    /// Well-formed (but for the doctype and the void meta elements, which XML does not know), and complete without another file.
    @Test func thePageStandsAlone() throws {
        let html = Self.report().html
        #expect(html.contains("&lt;other&gt;") && !html.contains("<other>") && html.contains("time &amp; tide"))
        #expect(!html.contains("http") && !html.contains("src=") && html.contains("prefers-color-scheme: dark") && html.contains("@media print"))
        #expect(html.components(separatedBy: "<svg").count - 1 == 10, "rate, throughput, cost, latencies of two, three distributions, memory and losses of the soak")
        for tag in ["svg", "table", "tr", "td", "th", "text", "div", "ul", "li", "h2", "style", "body", "html"] {
            let opened = html.components(separatedBy: "<\(tag)>").count + html.components(separatedBy: "<\(tag) ").count
            #expect(opened - 2 == html.components(separatedBy: "</\(tag)>").count - 1, "\(tag)")
        }
    }
}
