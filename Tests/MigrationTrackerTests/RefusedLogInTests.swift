import Addresses
import Store
import Testing

@testable import MigrationTracker

@Suite struct RefusedLogInTests {
    private func refusal(_ user: String?, _ last: Int = 1, _ reason: String = "wrong password") -> RefusedLogIn {
        RefusedLogIn(user: user, reason: reason, source: IPAddress("192.0.2.\(last)")!)
    }

    @Test func theSameOnesAreOneEvent() {
        var refusals = RefusedLogIns()
        for _ in 0..<3 { refusals.add(refusal("bob")) }
        refusals.add(refusal("bob", 2))
        refusals.add(refusal(nil))
        let events = refusals.take(at: 9)
        #expect(
            events.map(\.text) == ["log-in refused: wrong password", "log-in refused (3 times): wrong password", "log-in refused: wrong password"])
        #expect(events.map(\.user) == [nil, "bob", "bob"] && events.map(\.actor.source) == ["192.0.2.1", "192.0.2.1", "192.0.2.2"])
        #expect(events.allSatisfy { $0.at == 9 && $0.kind == "refused-log-in" })
        #expect(refusals.take(at: 10).isEmpty, "each is told once")
    }

    @Test func whoTriesEverythingIsCountedOnly() {
        var refusals = RefusedLogIns()
        for number in 0..<1000 { refusals.add(refusal("u\(number)")) }
        refusals.add(refusal("u0"))
        let events = refusals.take(at: 1)
        #expect(events.count == RefusedLogIns.most + 1)
        #expect(events.last?.text == "936 more log-ins refused, of other users or from elsewhere")
    }
}
