import Testing

@testable import Migration

@Suite struct WaveTests {
    private func wave(_ date: UnixTime? = 1000, grace: UnixTime = 0) -> Wave {
        Wave(name: "w", policy: Policy(refuseAfter: date, grace: grace))
    }

    @Test func aScheduledWaveStartsByItself() throws {
        var wave = wave()
        #expect(try wave.schedule(at: 500, now: 0) == [.record(from: .planned, to: .scheduled)])
        #expect(wave.tick(now: 499).isEmpty && wave.activePolicy == nil)
        #expect(wave.tick(now: 500) == [.record(from: .scheduled, to: .running), .inviteMembers])
        #expect(wave.activePolicy == wave.policy)
        #expect(wave.tick(now: 501).isEmpty)
    }

    @Test func itsDateRetiresAndGoesOnRetiring() throws {
        var wave = wave(1000, grace: 50)
        _ = try wave.start(now: 10)
        #expect(wave.tick(now: 1049).isEmpty)
        #expect(wave.tick(now: 1050) == [.record(from: .running, to: .done), .retireMigrated])
        #expect(wave.tick(now: 2000) == [.retireMigrated])
        #expect(wave.activePolicy != nil)
    }

    @Test func everythingThatWasMissedHappensInOneTick() throws {
        var wave = wave()
        _ = try wave.schedule(at: 500, now: 0)
        #expect(
            wave.tick(now: 9000) == [
                .record(from: .scheduled, to: .running), .inviteMembers, .record(from: .running, to: .done), .retireMigrated,
            ])
    }

    @Test func pauseTakesThePolicyAwayAndNoDateComes() throws {
        var wave = wave()
        _ = try wave.start(now: 10)
        #expect(try wave.pause() == [.record(from: .running, to: .paused)])
        #expect(wave.activePolicy == nil && wave.tick(now: 5000).isEmpty)
        #expect(try wave.start(now: 5000) == [.record(from: .paused, to: .running)], "members were invited before")
    }

    @Test func aWavePausedBeforeItsStartWaitsOnOrStartsLate() throws {
        var early = wave(), late = wave()
        _ = try early.schedule(at: 500, now: 0)
        _ = try late.schedule(at: 500, now: 0)
        _ = try early.pause()
        _ = try late.pause()
        #expect(try early.start(now: 100) == [.record(from: .paused, to: .scheduled)])
        #expect(try late.start(now: 600) == [.record(from: .paused, to: .running), .inviteMembers])
    }

    @Test func rollBackPutsMembersBackAndTheWaveCanRunAgain() throws {
        var wave = wave()
        _ = try wave.start(now: 10)
        _ = wave.tick(now: 1000)
        #expect(try wave.rollBack() == [.record(from: .done, to: .rolledBack), .rollBackMembers])
        #expect(wave.activePolicy == nil && wave.tick(now: 5000).isEmpty)
        wave.policy.refuseAfter = 9000
        #expect(try wave.start(now: 5000).first == .record(from: .rolledBack, to: .running))
    }

    @Test func commandsThatDoNotFitAreRefusedAndChangeNothing() throws {
        var planned = wave()
        #expect(throws: Wave.Problem.self) { try planned.pause() }
        #expect(throws: Wave.Problem.self) { try planned.rollBack() }
        #expect(throws: Wave.Problem.self) { try planned.schedule(at: 5, now: 5) }
        #expect(throws: Wave.Problem.self) { try planned.schedule(at: 1000, now: 5) }
        #expect(throws: Wave.Problem.self) { try planned.start(now: 1000) }
        #expect(planned == wave())
        _ = try planned.start(now: 1)
        #expect(throws: Wave.Problem.self) { try planned.start(now: 2) }
        #expect(throws: Wave.Problem.self) { try planned.schedule(at: 50, now: 2) }
    }
}

@Suite struct ForecastTests {
    private func count(_ day: Int, done: Int, of all: Int) -> DayCount { DayCount(day: day, counts: [.retired: done, .legacy: all - done]) }

    @Test func thePaceOfTheWindowIsContinued() {
        #expect(Forecast(trend: [count(100, done: 0, of: 90), count(130, done: 30, of: 90)]) == .ends(day: 190, perDay: 1))
        #expect(
            Forecast(trend: [count(0, done: 0, of: 90), count(100, done: 10, of: 90), count(110, done: 30, of: 90)])
                == .ends(day: 140, perDay: 2), "what was before the window does not count")
    }
    @Test func halfAUserTakesAWholeDay() {
        #expect(Forecast(trend: [count(0, done: 0, of: 5), count(2, done: 3, of: 5)]) == .ends(day: 4, perDay: 1.5))
    }
    @Test func noProgressIsNoDate() {
        #expect(Forecast(trend: [count(0, done: 5, of: 9), count(9, done: 5, of: 9)]) == .stalled)
        #expect(Forecast(trend: [count(0, done: 6, of: 9), count(9, done: 5, of: 9)]) == .stalled)
        #expect(Forecast(trend: [count(0, done: 0, of: 200_000), count(30, done: 1, of: 200_000)]) == .stalled)
    }
    @Test func oneDayIsNoTrend() {
        #expect(Forecast(trend: []) == .unknown && Forecast(trend: [count(0, done: 5, of: 9)]) == .unknown)
    }
    @Test func nobodyLeftIsDone() { #expect(Forecast(trend: [count(0, done: 9, of: 9)]) == .done) }
}
