import Addresses
import DataPath
import Foundation
import Testing

@testable import LegacyClient

@Suite("The report of a run")
struct DialReportTests {
    private static func status(_ number: Int, _ phase: SessionPhase, _ failure: SessionFailure? = nil) -> SessionStatus {
        var status = SessionStatus(number: number, user: "u\(number)", phase: phase, failure: failure)
        if phase == .up || failure?.kind == .lost {
            status.network = SessionNetwork(
                address: IPAddress("10.8.0.0")!.advanced(by: number)!, peer: IPAddress("10.8.0.254")!, dns: [], nbns: [], mtu: 1396,
                encryptionBits: 128, statelessReceive: true, statelessTransmit: true)
            status.upTime = .milliseconds(number * 10)
            var counters = Counters()
            counters.packetsIn = 2
            counters.bytesOut = 100
            status.counters = counters
        }
        return status
    }

    private static var report: DialReport {
        var ping = PingSchedule(sources: [IPAddress("10.8.0.1")!], count: 1, interval: .seconds(1), now: .now)
        let now = ContinuousClock.now
        _ = ping.due(now: now)
        ping.received(by: IPAddress("10.8.0.1")!, sequence: 1, now: now + .microseconds(1500))
        return DialReport(
            server: "192.0.2.1", profile: "pppd", interface: "cwdial0",
            statuses: [
                status(1, .up), status(2, .up), status(3, .failed, .authentication(code: 691)), status(4, .failed, .lost("gone")),
            ], pings: ping.targets, stray: Counters())
    }

    @Test func totals() {
        let totals = Self.report.totals
        #expect((totals.sessions, totals.up, totals.failed, totals.lost) == (4, 2, 1, 1))
        #expect((totals.packetsIn, totals.bytesOut) == (6, 300))
        #expect((totals.upMilliseconds?.minimum, totals.upMilliseconds?.median, totals.upMilliseconds?.maximum) == (10, 20, 40))
        #expect((totals.ping?.sent, totals.ping?.received, totals.ping?.lost) == (1, 1, 0))
    }

    @Test func theSetUpIsCountedFromTheFirstTurnToTheLastThatIsUp() {
        let now = ContinuousClock.now
        func status(_ number: Int, up at: Double, after: Double) -> SessionStatus {
            var status = SessionStatus(number: number, user: "u", phase: .up)
            (status.upAt, status.upTime) = (now + .seconds(at), .seconds(after))
            return status
        }
        let failed = SessionStatus(number: 3, user: "u", phase: .failed, failure: .connection("refused"))
        func report(_ statuses: [SessionStatus]) -> DialReport {
            DialReport(server: "192.0.2.1", profile: "pppd", interface: "cwdial0", statuses: statuses, pings: nil, stray: Counters())
        }
        let totals = report([status(1, up: 1.5, after: 0.5), status(2, up: 3, after: 0.1), failed]).totals
        #expect((totals.setupSeconds, totals.logInsPerSecond) == (2, 1))
        #expect(totals.causes == ["no connection: refused": 1])
        let none = report([failed]).totals
        #expect(none.setupSeconds == nil && none.logInsPerSecond == nil)
    }

    @Test func sessions() {
        let sessions = Self.report.sessions
        #expect(sessions[0].ping?.received == 1)
        #expect(sessions[0].address == IPAddress("10.8.0.1"))
        #expect(sessions[1].ping == nil)
        #expect(sessions[2].failure?.authenticationCode == 691)
        #expect(sessions[2].failure?.kind == .authentication)
        #expect(sessions[3].failure?.text == "lost: gone")
    }

    @Test func readsBack() throws {
        let data = try JSONEncoder().encode(Self.report)
        let object = try #require(JSONSerialization.jsonObject(with: data) as? [String: Any])
        let first = try #require((object["sessions"] as? [[String: Any]])?.first)
        #expect(first["state"] as? String == "up")
        #expect(first["address"] as? String == "10.8.0.1")
        #expect(try JSONDecoder().decode(DialReport.self, from: data).sessions.count == 4)
    }

    @Test func spread() {
        #expect(DialReport.Spread([]) == nil)
        let spread = DialReport.Spread((1...1000).map(Double.init))
        #expect((spread?.minimum, spread?.median, spread?.percentile99, spread?.maximum) == (1, 500, 990, 1000))
        #expect(DialReport.Spread([7])?.percentile99 == 7)
    }
}
