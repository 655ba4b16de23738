import Addresses
import Testing

@testable import WireGuard

@Suite struct EndpointTrackerTests {
    let start = ContinuousClock.now
    let hub = EndpointTracker.Query(name: "hub.example", port: 5)
    let one = endpoint("192.0.2.1:5")
    let two = endpoint("192.0.2.2:5")
    let three = endpoint("192.0.2.3:5")

    func peer(_ key: UInt8, _ text: String?) -> PeerConfiguration {
        PeerConfiguration(publicKey: publicKey(key), endpoint: text.map { PeerEndpoint($0)! }, allowedIPs: [])
    }

    @Test func onlyNamesAreLookedUpAndEachOnce() {
        var tracker = EndpointTracker([peer(1, "hub.example:5"), peer(2, "192.0.2.9:5"), peer(3, nil), peer(4, "hub.example:5")])
        #expect(tracker.endpoints == [publicKey(2): endpoint("192.0.2.9:5")])
        #expect(tracker.due(start) == [hub])
        #expect(tracker.due(start + .seconds(1)) == [])
        #expect(tracker.resolved(hub, [one]) == [publicKey(1): one, publicKey(4): one])
        #expect(tracker.endpoints.count == 3)
    }

    @Test func oftenUntilItWorksThenSeldom() {
        var tracker = EndpointTracker([peer(1, "hub.example:5")])
        #expect(tracker.due(start) == [hub])
        #expect(tracker.resolved(hub, []) == [:])
        #expect(tracker.due(start + .seconds(29)) == [])
        #expect(tracker.due(start + .seconds(30)) == [hub])
        _ = tracker.resolved(hub, [one])
        tracker.observe(live: [publicKey(1)])
        #expect(tracker.due(start + .seconds(329)) == [])
        #expect(tracker.due(start + .seconds(330)) == [hub])
        // The session died: every 30 s again.
        tracker.observe(live: [])
        #expect(tracker.due(start + .seconds(360)) == [hub])
    }

    @Test func aLiveSessionKeepsItsAddressWhileTheNameHasIt() {
        var tracker = EndpointTracker([peer(1, "hub.example:5")])
        _ = tracker.resolved(hub, [one, two])
        tracker.observe(live: [publicKey(1)])
        #expect(tracker.resolved(hub, [two, one]) == [:])
        #expect(tracker.resolved(hub, [three]) == [publicKey(1): three])
    }

    @Test func aDeadSessionTriesTheAddressesInTurn() {
        var tracker = EndpointTracker([peer(1, "hub.example:5")])
        #expect(tracker.resolved(hub, [one, two]) == [publicKey(1): one])
        #expect(tracker.resolved(hub, [one, two]) == [publicKey(1): two])
        #expect(tracker.resolved(hub, [one, two]) == [publicKey(1): one])
        #expect(tracker.resolved(hub, [one]) == [:])
    }

    @Test func aReloadKeepsWhatIsKnown() {
        var tracker = EndpointTracker([peer(1, "hub.example:5"), peer(2, "other.example:5")])
        _ = tracker.due(start)
        _ = tracker.resolved(hub, [one])
        tracker.update([peer(1, "hub.example:5"), peer(3, "new.example:5")])
        #expect(tracker.endpoints == [publicKey(1): one])
        #expect(tracker.due(start + .seconds(1)) == [.init(name: "new.example", port: 5)])
        // Another port is another endpoint.
        tracker.update([peer(1, "hub.example:6")])
        #expect(tracker.endpoints == [:])
    }
}
