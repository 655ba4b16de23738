import CDataPath
import Foundation
import Testing

@testable import DataPath

@Suite struct CountersTests {
    @Test func everyFieldHasItsOwn() {
        var native = cw_counters()
        native.packets_in = 1
        native.bytes_in = 2
        native.packets_out = 3
        native.bytes_out = 4
        native.control_in = 5
        native.control_out = 6
        native.gre_in = 7
        native.gre_out = 8
        native.reordered = 9
        native.lost = 10
        native.key_changes = 11
        native.icmp_sent = 12
        native.last_in_nanoseconds = 13
        native.last_data_nanoseconds = 14
        let counters = Counters(native)
        #expect(
            [
                counters.packetsIn, counters.bytesIn, counters.packetsOut, counters.bytesOut, counters.controlIn, counters.controlOut,
                counters.greIn, counters.greOut, counters.reordered, counters.lost, counters.keyChanges, counters.icmpSent,
                counters.lastInNanoseconds, counters.lastDataNanoseconds,
            ] == Array(1...14))
        #expect(counters.drops.isEmpty)
        #expect(Counters(cw_counters()) == Counters())
    }

    /// Every cause has a name of its own, and causes that did not happen are left out.
    @Test func drops() {
        let causes = Int(cw_drop.CW_DROP_COUNT.rawValue)
        var names: Set<String> = []
        for cause in 0..<causes {
            var native = cw_counters()
            withUnsafeMutableBytes(of: &native.drops) { $0.bindMemory(to: UInt64.self)[cause] = UInt64(cause) + 100 }
            let drops = Counters(native).drops
            #expect(drops.count == 1)
            #expect(drops.first?.value == UInt64(cause) + 100)
            names.formUnion(drops.keys)
        }
        #expect(names.count == causes)
        #expect(names.allSatisfy { $0.allSatisfy { $0.isLowercase || $0 == "-" } })
        #expect(!names.contains("unknown"))
        #expect(names.isSuperset(of: ["gre-malformed", "mppe-unverified", "overflow"]))
    }

    @Test func theyAreWrittenAndRead() throws {
        var counters = Counters()
        counters.bytesIn = .max
        counters.drops = ["gre-late": 3]
        #expect(try JSONDecoder().decode(Counters.self, from: JSONEncoder().encode(counters)) == counters)
    }
}
