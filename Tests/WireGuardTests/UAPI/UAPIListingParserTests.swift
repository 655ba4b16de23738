import Addresses
import Testing

@testable import WireGuard

@Suite struct UAPIListingParserTests {
    private func peers(_ text: String) throws -> [PeerStatus] { try UAPIListingParser.peers(Array(text.utf8)) }

    @Test func whatOurOwnDeviceSaysIsReadAgain() throws {
        var listing = InterfaceListing()
        listing.privateKey = privateKey(0x40)
        listing.listenPort = 51820
        var peer = InterfaceListing.Peer(publicKey: publicKey(2))
        peer.presharedKey = presharedKey(9)
        peer.endpoint = PeerAddress(endpoint("[fe80::1]:5"), zone: "3")
        peer.latestHandshake = .seconds(1000)
        peer.receivedBytes = 11
        peer.sentBytes = 12
        peer.keepalive = 25
        peer.allowedIPs = [prefix("10.0.0.0/8"), prefix("fd00::/8")]
        listing.peers = [peer, .init(publicKey: publicKey(3))]
        let read = try UAPIListingParser.peers(UAPIAnswer.listing(listing))
        #expect(
            read == [
                PeerStatus(
                    publicKey: publicKey(2), endpoint: endpoint("[fe80::1]:5"), latestHandshake: .seconds(1000), receivedBytes: 11, sentBytes: 12,
                    allowedIPs: [prefix("10.0.0.0/8"), prefix("fd00::/8")], keepalive: 25, hasPresharedKey: true),
                PeerStatus(publicKey: publicKey(3)),
            ])
    }

    @Test func aDeviceWithoutPeers() throws {
        let read = try peers("listen_port=5\nerrno=0\n\n")
        #expect(read.isEmpty)
    }

    @Test func whatANewerDeviceSaysIsPassedOver() throws {
        let read = try peers("colour=blue\npublic_key=\(repeated("02"))\nmood=good\nrx_bytes=7\nerrno=0\n\n")
        #expect(read.map(\.receivedBytes) == [7])
    }

    @Test(arguments: [
        ("", UAPIListingParser.Problem.cutShort), ("listen_port=5\n", .cutShort), ("errno=0", .cutShort), ("errno=0\n", .cutShort), ("errno=0\n\nmore\n", .cutShort),
        ("errno=-1\n\n", .refused(errno: "-1")), ("listen_port\n", .line(1, "no \"=\"")), ("public_key=02\nerrno=0\n\n", .line(1, "no public key")),
        ("public_key=\(repeated("02"))\nrx_bytes=-1\nerrno=0\n\n", .line(2, "no rx_bytes")),
        ("public_key=\(repeated("02"))\nrx_bytes=18446744073709551616\nerrno=0\n\n", .line(2, "no rx_bytes")),
        ("public_key=\(repeated("02"))\nlast_handshake_time_sec=\nerrno=0\n\n", .line(2, "no last_handshake_time_sec")),
        ("public_key=\(repeated("02"))\nallowed_ip=10.0.0.0/33\nerrno=0\n\n", .line(2, "no allowed_ip")),
    ]) func whatIsWrongIsNamed(text: String, problem: UAPIListingParser.Problem) {
        #expect(throws: problem) { _ = try peers(text) }
    }
}
