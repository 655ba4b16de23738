import Addresses
import Testing

@testable import WireGuard

@Suite struct UAPIChangeParserTests {
    private func parse(_ lines: [String]) throws -> InterfaceChange {
        var parser = UAPIChangeParser()
        for line in lines { try parser.read(Array(line.utf8)[...]) }
        return parser.finish()
    }

    @Test func everyFieldOfADevice() throws {
        var wanted = InterfaceChange()
        wanted.privateKey = .set(privateKey(0x40))
        wanted.listenPort = 51820
        wanted.fwmark = 0xFFFF_FFFF
        wanted.replacesPeers = true
        #expect(
            try parse(["private_key=\(repeated("40"))", "listen_port=51820", "fwmark=4294967295", "replace_peers=true"]) == wanted)
    }

    @Test func aKeyOfZerosTakesTheKeyAway() throws {
        let change = try parse(["private_key=\(repeated("00"))", "public_key=\(repeated("02"))", "preshared_key=\(repeated("00"))"])
        #expect(change.privateKey == .remove)
        #expect(change.peers.first?.preshared == .remove)
    }

    @Test func everyFieldOfAPeer() throws {
        var peer = InterfaceChange.Peer(publicKey: publicKey(0xAB))
        peer.updatesOnly = true
        peer.isRemoved = true
        peer.preshared = .set(presharedKey(9))
        peer.endpoint = PeerAddress(endpoint("[2001:db8::1]:51820"))
        peer.keepalive = 25
        peer.replacesAllowedIPs = true
        peer.allowedIPs = [prefix("10.0.0.0/8"), prefix("fd00::/16")]
        let change = try parse([
            "public_key=\(repeated("aB"))", "update_only=true", "remove=true", "preshared_key=\(repeated("09"))",
            "endpoint=[2001:db8::1]:51820", "persistent_keepalive_interval=25", "replace_allowed_ips=true", "protocol_version=1",
            "allowed_ip=10.0.0.0/8", "allowed_ip=fd00::/16",
        ])
        #expect(change.peers == [peer])
    }

    @Test func peersKeepTheirOrderAndMayComeTwice() throws {
        let keys = [2, 3, 2].map { publicKey($0) }
        let change = try parse([
            "public_key=\(repeated("02"))", "remove=true", "public_key=\(repeated("03"))", "public_key=\(repeated("02"))",
            "allowed_ip=10.0.0.1/32",
        ])
        #expect(change.peers.map(\.publicKey) == keys)
        #expect(change.peers.map(\.isRemoved) == [true, false, false])
    }

    /// What is said last holds, as if each line were carried out at once.
    @Test func allowedIPsInTheOrderOfTheirLines() throws {
        let start = ["public_key=\(repeated("02"))"]
        func peer(_ lines: String...) throws -> InterfaceChange.Peer { try parse(start + lines).peers[0] }
        #expect(try peer("allowed_ip=10.0.0.0/8", "replace_allowed_ips=true", "allowed_ip=10.1.0.0/16").allowedIPs == [prefix("10.1.0.0/16")])
        #expect(try peer("allowed_ip=10.0.0.7/8").allowedIPs == [prefix("10.0.0.0/8")])
        #expect(try peer("allowed_ip=+10.0.0.0/8").allowedIPs == [prefix("10.0.0.0/8")])
        let removed = try peer("allowed_ip=10.0.0.0/8", "allowed_ip=-10.0.0.0/8", "allowed_ip=-::/0")
        #expect(removed.allowedIPs.isEmpty)
        #expect(removed.removedAllowedIPs == [prefix("10.0.0.0/8"), prefix("::/0")])
        let back = try peer("allowed_ip=-10.0.0.0/8", "allowed_ip=10.0.0.0/8")
        #expect(back.allowedIPs == [prefix("10.0.0.0/8")] && back.removedAllowedIPs.isEmpty)
    }

    @Test func linkLocalEndpointsNameTheirInterface() throws {
        func address(_ text: String) throws -> PeerAddress? {
            try parse(["public_key=\(repeated("02"))", "endpoint=\(text)"]).peers[0].endpoint
        }
        #expect(try address("[fe80::1%eth0]:5") == PeerAddress(endpoint("[fe80::1]:5"), zone: "eth0"))
        #expect(try address("[fe80::1%3]:5")?.description == "[fe80::1%3]:5")
        #expect(try address("192.0.2.1:0") == PeerAddress(endpoint("192.0.2.1:0")))
    }

    @Test(arguments: ["x", "", "private_key", "private_key \(repeated("40"))"]) func linesThatAreNoLines(_ line: String) {
        #expect(throws: UAPIRefusal.notProtocol) { try parse([line]) }
    }

    @Test(arguments: [
        "=", "=1", "private_key=", "private_key=00", "private_key=\(repeated("0g"))", "private_key=\(repeated("40"))0",
        "private_key= \(repeated("40"))", "listen_port=", "listen_port=65536", "listen_port=-1", "listen_port=+1", "listen_port=1 ",
        "listen_port=0x10", "listen_port=99999999999999999999", "fwmark=4294967296", "fwmark=0x1", "replace_peers=false", "replace_peers=",
        "replace_peers=TRUE", "nonsense=1", "preshared_key=\(repeated("00"))", "allowed_ip=10.0.0.0/8", "errno=0", "public_key=",
        "public_key=\(repeated("0"))", "PUBLIC_KEY=\(repeated("02"))",
    ])
    func wrongLinesOfADevice(_ line: String) {
        #expect(throws: UAPIRefusal.invalid) { try parse([line]) }
    }

    @Test(arguments: [
        "private_key=\(repeated("40"))", "listen_port=1", "replace_peers=true", "update_only=false", "remove=1", "preshared_key=x",
        "endpoint=", "endpoint=hub:5", "endpoint=192.0.2.1", "endpoint=192.0.2.1:65536", "endpoint=2001:db8::1:5",
        "endpoint=[192.0.2.1]:5", "endpoint=[fe80::1%]:5", "endpoint=[2001:db8::1%eth0]:5", "endpoint=[fe80::1]%eth0:5",
        "persistent_keepalive_interval=65536", "persistent_keepalive_interval=off", "replace_allowed_ips=yes", "allowed_ip=10.0.0.0",
        "allowed_ip=10.0.0.0/33", "allowed_ip=::/129", "allowed_ip=/8", "allowed_ip=10.0.0.0/", "allowed_ip=10.0.0.0/-1",
        "allowed_ip=--10.0.0.0/8", "allowed_ip=10.0.0/8", "protocol_version=2", "last_handshake_time_sec=0", "rx_bytes=1",
    ])
    func wrongLinesOfAPeer(_ line: String) {
        #expect(throws: UAPIRefusal.invalid) { try parse(["public_key=\(repeated("02"))", line]) }
    }
}
