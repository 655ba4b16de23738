import Testing

@testable import WireGuard

@Suite struct LossMeterTests {
    func peer(_ lost: UInt64?, unanswered: UInt64 = 0, received: UInt64 = 100, key: Int = 1) -> PeerStatus {
        var peer = PeerStatus(publicKey: publicKey(UInt8(key)), receivedBytes: received)
        peer.lostPackets = lost
        peer.lostUnansweredPackets = lost
        peer.unansweredPackets = unanswered
        return peer
    }

    @Test func lossesAddUpAcrossPeersMadeAnew() {
        var meter = LossMeter()
        #expect([3, 3, 10, 2, 2].map { meter.observe(peer($0)) } == [3, 0, 7, 2, 0])
        #expect(meter.observe(peer(5, key: 2)) == 5)
        #expect(meter.observe(peer(nil)) == 0)
    }

    /// Given up before its device took it for dead.
    @Test func whatNothingHasFollowedIsLostWithThePeer() {
        var meter = LossMeter()
        _ = meter.observe(peer(0, unanswered: 0))
        _ = meter.observe(peer(0, unanswered: 40))
        #expect(meter.givenUp(for: publicKey(1)) == 0)
        #expect(meter.givenUp(for: publicKey(2)) == 40)
        #expect(meter.givenUp(for: publicKey(2)) == 0)
    }

    /// The device has counted the same packets already.
    @Test func nothingIsCountedTwice() {
        var meter = LossMeter()
        _ = meter.observe(peer(0))
        #expect(meter.observe(peer(40, unanswered: 40)) == 40)
        #expect(meter.observe(peer(50, unanswered: 52)) == 10)
        #expect(meter.givenUp(for: publicKey(2)) == 2)
    }
}
