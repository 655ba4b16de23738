import Testing

@testable import Migration

private let day: UnixTime = 86_400
private let rules = MigrationRules(quietDays: 14)

@Suite struct UserMigrationTests {
    private var user = UserMigration(since: 0)

    @Test func aUserBeginsInLegacyAndStaysThereWithPPTP() {
        var user = user
        #expect(user.legacyOpened(at: day, rules) == nil)
        #expect(user.legacyClosed(at: 2 * day, rules) == nil)
        #expect(user.settle(at: 100 * day, rules) == nil)
        #expect(user.phase == .legacy && user.legacyAt == 2 * day)
    }

    @Test func anInvitationMovesOnlyWhoIsInLegacy() {
        var user = user
        #expect(user.invited(at: 5, by: .administrator("ann"))?.to == .invited)
        #expect(user.mover == .administrator("ann"))
        #expect(user.invited(at: 6, by: .administrator("ann")) == nil)
        #expect(user.invitationWithdrawn(at: 7, by: .administrator("ann"))?.to == .legacy)
        #expect(user.invitedAt == nil)
    }

    @Test func wireGuardBesideFreshPPTPIsDual() {
        var user = user
        _ = user.legacyOpened(at: day, rules)
        _ = user.legacyClosed(at: day, rules)
        let change = user.nativeSeen(at: 2 * day, by: "gw1", rules)
        #expect(change == PhaseChange(from: .legacy, to: .dual, at: 2 * day, mover: .evidence, reason: "WireGuard seen by gw1"))
    }

    @Test func quietPPTPMakesADualUserMigratedToTheSecond() {
        var user = user
        _ = user.legacyOpened(at: 0, rules)
        _ = user.legacyClosed(at: 100, rules)
        _ = user.nativeSeen(at: 200, by: "gw1", rules)
        #expect(user.settle(at: 100 + 14 * day - 1, rules) == nil)
        #expect(user.settle(at: 100 + 14 * day, rules)?.to == .migrated)
    }

    @Test func whoIsAwayIsNotMigrated() {
        var user = user
        _ = user.nativeSeen(at: 100, by: "gw1", rules)  // never PPTP: migrated at once
        #expect(user.phase == .migrated)
        #expect(user.legacyOpened(at: 200, rules)?.to == .dual)
        _ = user.legacyClosed(at: 300, rules)
        #expect(user.settle(at: 300 + 60 * day, rules) == nil, "WireGuard was last seen before PPTP was")
        #expect(user.nativeSeen(at: 300 + 61 * day, by: "gw1", rules)?.to == .migrated)
    }

    @Test func anOpenPPTPSessionIsNeverSilent() {
        var user = user
        _ = user.legacyOpened(at: 0, rules)
        _ = user.nativeSeen(at: 10, by: "gw1", rules)
        #expect(user.settle(at: 90 * day, rules) == nil && user.phase == .dual)
        #expect(user.nativeSeen(at: 90 * day, by: "gw1", rules) == nil)
        #expect(user.legacyClosed(at: 91 * day, rules) == nil)
        _ = user.nativeSeen(at: 91 * day + 1, by: "gw1", rules)
        #expect(user.settle(at: 105 * day, rules)?.to == .migrated)
    }

    @Test func sessionsOfADeadProcessDoNotCountAsOpen() {
        var user = user
        _ = user.legacyOpened(at: 0, rules)
        user.legacySessionsLost(at: 5 * day)
        #expect(user.openLegacySessions == 0 && user.legacyAt == 5 * day)
        user.legacySessionsLost(at: 9 * day)
        #expect(user.legacyAt == 5 * day)
        #expect(user.legacyClosed(at: 5 * day, rules) == nil)
        #expect(user.openLegacySessions == 0)
    }

    @Test func timeRetiresWhereTheRulesSaySo() {
        let rules = MigrationRules(quietDays: 14, retireAfterDays: 30)
        var user = user
        _ = user.nativeSeen(at: 0, by: "gw1", rules)
        #expect(user.settle(at: 30 * day - 1, rules) == nil)
        #expect(user.settle(at: 30 * day, rules)?.to == .retired)
    }

    @Test func aWaveRetiresOnlyWhoIsMigrated() {
        var user = user
        #expect(user.retire(at: 1, by: .wave("w"), reason: "date") == nil)
        _ = user.nativeSeen(at: 2, by: "gw1", rules)
        #expect(user.retire(at: 3, by: .wave("w"), reason: "date")?.to == .retired)
        #expect(user.mover == .wave("w"))
        #expect(user.retire(at: 4, by: .wave("w"), reason: "date") == nil)
    }

    @Test func anAdministratorRetiresAnybody() {
        var user = user
        #expect(user.retire(at: 1, by: .administrator("ann"), reason: "left")?.to == .retired)
        #expect(user.nativeSeen(at: 2, by: "gw1", rules) == nil)
        #expect(user.legacyOpened(at: 3, rules) == nil, "an exception let them in; that is no roll-back")
        #expect(user.phase == .retired)
    }

    @Test func rollBackGoesOneStepAndHolds() {
        let rules = MigrationRules(quietDays: 14, retireAfterDays: 1)
        var user = user
        #expect(user.rollBack(at: 0, by: "ann", reason: "r", rules) == nil && !user.isHeld)
        _ = user.nativeSeen(at: 0, by: "gw1", rules)
        _ = user.settle(at: 2 * day, rules)
        #expect(user.phase == .retired)
        #expect(user.rollBack(at: 2 * day, by: "ann", reason: "printer", rules)?.to == .migrated)
        #expect(user.settle(at: 20 * day, rules) == nil && user.retire(at: 20 * day, by: .wave("w"), reason: "date") == nil)
        #expect(user.rollBack(at: 21 * day, by: "ann", reason: "printer", rules)?.to == .dual)
        #expect(user.nativeSeen(at: 22 * day, by: "gw1", rules) == nil)
        user.release()
        #expect(user.settle(at: 23 * day, rules)?.to == .migrated)
    }

    @Test func aPhaseSetByHandIsMarkedUntilItIsSeen() {
        var user = user
        #expect(user.set(.legacy, at: 1, by: "ann", reason: "r") == nil && !user.isSetByHand)
        #expect(user.set(.migrated, at: 1, by: "ann", reason: "uses the hub")?.mover == .administrator("ann"))
        #expect(user.isSetByHand)
        _ = user.nativeSeen(at: 2, by: "hub", rules)
        #expect(!user.isSetByHand && user.phase == .migrated)
    }

    @Test func lateNewsDoNotTurnTimeBack() {
        var user = user
        _ = user.nativeSeen(at: 100, by: "gw1", rules)
        _ = user.nativeSeen(at: 50, by: "hub", rules)
        #expect(user.nativeAt == 100 && user.nativeSince == 50)
    }
}
