import Addresses
import Migration
import Testing

@testable import HubObserver
@testable import WireGuard

private func key(_ byte: UInt8) -> PublicKey { PublicKey(bytes: [UInt8](repeating: byte, count: 32))! }
private func peer(_ byte: UInt8, handshake: Int?, received: UInt64 = 0, sent: UInt64 = 0, endpoint: String? = nil) -> PeerStatus {
    PeerStatus(
        publicKey: key(byte), endpoint: endpoint.map { Endpoint($0)! }, latestHandshake: handshake.map { .seconds($0) + .milliseconds(900) },
        receivedBytes: received, sentBytes: sent)
}
private func sighting(_ byte: UInt8, _ handshake: UnixTime, _ received: UInt64, _ sent: UInt64, _ endpoint: String? = nil) -> PeerSighting {
    PeerSighting(publicKey: key(byte), handshakeAt: handshake, receivedBytes: received, sentBytes: sent, endpoint: endpoint)
}

@Suite struct HubObserverTests {
    private func observer(_ looks: [PeerStatus]...) -> HubObserver {
        var observer = HubObserver()
        for look in looks { observer.look(look, now: 10_000) }
        return observer
    }

    @Test func `the first look tells of handshakes, and of no bytes that nobody knows the time of`() {
        let observer = observer([peer(1, handshake: 100, received: 5_000, sent: 700, endpoint: "192.0.2.1:5"), peer(2, handshake: nil, sent: 148)])
        #expect(observer.pending() == [sighting(1, 100, 0, 0, "192.0.2.1:5")])
    }

    @Test func `then what has come since`() {
        var observer = observer([peer(1, handshake: 100, received: 5_000, sent: 700)])
        observer.handedOn(observer.pending())
        #expect(observer.pending().isEmpty)
        observer.look([peer(1, handshake: 100, received: 5_000, sent: 700)], now: 10_000)
        #expect(observer.pending().isEmpty)
        observer.look([peer(1, handshake: 100, received: 5_032, sent: 900)], now: 10_000)
        #expect(observer.pending() == [sighting(1, 100, 32, 200)])
    }

    @Test func `sending to a peer that is gone is no sign of life`() {
        var observer = observer([peer(1, handshake: 100, received: 5_000, sent: 700)])
        observer.handedOn(observer.pending())
        observer.look([peer(1, handshake: 100, received: 5_000, sent: 99_000)], now: 10_000)
        #expect(observer.pending().isEmpty)
    }

    @Test func `a new handshake without data is one`() {
        var observer = observer([peer(1, handshake: 100, received: 10, sent: 10)])
        observer.handedOn(observer.pending())
        observer.look([peer(1, handshake: 220, received: 10, sent: 10)], now: 10_000)
        #expect(observer.pending() == [sighting(1, 220, 0, 0)])
    }

    @Test func `what nobody takes adds up`() {
        let observer = observer(
            [peer(1, handshake: 100)], [peer(1, handshake: 100, received: 10, sent: 1)],
            [peer(1, handshake: 250, received: 30, sent: 2, endpoint: "192.0.2.9:1")])
        #expect(observer.pending() == [sighting(1, 250, 30, 2, "192.0.2.9:1")])
    }

    @Test func `what was seen while the others were on their way goes on waiting`() {
        var observer = observer([peer(1, handshake: 100)], [peer(1, handshake: 100, received: 10, sent: 1)])
        let posted = observer.pending()
        observer.look([peer(1, handshake: 100, received: 25, sent: 4)], now: 10_000)
        observer.handedOn(posted)
        #expect(observer.pending() == [sighting(1, 100, 15, 3)])
        observer.handedOn(observer.pending())
        #expect(observer.pending().isEmpty)
        observer.handedOn(posted)
        #expect(observer.pending().isEmpty)
    }

    /// Either counter tells; the other one may have overtaken what it was.
    @Test(arguments: [(UInt64(40), UInt64(20)), (40, 800), (6_000, 20)]) func `an interface made anew counts from zero`(received: UInt64, sent: UInt64) {
        var observer = observer([peer(1, handshake: 100, received: 5_000, sent: 700)])
        observer.handedOn(observer.pending())
        observer.look([peer(1, handshake: 300, received: received, sent: sent)], now: 10_000)
        #expect(observer.pending() == [sighting(1, 300, received, sent)])
    }

    @Test func `peers that come and go`() {
        var observer = observer([peer(1, handshake: 100, received: 10)])
        observer.handedOn(observer.pending())
        observer.look([peer(2, handshake: 400, received: 7, sent: 3)], now: 10_000)
        #expect(observer.pending() == [sighting(2, 400, 7, 3)])
        observer.handedOn(observer.pending())
        // Added again: new counters, an old handshake is none.
        observer.look([peer(1, handshake: nil)], now: 10_000)
        #expect(observer.pending().isEmpty)
    }

    @Test func `a handshake of the future is of now`() {
        #expect(observer([peer(1, handshake: 99_999)]).pending() == [sighting(1, 10_000, 0, 0)])
    }

    @Test func `pages, in the order of the keys`() {
        var observer = observer((1...5).reversed().map { peer(UInt8($0), handshake: 100) })
        #expect(observer.pending(limit: 2).map(\.publicKey) == [key(1), key(2)])
        observer.handedOn(observer.pending(limit: 2))
        #expect(observer.pending(limit: 2).map(\.publicKey) == [key(3), key(4)])
    }

    @Test func `what is posted`() throws {
        let report = ObservationReport(observer: "hub-1", interface: "wg0", at: 500, peers: [sighting(0, 100, 15, 3, "[2001:db8::1]:7")])
        #expect(
            String(decoding: try report.json(), as: UTF8.self)
                == #"{"at":500,"interface":"wg0","observer":"hub-1","peers":[{"endpoint":"[2001:db8::1]:7","handshakeAt":100,"#
                + #""publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","receivedBytes":15,"sentBytes":3}]}"#)
    }
}
