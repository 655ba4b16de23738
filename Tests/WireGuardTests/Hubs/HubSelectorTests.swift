import Testing

@testable import WireGuard

/// Hub 0 has two endpoints, hub 1 has one. Failover after 20 s, return after 300 s; a probe of another hub takes 11 s, of the same 3 s.
@Suite struct HubSelectorTests {
    typealias Place = HubSelector.Place
    typealias Uplink = HubSelector.Uplink
    let start = ContinuousClock.now
    let first = Place(hub: 0, endpoint: 0), second = Place(hub: 0, endpoint: 1), third = Place(hub: 1, endpoint: 0)

    func at(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }
    func selector(_ endpoints: [Int] = [2, 1], failover: Int = 20, returnAfter: Int? = 300) -> HubSelector {
        HubSelector(
            endpoints: endpoints, timing: .init(failoverAfter: .seconds(failover), returnAfter: returnAfter.map { .seconds($0) }), now: start)
    }
    /// An uplink that has completed a handshake before and has tried since then.
    func trying(since seconds: Int) -> Uplink { Uplink(hasCompleted: true, tryingSince: at(seconds)) }
    func stranger(since seconds: Int) -> Uplink { Uplink(hasCompleted: false, tryingSince: at(seconds)) }
    let idle = Uplink(hasCompleted: true, tryingSince: nil)

    @Test func itBeginsWithTheFirst() { #expect(selector().current == first) }

    @Test(arguments: [([Int](), nil), ([0], nil), ([1], Place(hub: 0, endpoint: 0))] as [([Int], Place?)])
    func withoutAChoiceItStays(_ endpoints: [Int], _ place: Place?) {
        var selector = selector(endpoints)
        #expect(selector.current == place)
        #expect(selector.evaluate([stranger(since: 0)], now: at(1000)) == .stay)
    }

    @Test func patienceIsFailoverAfter() {
        var selector = selector()
        #expect(selector.evaluate([trying(since: 5)], now: at(24)) == .stay)
        #expect(selector.evaluate([trying(since: 5)], now: at(25)) == .failover(second))
        #expect(selector.current == second)
        #expect(selector.failovers == 1)
    }

    @Test func whoHasNothingToSendMovesNobody() {
        var selector = selector()
        #expect(selector.evaluate([idle, idle], now: at(100_000)) == .stay)
    }

    @Test func eachPlaceGetsTheWholeTime() {
        var selector = selector()
        #expect(selector.evaluate([trying(since: 0)], now: at(20)) == .failover(second))
        #expect(selector.evaluate([trying(since: 0)], now: at(39)) == .stay)
        #expect(selector.evaluate([trying(since: 0)], now: at(40)) == .failover(third))
    }

    @Test func afterTheLastComesTheFirstAndEachRoundTakesTwiceAsLong() {
        var selector = selector()
        var moves: [Int] = []
        for second in 0...1500 where selector.evaluate([trying(since: 0)], now: at(second)) != .stay { moves.append(second) }
        // 20 s for each of the first three, then 40, 80, 160, and 160 again.
        #expect(moves == [20, 40, 60, 100, 140, 180, 260, 340, 420, 580, 740, 900, 1060, 1220, 1380])
    }

    @Test func aHandshakeMakesPatienceShortAgain() {
        var selector = selector()
        for second in 0...100 { _ = selector.evaluate([trying(since: 0)], now: at(second)) }
        #expect(selector.failovers == 4)
        selector.completed(at: at(101))
        #expect(selector.evaluate([trying(since: 110)], now: at(129)) == .stay)
        #expect(selector.evaluate([trying(since: 110)], now: at(130)) == .failover(third))
    }

    /// Somebody else's handshake since then says that the hub answers.
    @Test func oneUplinksTroubleIsItsOwn() {
        var selector = selector()
        selector.completed(at: at(30))
        #expect(selector.evaluate([trying(since: 5), idle], now: at(60)) == .stay)
        // Began after that handshake.
        #expect(selector.evaluate([trying(since: 31), idle], now: at(60)) == .failover(second))
    }

    @Test func anIdentityThatTheHubNeverAnsweredMovesNobodyElse() {
        var selector = selector()
        selector.completed(at: at(1))
        #expect(selector.evaluate([stranger(since: 10), idle], now: at(500)) == .stay)
        #expect(selector.evaluate([stranger(since: 10)], now: at(500)) == .failover(second))
    }

    /// A hub that had nothing to do with the trouble is heard by others.
    @Test func whoHearsTheHubKeepsEverybodyThere() {
        var selector = selector()
        selector.completed(at: at(1))
        func heard(_ seconds: Int) -> Uplink { Uplink(hasCompleted: true, tryingSince: nil, heardAt: at(seconds)) }
        #expect(selector.evaluate([trying(since: 5), heard(20)], now: at(39)) == .stay)
        #expect(selector.isRefused(trying(since: 5), among: [heard(20)], now: at(39)))
        #expect(!selector.isRefused(trying(since: 20), among: [heard(20)], now: at(39)))
        // Silence of the same length as the trying.
        #expect(selector.evaluate([trying(since: 5), heard(20)], now: at(40)) == .failover(second))
        // Its own packets count as well: the hub is there, and may be too busy for handshakes.
        selector.completed(at: at(41))
        var one = trying(since: 50)
        one.heardAt = at(60)
        #expect(selector.evaluate([one], now: at(79)) == .stay)
        #expect(selector.evaluate([one], now: at(80)) == .failover(third))
    }

    @Test func whoIsSilentIsAskedOnce() {
        var selector = selector()
        selector.completed(at: at(1))
        let witness = Uplink(hasCompleted: true, tryingSince: nil, heardAt: at(2), mayBeAsked: true)
        #expect(selector.evaluate([trying(since: 10), idle, witness], now: at(19)) == .stay)
        #expect(selector.evaluate([trying(since: 10), idle, witness], now: at(20)) == .ask(2))
        #expect(selector.evaluate([trying(since: 10), idle, witness], now: at(21)) == .stay)
        // It was answered: the trouble is the first one's own.
        selector.completed(at: at(22))
        #expect(selector.evaluate([trying(since: 10), idle, witness], now: at(60)) == .stay)
        #expect(selector.isRefused(trying(since: 10), among: [idle, witness], now: at(60)))
    }

    @Test func aWitnessWithoutAnAnswerConfirmsIt() {
        var selector = selector()
        selector.completed(at: at(1))
        let witness = Uplink(hasCompleted: true, tryingSince: nil, mayBeAsked: true)
        #expect(selector.evaluate([trying(since: 10), witness], now: at(20)) == .ask(1))
        #expect(selector.evaluate([trying(since: 10), trying(since: 21)], now: at(29)) == .stay)
        #expect(selector.evaluate([trying(since: 10), trying(since: 21)], now: at(30)) == .failover(second))
    }

    // ---- The way back ----

    /// Away since 20, works at 21.
    func away(returnAfter: Int? = 300) -> HubSelector {
        var selector = selector(returnAfter: returnAfter)
        _ = selector.evaluate([trying(since: 0)], now: at(20))
        selector.completed(at: at(21))
        _ = selector.evaluate([idle], now: at(21))
        return selector
    }

    @Test func theFirstIsProbedAfterReturnAfter() {
        var selector = away()
        #expect(selector.evaluate([idle], now: at(319)) == .stay)
        #expect(selector.evaluate([idle], now: at(320)) == .probe(first))
        #expect(selector.isProbing)
        #expect(selector.current == second)
    }

    @Test func aProbeThatIsAnsweredBringsEverybodyBack() {
        var selector = away()
        _ = selector.evaluate([idle], now: at(320))
        #expect(selector.evaluate([idle], probeCompleted: true, now: at(322)) == .goBack(first))
        #expect(selector.current == first)
        #expect(!selector.isProbing)
        #expect(selector.failovers == 1)
    }

    @Test func aProbeThatIsNotAnsweredIsRepeatedLater() {
        var selector = away()
        _ = selector.evaluate([idle], now: at(320))
        #expect(selector.evaluate([idle], now: at(322)) == .stay)
        #expect(selector.evaluate([idle], now: at(323)) == .endProbe)
        #expect(selector.current == second)
        #expect(selector.evaluate([idle], now: at(622)) == .stay)
        #expect(selector.evaluate([idle], now: at(623)) == .probe(first))
    }

    /// From the third place, the first and then the second.
    @Test func everyBetterPlaceIsProbed() {
        var selector = selector()
        _ = selector.evaluate([trying(since: 0)], now: at(20))
        _ = selector.evaluate([trying(since: 0)], now: at(40))
        selector.completed(at: at(41))
        var seen: [(Int, HubSelector.Decision)] = []
        for second in 41...700 {
            let decision = selector.evaluate([idle], now: at(second))
            if decision != .stay { seen.append((second, decision)) }
        }
        #expect(seen.map(\.0) == [340, 351, 352, 363, 663, 674, 675, 686])
        #expect(seen.prefix(4).map(\.1) == [.probe(first), .endProbe, .probe(second), .endProbe])
        // The second answers, and from there the first is probed again.
        #expect(selector.evaluate([idle], now: at(986)) == .probe(first))
        #expect(selector.evaluate([idle], now: at(997)) == .endProbe)
        #expect(selector.evaluate([idle], now: at(998)) == .probe(second))
        #expect(selector.evaluate([idle], probeCompleted: true, now: at(999)) == .goBack(second))
        selector.completed(at: at(999))
        _ = selector.evaluate([idle], now: at(1000))
        #expect(selector.evaluate([idle], now: at(1299)) == .probe(first))
    }

    @Test func withoutReturnAfterItStaysAway() {
        var selector = away(returnAfter: nil)
        #expect(selector.evaluate([idle], now: at(1_000_000)) == .stay)
    }

    @Test func fromAPlaceThatDoesNotWorkNobodyProbes() {
        var selector = selector()
        _ = selector.evaluate([trying(since: 0)], now: at(20))
        #expect(selector.evaluate([idle], now: at(10_000)) == .stay)
    }

    @Test func aFailoverEndsTheProbe() {
        var selector = away()
        _ = selector.evaluate([idle], now: at(320))
        #expect(selector.evaluate([trying(since: 302)], now: at(322)) == .failover(third))
        #expect(!selector.isProbing)
        #expect(selector.evaluate([idle], probeCompleted: true, now: at(323)) == .stay)
        #expect(selector.current == third)
    }
}
