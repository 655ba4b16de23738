import Benchmark
import Testing

@Suite struct WireFaultsTests {
    @Test(arguments: [("5", 5.0, 8), ("0.5:3", 0.5, 3), ("100:64", 100, 64), ("0:1", 0, 1)])
    func reorderingAsItIsWritten(text: String, percent: Double, places: Int) {
        let faults = WireFaults(reordering: text)
        #expect(faults?.reorder == percent && faults?.places == places && faults?.loss == 0)
    }

    @Test(arguments: ["", "x", "-1", "101", "nan", "5:", "5:0", "5:65", "5:8:1", ":8", "5:8x"])
    func whatIsNoReordering(text: String) { #expect(WireFaults(reordering: text) == nil) }

    @Test func everythingLostIsNoWire() {
        #expect(WireFaults(loss: 99.9) != nil && WireFaults(loss: 100) == nil && WireFaults(loss: -0.1) == nil && WireFaults(loss: .nan) == nil)
    }

    @Test func whatItIsCalled() {
        #expect(WireFaults(loss: 0.5, reorder: 5)?.description == "0.5 % lost, 5 % overtaken by up to 8")
        #expect(WireFaults(loss: 2)?.description == "2 % lost" && WireFaults()?.description == "none")
        #expect(WireFaults()?.isNone == true && WireFaults(loss: 1)?.isNone == false && WireFaults(reorder: 1)?.isNone == false)
    }
}
