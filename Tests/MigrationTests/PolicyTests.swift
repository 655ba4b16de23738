import Testing

@testable import Migration

private func verdict(
    _ phase: Phase = .legacy, _ policies: Policy..., exemption: Exemption? = nil, at now: UnixTime = 1000, minute: Int = 0
) -> LoginVerdict {
    .of(phase, policies: policies, exemption: exemption, at: now) { _ in WeekMinute(minute) }
}

@Suite struct PolicyTests {
    private let exemption = Exemption(until: 2000, reason: "till", administrator: "ann")

    @Test func anEmptyPolicyAdmits() { #expect(verdict(.migrated, .allow) == .admit(rate: nil, warnings: [])) }
    @Test func aRetiredUserIsRefused() { #expect(verdict(.retired) == .refuse(.retired)) }
    @Test func theLowestRateHolds() { #expect(verdict(.dual, Policy(rate: 64), Policy(rate: 512)) == .admit(rate: 64, warnings: [])) }
    @Test func aWarningIsGivenOnce() {
        #expect(verdict(.dual, Policy(warns: true), Policy(warns: true)) == .admit(rate: nil, warnings: [.policy]))
    }
    @Test func theDateRefusesFromItsSecond() {
        #expect(verdict(.dual, Policy(refuseAfter: 1001)) == .admit(rate: nil, warnings: []))
        #expect(verdict(.dual, Policy(refuseAfter: 1000)) == .refuse(.dateIsOver(since: 1000)))
    }
    @Test func graceAdmitsWithAWarning() {
        #expect(verdict(.dual, Policy(refuseAfter: 900, grace: 101)) == .admit(rate: nil, warnings: [.grace(until: 1001)]))
        #expect(verdict(.dual, Policy(refuseAfter: 900, grace: 100)) == .refuse(.dateIsOver(since: 1000)))
        #expect(
            verdict(.dual, Policy(refuseAfter: 900, grace: 500), Policy(refuseAfter: 950, grace: 200))
                == .admit(rate: nil, warnings: [.grace(until: 1150)]))
    }
    @Test func hoursOfAllPoliciesHold() throws {
        let morning = Policy(hours: try WeeklyHours("mon-sun 08:00-12:00")), late = Policy(hours: try WeeklyHours("mon-sun 11:00-18:00"))
        #expect(verdict(.dual, morning, late, minute: 11 * 60 + 30) == .admit(rate: nil, warnings: []))
        #expect(verdict(.dual, morning, late, minute: 10 * 60) == .refuse(.outsideHours))
    }
    @Test func anExceptionBeatsEverythingUntilItExpires() {
        #expect(verdict(.retired, exemption: exemption) == .admit(rate: nil, warnings: [.exempt(until: 2000)]))
        #expect(verdict(.retired, exemption: exemption, at: 2000) == .refuse(.retired))
        #expect(verdict(.dual, Policy(warns: true, rate: 64), exemption: exemption) == .admit(rate: nil, warnings: [.policy, .exempt(until: 2000)]))
        #expect(verdict(.dual, exemption: exemption) == .admit(rate: nil, warnings: []))
    }
    @Test func refusalsFitIntoACHAPMessage() {
        for refusal in [LoginRefusal.retired, .outsideHours, .dateIsOver(since: 1)] {
            // It stands behind "E=... R=0 C=<32> V=3 M=" in one CHAP packet and must be plain text.
            #expect(refusal.message.utf8.count <= 100 && refusal.message.utf8.allSatisfy { (0x20...0x7E).contains($0) })
        }
    }
}

@Suite struct WeeklyHoursTests {
    @Test(arguments: [
        ("mon-fri 08:00-18:00", 8 * 60, true), ("mon-fri 08:00-18:00", 18 * 60, false), ("mon-fri 08:00-18:00", 5 * 1440 + 600, false),
        ("sat 22:00-02:00", 5 * 1440 + 23 * 60, true), ("sat 22:00-02:00", 6 * 1440 + 119, true), ("sat 22:00-02:00", 6 * 1440 + 120, false),
        ("sun 22:00-02:00", 60, true), ("fri-mon 00:00-24:00", 6 * 1440, true), ("fri-mon 00:00-24:00", 1439, true),
        ("fri-mon 00:00-24:00", 1440, false), ("mon 08:00-09:00, MON 10:00-11:00", 10 * 60, true),
    ])
    func contains(_ text: String, _ minute: Int, _ expected: Bool) throws {
        #expect(try WeeklyHours(text).contains(WeekMinute(minute)) == expected)
    }

    @Test(arguments: [
        "", " ", "mon", "mon 8:00-9:00", "mon 08:00", "mon 08:00-08:00", "mon 24:00-01:00", "mon 08:00-24:01", "mon 08:60-09:00", "may 08:00-09:00",
        "mon-tue-wed 08:00-09:00", "mon 08:00-09:00,", "mon  08:00-09:00 x", "-mon 08:00-09:00", "mon +8:00-09:00",
        String(repeating: "mon 08:00-09:00,", count: 100),
    ])
    func refuses(_ text: String) { #expect(throws: WeeklyHours.Problem.self) { try WeeklyHours(text) } }

    @Test(arguments: ["mon-fri 08:00-18:00, sat 09:00-12:00", "sun 22:00-02:00", "fri-mon 00:00-24:00"])
    func writesWhatItReads(_ text: String) throws { #expect(try WeeklyHours(text).description == text) }

    @Test func theEpochWasAThursday() {
        #expect(WeekMinute(at: 0, offset: 0).value == 3 * 1440)
        #expect(WeekMinute(at: 4 * 86_400, offset: 0).value == 0)
        #expect(WeekMinute(at: 4 * 86_400, offset: -60).value == 7 * 1440 - 1)
        #expect(WeekMinute(at: 4 * 86_400 + 59, offset: 3600).value == 60)
        #expect(WeekMinute(at: -1, offset: 0).value == 3 * 1440 - 1)
    }
}
