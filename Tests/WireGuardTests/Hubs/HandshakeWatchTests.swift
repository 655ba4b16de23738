import Addresses
import Testing

@testable import WireGuard

@Suite struct HandshakeWatchTests {
    let start = ContinuousClock.now
    func at(_ seconds: Int) -> ContinuousClock.Instant { start + .seconds(seconds) }

    func peer(
        handshake: Int? = nil, received: UInt64 = 0, sent: UInt64 = 0, keepalive: UInt16 = 0, initiations: UInt64? = nil
    ) -> PeerStatus {
        PeerStatus(
            publicKey: publicKey(1), latestHandshake: handshake.map { .seconds($0) }, receivedBytes: received, sentBytes: sent,
            keepalive: keepalive, unansweredInitiations: initiations)
    }

    @Test func nothingToSendIsNoTrouble() {
        var watch = HandshakeWatch()
        #expect(watch.observe(peer(), now: at(0)) == false)
        #expect(watch.observe(peer(), now: at(100)) == false)
        #expect(watch.tryingSince == nil)
        #expect(!watch.hasCompleted)
    }

    /// A name that cannot be resolved must not hold the tunnel: nothing is sent there, so nothing else would show it.
    @Test func aPeerWithoutAnAddressIsTrying() {
        var watch = HandshakeWatch()
        watch.observe(peer(initiations: 0), speaksFirst: true, now: at(0))
        watch.observe(peer(initiations: 0), speaksFirst: true, now: at(20))
        #expect(watch.tryingSince == at(0))
        var found = peer(initiations: 0)
        found.endpoint = Endpoint("192.0.2.1:51820")
        watch.observe(found, speaksFirst: true, now: at(21))
        #expect(watch.tryingSince == nil)
        // One that has no endpoints in the configuration speaks when it likes.
        var other = HandshakeWatch()
        other.observe(peer(initiations: 0), now: at(0))
        #expect(other.tryingSince == nil)
    }

    // ---- A device that counts initiations ----

    @Test func unansweredInitiationsAreTrying() {
        var watch = HandshakeWatch()
        watch.observe(peer(initiations: 1), now: at(0))
        #expect(watch.tryingSince == at(0))
        watch.observe(peer(sent: 296, initiations: 2), now: at(5))
        #expect(watch.tryingSince == at(0))
        #expect(watch.observe(peer(handshake: 6, received: 92, sent: 444, initiations: 0), now: at(6)) == true)
        #expect(watch.tryingSince == nil)
        #expect(watch.hasCompleted)
    }

    /// Data may still come under the old keys while nobody answers the handshake.
    @Test func whatArrivesIsNoAnswer() {
        var watch = HandshakeWatch()
        watch.observe(peer(handshake: 1, received: 100, initiations: 0), now: at(0))
        watch.observe(peer(handshake: 1, received: 200, initiations: 1), now: at(1))
        watch.observe(peer(handshake: 1, received: 300, initiations: 2), now: at(6))
        #expect(watch.tryingSince == at(1))
    }

    /// What comes under keys that live shows that the hub is there; without them it can only be the hub's own handshakes.
    @Test func whatArrivesIsHeardWhileTheKeysLive() {
        var watch = HandshakeWatch()
        watch.observe(peer(received: 50, initiations: 1), now: at(0))
        #expect(watch.heardAt == nil)
        watch.observe(peer(handshake: 1, received: 100, initiations: 0), now: at(1))
        #expect(watch.heardAt == at(1))
        watch.observe(peer(handshake: 1, received: 100, initiations: 1), now: at(5))
        #expect(watch.heardAt == at(1))
        watch.observe(peer(handshake: 1, received: 200, initiations: 1), now: at(180))
        #expect(watch.heardAt == at(180))
        watch.observe(peer(handshake: 1, received: 348, initiations: 1), now: at(181))
        #expect(watch.heardAt == at(180))
    }

    @Test func sentBytesDoNotCountWhereInitiationsDo() {
        var watch = HandshakeWatch()
        watch.observe(peer(handshake: 1, received: 100, sent: 0, initiations: 0), now: at(0))
        watch.observe(peer(handshake: 1, received: 100, sent: 100_000, initiations: 0), now: at(60))
        #expect(watch.tryingSince == nil)
    }

    @Test func eachHandshakeIsToldOnce() {
        var watch = HandshakeWatch()
        #expect(watch.observe(peer(handshake: 1, initiations: 0), now: at(1)) == true)
        #expect(watch.observe(peer(handshake: 1, initiations: 0), now: at(2)) == false)
        #expect(watch.observe(peer(handshake: 121, initiations: 0), now: at(121)) == true)
    }

    // ---- The kernel ----

    @Test func theFirstInitiationIsTrying() {
        var watch = HandshakeWatch()
        watch.observe(peer(sent: 148, keepalive: 25), now: at(0))
        watch.observe(peer(sent: 148, keepalive: 25), now: at(1))
        #expect(watch.tryingSince == at(1))
    }

    @Test func dataThatNothingFollowsIsTrying() {
        var watch = HandshakeWatch()
        watch.observe(peer(handshake: 1, received: 92, sent: 500), now: at(0))
        watch.observe(peer(handshake: 1, received: 92, sent: 628), now: at(3))
        #expect(watch.tryingSince == at(3))
        watch.observe(peer(handshake: 1, received: 92, sent: 900), now: at(9))
        #expect(watch.tryingSince == at(3))
        // The peer's keepalive.
        watch.observe(peer(handshake: 1, received: 124, sent: 900), now: at(13))
        #expect(watch.tryingSince == nil)
    }

    /// 32 bytes every 25 s, until the keys are due for renewal at 120 s.
    @Test func ourOwnKeepalivesAreNotTrying() {
        var watch = HandshakeWatch()
        watch.observe(peer(handshake: 1, received: 92, sent: 180, keepalive: 25), now: at(0))
        for second in 1...124 {
            watch.observe(peer(handshake: 1, received: 92, sent: 180 + 32 * UInt64(second / 25), keepalive: 25), now: at(second))
            #expect(watch.tryingSince == nil, "\(second)")
        }
        watch.observe(peer(handshake: 1, received: 92, sent: 180 + 32 * 4 + 148, keepalive: 25), now: at(125))
        #expect(watch.tryingSince == at(125))
    }

    @Test func aPeerMadeAnewBeginsAnew() {
        var watch = HandshakeWatch()
        watch.observe(peer(handshake: 1, received: 92, sent: 5000), now: at(0))
        watch.observe(peer(received: 0, sent: 0), now: at(10))
        #expect(watch.tryingSince == nil)
        watch.observe(peer(received: 0, sent: 148), now: at(11))
        #expect(watch.tryingSince == at(11))
        #expect(watch.hasCompleted)
    }
}
