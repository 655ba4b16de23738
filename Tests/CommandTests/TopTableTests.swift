import Foundation
import Gateway
import Testing

@testable import causeway

@Suite struct TopTableTests {
    static func session(
        _ id: UInt64, _ user: String? = "ann", kind: String = "pptp", bytesIn: UInt64 = 0, bytesOut: UInt64 = 0, packetsIn: UInt64 = 0,
        packetsOut: UInt64 = 0, drops: UInt64 = 0, uptime: Int = 60, startedAt: Int = 1_700_000_000
    ) throws -> SessionView {
        let name = user.map { "\"user\":" + String(decoding: try! JSONEncoder().encode($0), as: UTF8.self) + "," } ?? ""
        let json = """
            {"id":\(id),"kind":"\(kind)",\(name)"state":"open","innerAddress":"10.8.0.\(id)","prefixes":[],"tunnel":"hub","encryption":"none",
            "startedAt":\(startedAt),"uptimeSeconds":\(uptime),"packetsIn":\(packetsIn),"bytesIn":\(bytesIn),"packetsOut":\(packetsOut),
            "bytesOut":\(bytesOut),"reordered":0,"lost":0,"drops":{"gre-late":\(drops)}}
            """
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .secondsSince1970
        return try decoder.decode(SessionView.self, from: Data(json.utf8))
    }

    @Test func ratesAreMeansOfTheTimeBetween() throws {
        let before = [try Self.session(1, bytesIn: 1000, bytesOut: 500, packetsIn: 10, packetsOut: 5, drops: 7)]
        let now = [try Self.session(1, bytesIn: 3000, bytesOut: 500, packetsIn: 30, packetsOut: 6, drops: 8)]
        let row = try #require(TopTable(before, now, seconds: 4, by: .rate).rows.first)
        #expect(row.bitsPerSecondIn == 4000)
        #expect(row.bitsPerSecondOut == 0)
        #expect(row.packetsPerSecondIn == 5)
        #expect(row.packetsPerSecondOut == 0.25)
        #expect(row.dropsPerSecond == 0.25)
        #expect(row.drops == 8)
    }

    /// Everything that a session has counted which was not there before, was counted since; a number may come again after a restart.
    @Test func newSessionsCountFromZero() throws {
        let before = [try Self.session(1, bytesIn: 1000), try Self.session(2, "bob", bytesIn: 100), try Self.session(3, bytesIn: 900)]
        let now = [
            try Self.session(1, bytesIn: 1600, startedAt: 1_700_000_050), try Self.session(2, "eve", bytesIn: 300),
            try Self.session(3, bytesIn: 50), try Self.session(4, bytesIn: 200),
        ]
        let rates = Dictionary(uniqueKeysWithValues: TopTable(before, now, seconds: 2, by: .rate).rows.map { ($0.id, $0.bitsPerSecondIn) })
        #expect(rates == [1: 6400, 2: 1200, 3: 200, 4: 800])
    }

    @Test(arguments: [
        (TopTable.Order.rate, [3, 1, 2]), (.incoming, [2, 1, 3]), (.outgoing, [3, 1, 2]), (.packets, [1, 3, 2]), (.drops, [2, 1, 3]),
        (.uptime, [2, 3, 1]), (.user, [3, 1, 2]),
    ])
    func orders(_ order: TopTable.Order, _ ids: [Int]) throws {
        let now = [
            try Self.session(1, "bob", bytesIn: 20, bytesOut: 20, packetsIn: 9, drops: 5, uptime: 1),
            try Self.session(2, "cid", bytesIn: 30, bytesOut: 0, packetsIn: 1, drops: 6, uptime: 3),
            try Self.session(3, "ann", bytesIn: 0, bytesOut: 90, packetsOut: 5, drops: 0, uptime: 2),
        ]
        #expect(TopTable([], now, seconds: 1, by: order).rows.map { Int($0.id) } == ids)
    }

    /// Who loses packets now comes before who has lost more long ago.
    @Test func dropsOfNowComeFirst() throws {
        let before = [try Self.session(1, drops: 1000), try Self.session(2, drops: 0), try Self.session(3, drops: 5)]
        let now = [try Self.session(1, drops: 1000), try Self.session(2, drops: 1), try Self.session(3, drops: 5)]
        #expect(TopTable(before, now, seconds: 1, by: .drops).rows.map(\.id) == [2, 1, 3])
    }

    @Test func lines() throws {
        let now = [try Self.session(1, bytesIn: 125_000, packetsIn: 200), try Self.session(2, "bob", kind: "wireguard", drops: 2)]
        let top = TopTable([], now, seconds: 2, by: .rate)
        #expect(top.lines(limit: .max) == [
            "2 sessions (1 pptp, 1 wireguard): 500.0 kbit/s in, 0 bit/s out, 1.0 drops/s",
            "USER  KIND       STATE  ADDRESS   TUNNEL  UPTIME    IN            OUT      PPS IN  PPS OUT  DROPS/S  DROPS",
            "ann   pptp       open   10.8.0.1  hub     00:01:00  500.0 kbit/s  0 bit/s  100     0        0        0",
            "bob   wireguard  open   10.8.0.2  hub     00:01:00  0 bit/s       0 bit/s  0       0        1.0      2",
        ])
        #expect(top.lines(limit: 1).count == 3)
        #expect(TopTable([], [], seconds: 2, by: .rate).lines(limit: .max).first == "0 sessions: 0 bit/s in, 0 bit/s out, 0 drops/s")
    }

    @Test func theScreenIsCutToTheWindow() throws {
        let now = try (1...40).map { try Self.session(UInt64($0), bytesIn: 100 - UInt64($0), drops: $0 == 1 ? 1 : 0) }
        let top = TopTable([], now, seconds: 1, by: .rate)
        let plain = top.screen(columns: 30, lines: 10, colours: false)
        #expect(plain.hasPrefix("\u{1B}[H40 sessions"))
        #expect(plain.hasSuffix("\u{1B}[J"))
        let lines = plain.components(separatedBy: "\r\n")
        // The cursor rests below the last session.
        #expect(lines.count == 10)
        #expect(lines.dropFirst().dropLast().allSatisfy { $0.hasSuffix("\u{1B}[K") && $0.count - 3 <= 30 })
        let coloured = top.screen(columns: 200, lines: 10, colours: true).components(separatedBy: "\r\n")
        #expect(coloured[1].hasPrefix("\u{1B}[7mUSER"))
        #expect(coloured[2].hasPrefix("\u{1B}[33m"))
        #expect(!coloured[3].contains("\u{1B}[33m"))
        #expect(top.screen(columns: 80, lines: 1, colours: true).components(separatedBy: "\r\n").count == 3)
    }

    @Test func namesOfStrangersDoNotMoveTheCursor() throws {
        let now = [try Self.session(1, "a\u{1B}[2Jb\r\nc\u{202E}d\u{2028}é")]
        let text = TopTable([], now, seconds: 1, by: .rate).lines(limit: .max)[2]
        #expect(text.hasPrefix(#"a\u{1B}[2Jb\r\nc\u{202E}d\u{2028}é  pptp"#))
    }

    @Test func rates() {
        for (rate, text): (Double, String) in [
            (0, "0 bit/s"), (999.4, "999 bit/s"), (999.5, "1.0 kbit/s"), (1500, "1.5 kbit/s"), (999_940, "999.9 kbit/s"), (999_950, "1.0 Mbit/s"),
            (2.5e9, "2.5 Gbit/s"), (4e12, "4000.0 Gbit/s"),
        ] { #expect(TopTable.rateText(rate) == text) }
        for (count, text): (Double, String) in [(0, "0"), (0.04, "0"), (0.05, "0.1"), (0.25, "0.3"), (9.94, "9.9"), (10, "10"), (1234.5, "1235")] {
            #expect(TopTable.countText(count) == text)
        }
    }
}
