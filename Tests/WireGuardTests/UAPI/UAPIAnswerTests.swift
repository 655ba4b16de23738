import Addresses
import Testing

@testable import WireGuard

@Suite struct UAPIAnswerTests {
    private func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

    @Test func results() {
        #expect(text(UAPIAnswer.result()) == "errno=0\n\n")
        #expect(text(UAPIAnswer.result(.invalid)) == "errno=-22\n\n")
        #expect(text(UAPIAnswer.result(.portInUse)) == "errno=-98\n\n")
        #expect(text(UAPIAnswer.result(.notProtocol)) == "errno=-71\n\n")
    }

    @Test func aDeviceWithoutAnything() { #expect(text(UAPIAnswer.listing(InterfaceListing())) == "errno=0\n\n") }

    @Test func everything() {
        var listing = InterfaceListing()
        listing.privateKey = privateKey(0x40)
        listing.listenPort = 51820
        listing.fwmark = 81
        var peer = InterfaceListing.Peer(publicKey: publicKey(2))
        peer.presharedKey = presharedKey(9)
        peer.endpoint = PeerAddress(endpoint("[fe80::1]:5"), zone: "3")
        peer.latestHandshake = .milliseconds(1_000_500)
        peer.receivedBytes = 11
        peer.sentBytes = 12
        peer.keepalive = 25
        peer.allowedIPs = [prefix("10.0.0.0/8"), prefix("fd00::/8")]
        listing.peers = [peer, .init(publicKey: publicKey(3))]
        #expect(
            text(UAPIAnswer.listing(listing)) == """
                private_key=\(repeated("40"))
                listen_port=51820
                fwmark=81
                public_key=\(repeated("02"))
                preshared_key=\(repeated("09"))
                protocol_version=1
                endpoint=[fe80::1%3]:5
                last_handshake_time_sec=1000
                last_handshake_time_nsec=500000000
                tx_bytes=12
                rx_bytes=11
                persistent_keepalive_interval=25
                allowed_ip=10.0.0.0/8
                allowed_ip=fd00::/8
                public_key=\(repeated("03"))
                preshared_key=\(repeated("00"))
                protocol_version=1
                last_handshake_time_sec=0
                last_handshake_time_nsec=0
                tx_bytes=0
                rx_bytes=0
                persistent_keepalive_interval=0
                errno=0


                """)
    }

    /// What is told can be said back: each line of a listing that `set` knows means the same.
    @Test func aListingIsAlsoAChange() throws {
        var listing = InterfaceListing()
        listing.privateKey = privateKey(0x48)
        listing.listenPort = 9
        listing.fwmark = 3
        var peer = InterfaceListing.Peer(publicKey: publicKey(5))
        peer.presharedKey = presharedKey(6)
        peer.endpoint = PeerAddress(endpoint("192.0.2.1:51820"))
        peer.keepalive = 21
        peer.allowedIPs = [prefix("0.0.0.0/0"), prefix("::/0")]
        listing.peers = [peer]
        var parser = UAPIChangeParser()
        for line in text(UAPIAnswer.listing(listing)).split(separator: "\n")
        where !["last_", "tx_", "rx_", "errno"].contains(where: { line.hasPrefix($0) }) {
            try parser.read(Array(line.utf8)[...])
        }
        let change = parser.finish()
        #expect(change.privateKey == .set(privateKey(0x48)))
        #expect(change.listenPort == 9 && change.fwmark == 3)
        #expect(change.peers.map(\.publicKey) == [publicKey(5)])
        #expect(change.peers[0].preshared == .set(presharedKey(6)))
        #expect(change.peers[0].endpoint == peer.endpoint && change.peers[0].keepalive == 21)
        #expect(change.peers[0].allowedIPs == peer.allowedIPs)
    }
}
