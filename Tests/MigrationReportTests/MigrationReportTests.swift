import Devices
import Foundation
import Migration
import Testing

@testable import MigrationReport
@testable import Store

private let day: UnixTime = 86_400
/// 2026-01-01 00:00 UTC.
private let now: UnixTime = 20_454 * day

private func makeReport() throws -> MigrationReport {
    var shops = Wave(name: "shops", policy: Policy(refuseAfter: now + 20 * day, grace: 2 * day))
    _ = try shops.schedule(at: now + 5 * day, now: now)
    var plant = Wave(name: "<plant>")
    _ = try plant.start(now: now - day)
    let counts: [Phase: Int] = [.legacy: 30, .invited: 10, .dual: 10, .migrated: 40, .retired: 10]
    let before: [Phase: Int] = [.legacy: 70, .invited: 10, .dual: 10, .migrated: 10]
    let status = MigrationStatus(
        counts: counts, waves: [.init(wave: plant, counts: [.migrated: 3, .legacy: 1]), .init(wave: shops, counts: [.legacy: 10])],
        unassigned: [.legacy: 19], trend: [DayCount(day: 20_434, counts: before), DayCount(day: 20_454, counts: counts)], setByHand: 2, exempt: 1,
        blockers: [
            .init(user: "till & co", phase: .dual, device: "embedded", legacyAt: now - 3600, bytes: 2_500_000_000),
            .init(user: "=cmd()", phase: .legacy, device: nil, legacyAt: nil, bytes: 999),
        ],
        devices: [.init(kind: "Windows 10/11", users: 20), .init(kind: "embedded", users: 7), .init(kind: "MikroTik RouterOS", users: 3)])
    var migrated = UserMigration(since: now - 9 * day)
    _ = migrated.legacyOpened(at: now - 9 * day, MigrationRules())
    let users = [
        StoredUser(
            name: "=cmd(),\"x\"", origin: .sight, createdAt: 0, removedAt: nil, migration: migrated, wave: "shops",
            exemption: Exemption(until: now + day, reason: "", administrator: "root"), note: "",
            lastDevice: DeviceGuess(kind: "embedded", fingerprint: "", evidence: ""))
    ]
    return MigrationReport(instance: "gw-1", at: now, status: status, users: users)
}

@Suite struct MigrationReportTests {
    @Test func `the screenful`() throws {
        #expect(
            try makeReport().statusText(rows: 2) == """
                MIGRATION of gw-1, 2026-01-01 00:00 UTC
                100 users, 50 done (50 %): legacy 30, invited 10, dual 10, migrated 40, retired 10
                [######========================------......                  ]
                trend     ▁▄  done since 2025-12-12: 10 to 50
                forecast  at 2.0 users a day the last one is done on 2026-01-26
                by hand   2 phases were set by a person and nothing seen has confirmed them
                exempt    1 users, for now

                WAVES
                wave     state      starts            PPTP refused      users  done  legacy  invited  dual  migrated  retired
                <plant>  running    2025-12-31 00:00  -                 4      75 %  1       0        0     3         0
                shops    scheduled  2026-01-06 00:00  2026-01-23 00:00  10     0 %   10      0        0     0         0
                (none)   -          -                 -                 19     0 %   19      0        0     0         0

                WHO STILL NEEDS PPTP (by its traffic in 30 days)
                user       phase   device    last PPTP         traffic
                till & co  dual    embedded  2025-12-31 23:00  2.5 GB
                =cmd()     legacy  -         -                 999 B

                DEVICES THAT CANNOT MOVE AS THEY ARE
                device             users  what to do
                embedded           7      no WireGuard known: keep it behind a router that has it, or replace it
                MikroTik RouterOS  3      upgrade to RouterOS 7 or newer, which has WireGuard

                NEXT
                2026-01-06 00:00  wave "shops" starts
                2026-01-21 00:00  wave "shops": last days of grace begin

                """)
    }

    @Test func `the text has everything`() throws {
        let text = try makeReport().text
        #expect(text.contains("2026-01-23 00:00  wave \"shops\": PPTP is refused\n"))
        #expect(text.contains("\nEVERYBODY\n"))
    }

    @Test func `nobody at all`() {
        let empty = MigrationStatus(counts: [:], waves: [], unassigned: [:], trend: [], setByHand: 0, exempt: 0, blockers: [], devices: [])
        let report = MigrationReport(instance: "gw", at: now, status: empty)
        #expect(report.statusText().hasPrefix("MIGRATION of gw, 2026-01-01 00:00 UTC\n0 users, 0 done (100 %): legacy 0,"))
        #expect(report.statusText().contains("forecast  too early to tell"))
        #expect(!report.html.contains("<svg"))
        #expect(report.csv.split(separator: "\r\n").count == 1)
    }

    @Test(arguments: [7, 60, 61]) func `the bar is as wide as it should be, whatever the shares`(width: Int) throws {
        var report = try makeReport()
        for (legacy, done) in [(1, 2), (0, 7), (13, 0), (333, 334)] {
            report.status.counts = [.legacy: legacy, .migrated: done]
            #expect(report.bar(width: width).count == width)
        }
    }

    @Test func `the date that a wave refuses is past`() throws {
        var report = try makeReport()
        report.at = now + 30 * day
        #expect(report.steps.isEmpty)
    }

    @Test func `JSON`() throws {
        let object = try #require(try JSONSerialization.jsonObject(with: Data(makeReport().json)) as? [String: Any])
        #expect(
            Set(object.keys) == [
                "instance", "at", "total", "done", "counts", "unassigned", "trend", "forecast", "setByHand", "exempt", "waves", "blockers", "devices",
                "next", "users",
            ])
        #expect(object["counts"] as? [String: Int] == ["legacy": 30, "invited": 10, "dual": 10, "migrated": 40, "retired": 10])
        let forecast = try #require(object["forecast"] as? [String: Any])
        #expect(forecast["state"] as? String == "ends")
        #expect(forecast["day"] as? Int == 20_479)
        #expect((object["devices"] as? [[String: Any]])?.map { $0["wireGuard"] as? String } == ["yes", "no", "after-upgrade"])
        #expect((object["users"] as? [[String: Any]])?.first?["name"] as? String == "=cmd(),\"x\"")
    }

    @Test func `CSV that no spreadsheet executes`() throws {
        let lines = try makeReport().csv.components(separatedBy: "\r\n")
        #expect(lines[0] == "user,phase,since,set by,wave,device,last PPTP,WireGuard since,last WireGuard,exempt until")
        #expect(
            lines[1]
                == "\"'=cmd(),\"\"x\"\"\",legacy,2025-12-23 00:00,evidence,shops,embedded,2025-12-23 00:00,-,-,2026-01-02 00:00")
        #expect(lines.count == 3 && lines[2].isEmpty)
        #expect(["+1", "@a", "-x", "-", "a\nb", "x"].map(MigrationReport.cell) == ["'+1", "'@a", "'-x", "-", "\"a\nb\"", "x"])
    }

    @Test func `one HTML file with charts and nothing from elsewhere`() throws {
        let html = try makeReport().html
        #expect(html.components(separatedBy: "<svg ").count == 3)
        #expect(html.contains("<b>50 of 100 users (50 %) no longer need PPTP</b>; at 2.0 users a day the last one is done on 2026-01-26."))
        #expect(html.contains("<td>till &amp; co</td>") && html.contains("<td>&lt;plant&gt;</td>") && !html.contains("<plant>"))
        for tag in ["svg", "table", "tr", "td", "th", "text", "div", "h1", "h2", "p", "style", "body", "html"] {
            let opened = html.components(separatedBy: "<\(tag)>").count + html.components(separatedBy: "<\(tag) ").count
            #expect(opened - 2 == html.components(separatedBy: "</\(tag)>").count - 1, "\(tag)")
        }
        for outside in ["http:", "https:", "src=", "href=", "url(", "<script", "@import"] { #expect(!html.contains(outside)) }
        #expect(html.contains("@media print"))
    }
}
