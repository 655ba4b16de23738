import Benchmark
import BenchmarkRunner
import Testing

@Suite struct TrafficTests {
    @Test func sizesByTheirNames() throws {
        #expect(PacketMix("1400")?.sizes == [1400])
        let imix = try #require(PacketMix("imix"))
        #expect(imix.sizes.filter { $0 == 64 }.count == 7 && imix.sizes.filter { $0 == 570 }.count == 4 && imix.sizes.filter { $0 == 1400 }.count == 1)
        #expect(imix.sizes.count == 12 && imix.mean == 344)
        for bad in ["", "0", "51", "2049", "-64", "IMIX", "64.5", "65600"] { #expect(PacketMix(bad) == nil, "\(bad)") }
        #expect(imix.firstLonger(than: 1396) == 1400 && imix.firstLonger(than: 1400) == nil)
    }

    @Test func everyMixInEveryDirectionThenTCP() {
        let mixes = ["64", "imix"].compactMap { PacketMix($0) }
        #expect(
            BenchCase.all(mixes: mixes, directions: [.toHub, .both], udp: true, tcp: true).map(\.name) == [
                "UDP 64 to-hub", "UDP 64 both", "UDP imix to-hub", "UDP imix both", "TCP to-hub", "TCP both",
            ])
        #expect(BenchCase.all(mixes: mixes, directions: [.fromHub], udp: false, tcp: true).map(\.name) == ["TCP from-hub"])
    }

    @Test func processorsAreDividedWhereThereAreEnough() throws {
        let two = try #require(BenchPlan.division(processors: [2, 5], workers: 1))
        #expect(two.gateway == [2] && two.others == [5])
        let many = try #require(BenchPlan.division(processors: Array(0..<8), workers: 3))
        #expect(many.gateway == [0, 1, 2] && many.others == [3, 4, 5, 6, 7])
        #expect(BenchPlan.division(processors: [0], workers: 1) == nil && BenchPlan.division(processors: [0, 1], workers: 2) == nil)
    }
}
