import Testing

@testable import Gateway

@Suite(.timeLimit(.minutes(1))) struct BulletinTests {
    @Test func everySubscriberHearsEverythingInOrder() async throws {
        let bulletin = Bulletin()
        bulletin.tell(.tunnelUp("before"))
        let first = try #require(bulletin.subscribe(backlog: 10)), second = try #require(bulletin.subscribe(backlog: 10))
        for name in ["a", "b", "c"] { bulletin.tell(.tunnelUp(name)) }
        bulletin.finish()
        for subscription in [first, second] {
            var heard: [Bulletin.Entry] = []
            for await signal in subscription.signals { if case .entry(let entry) = signal { heard.append(entry) } }
            #expect(heard.map(\.happening) == [.tunnelUp("a"), .tunnelUp("b"), .tunnelUp("c")])
            #expect(heard.map(\.number) == [2, 3, 4])
            #expect(subscription.takeLost() == 0)
        }
    }

    /// Whoever tells never waits.
    @Test func whoIsSlowLosesTheOldestAndKnowsHowMany() async throws {
        let bulletin = Bulletin()
        let slow = try #require(bulletin.subscribe(backlog: 2)), quick = try #require(bulletin.subscribe(backlog: 10))
        for name in ["a", "b", "c", "d", "e"] { bulletin.tell(.tunnelUp(name)) }
        bulletin.finish()
        var heard: [Happening] = []
        for await signal in slow.signals { if case .entry(let entry) = signal { heard.append(entry.happening) } }
        #expect(heard == [.tunnelUp("d"), .tunnelUp("e")])
        #expect(slow.takeLost() == 3)
        #expect(slow.takeLost() == 0)
        #expect(quick.takeLost() == 0)
    }

    @Test func placesAreLimitedAndComeBack() throws {
        let bulletin = Bulletin(capacity: 2)
        let first = try #require(bulletin.subscribe(backlog: 1))
        do {
            let second = bulletin.subscribe(backlog: 1)
            #expect(second != nil)
            #expect(bulletin.subscribe(backlog: 1) == nil)
            _ = second
        }
        #expect(bulletin.subscriberCount == 1)
        #expect(bulletin.subscribe(backlog: 1) != nil)
        bulletin.finish()
        #expect(bulletin.subscribe(backlog: 1) == nil)
        withExtendedLifetime(first) {}
    }

    @Test func nothingIsMadeForNobody() {
        let bulletin = Bulletin()
        func expensive() -> Happening {
            Issue.record("nobody listens")
            return .tunnelUp("")
        }
        bulletin.tell(expensive())
    }
}
