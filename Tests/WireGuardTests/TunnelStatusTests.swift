import Testing

@testable import WireGuard

@Suite struct TunnelStatusTests {
    @Test(arguments: [(nil, false), (1000.0, true), (821.0, true), (820.0, false), (0.5, false)] as [(Double?, Bool)])
    func aSessionLivesThreeMinutes(_ handshake: Double?, _ lives: Bool) {
        let peer = PeerStatus(
            publicKey: publicKey(1), endpoint: nil, latestHandshake: handshake.map { .seconds($0) }, receivedBytes: 0,
            sentBytes: 0,
            allowedIPs: [], keepalive: 0, hasPresharedKey: false)
        #expect(peer.hasLiveSession(now: .seconds(1000)) == lives)
    }
}
