import Addresses
import Testing

@testable import WireGuard

@Suite struct HubRouteTests {
    let preshared = PresharedKey()
    var route: HubRoute {
        HubRoute(
            hubs: [
                RouteHub(publicKey: publicKey(1), endpoints: [PeerEndpoint("192.0.2.1:1")!, PeerEndpoint("192.0.2.2:1")!]),
                RouteHub(publicKey: publicKey(2), endpoints: [PeerEndpoint("hub.example:1")!], presharedKey: preshared),
            ], allowedIPs: [IPPrefix("0.0.0.0/0")!], keepalive: 25)
    }

    @Test func onlyTheHubInUseIsAPeer() {
        #expect(
            route.peers(at: .init(hub: 0, endpoint: 1)) == [
                PeerConfiguration(
                    publicKey: publicKey(1), endpoint: PeerEndpoint("192.0.2.2:1"), allowedIPs: [IPPrefix("0.0.0.0/0")!], keepalive: 25)
            ])
        #expect(
            route.peers(at: .init(hub: 1, endpoint: 0)) == [
                PeerConfiguration(
                    publicKey: publicKey(2), endpoint: PeerEndpoint("hub.example:1"), allowedIPs: [IPPrefix("0.0.0.0/0")!],
                    presharedKey: preshared, keepalive: 25)
            ])
    }

    @Test func aHubThatHasToSpeakFirst() {
        let silent = HubRoute(hubs: [RouteHub(publicKey: publicKey(1), endpoints: [])], allowedIPs: [], keepalive: 0)
        #expect(silent.peers(at: nil) == [PeerConfiguration(publicKey: publicKey(1), allowedIPs: [])])
    }

    /// Another hub is asked beside the one in use, and no packet goes to it.
    @Test(arguments: [(25, 5), (3, 3), (0, 5)] as [(UInt16, UInt16)]) func probingAnotherHub(_ configured: UInt16, _ probing: UInt16) {
        var route = route
        route.keepalive = configured
        let peers = route.peers(at: .init(hub: 1, endpoint: 0), probing: .init(hub: 0, endpoint: 0))
        #expect(peers.map(\.publicKey) == [publicKey(2), publicKey(1)])
        #expect(peers.map(\.allowedIPs) == [[IPPrefix("0.0.0.0/0")!], []])
        #expect(peers.map(\.keepalive) == [configured, probing])
    }

    /// The same hub has one session only: it moves.
    @Test func probingTheSameHubsOtherEndpoint() {
        let peers = route.peers(at: .init(hub: 0, endpoint: 1), probing: .init(hub: 0, endpoint: 0))
        #expect(peers.map(\.endpoint) == [PeerEndpoint("192.0.2.1:1")])
        #expect(peers.map(\.allowedIPs) == [[IPPrefix("0.0.0.0/0")!]])
    }

    @Test func whatMakesAnotherChoice() {
        var other = route
        other.keepalive = 0
        other.allowedIPs = []
        other.hubs[1].presharedKey = nil
        #expect(other.hasSameHubs(as: route))
        other.hubs[0].endpoints.swapAt(0, 1)
        #expect(!other.hasSameHubs(as: route))
    }
}
