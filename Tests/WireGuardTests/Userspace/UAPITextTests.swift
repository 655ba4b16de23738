import Addresses
import Testing

@testable import WireGuard

@Suite struct UAPITextTests {
    private func lines(_ text: String) -> [UInt8] { Array((text + "\n\n").utf8) }

    @Test func everyFieldOfADevice() {
        let update = DeviceUpdate(
            privateKey: privateKey(0x40), listenPort: 51820, fwmark: 81,
            peers: [
                .init(publicKey: publicKey(1), kind: .remove),
                .init(
                    publicKey: publicKey(2), kind: .add, preshared: .set(presharedKey(9)),
                    endpoint: endpoint("[2001:db8::1]:51820"), keepalive: 25,
                    replacesAllowedIPs: true, allowedIPs: [prefix("10.0.0.0/8"), prefix("fd00::/16")]),
                .init(publicKey: publicKey(3), kind: .change, preshared: .remove),
            ])
        #expect(
            String(decoding: UAPIText.set(update), as: UTF8.self) == """
                set=1
                private_key=\(repeated("40"))
                listen_port=51820
                fwmark=81
                public_key=\(repeated("01"))
                remove=true
                public_key=\(repeated("02"))
                preshared_key=\(repeated("09"))
                endpoint=[2001:db8::1]:51820
                persistent_keepalive_interval=25
                replace_allowed_ips=true
                allowed_ip=10.0.0.0/8
                allowed_ip=fd00::/16
                public_key=\(repeated("03"))
                update_only=true
                preshared_key=\(repeated("00"))


                """)
    }

    @Test func aDeviceIsRead() throws {
        let state = try UAPIText.parseDevice(
            lines(
                """
                private_key=\(repeated("40"))
                listen_port=51820
                fwmark=81
                public_key=\(repeated("02"))
                preshared_key=\(repeated("09"))
                protocol_version=1
                endpoint=192.0.2.1:5
                last_handshake_time_sec=1000
                last_handshake_time_nsec=500000000
                tx_bytes=12
                rx_bytes=11
                persistent_keepalive_interval=25
                allowed_ip=10.0.0.0/8
                allowed_ip=fd00::/8
                public_key=\(repeated("03"))
                preshared_key=\(repeated("00"))
                last_handshake_time_sec=0
                last_handshake_time_nsec=0
                something_new=5
                errno=0
                """))
        #expect(
            state
                == DeviceState(
                    privateKey: privateKey(0x40), listenPort: 51820, fwmark: 81,
                    peers: [
                        publicKey(2): .init(
                            presharedKey: presharedKey(9), endpoint: endpoint("192.0.2.1:5"),
                            latestHandshake: .milliseconds(1_000_500),
                            receivedBytes: 11, sentBytes: 12, keepalive: 25,
                            allowedIPs: [prefix("10.0.0.0/8"), prefix("fd00::/8")]),
                        publicKey(3): .init(),
                    ]))
        #expect(try UAPIText.parseDevice(lines("private_key=\(repeated("00"))\nerrno=0")) == DeviceState())
    }

    @Test func results() throws {
        try UAPIText.parseResult(lines("errno=0"))
        #expect(throws: UAPIText.Failure.refused(code: 98)) { try UAPIText.parseResult(lines("errno=98")) }
        #expect(throws: UAPIText.Failure.refused(code: 22)) { try UAPIText.parseResult(lines("errno=-22")) }
        #expect(throws: UAPIText.Failure.refused(code: 22)) { try UAPIText.parseDevice(lines("errno=22")) }
    }

    @Test(arguments: [
        "", "x", "errno=x", "listen_port=1", "listen_port=65536\nerrno=0", "private_key=00\nerrno=0", "public_key=zz\nerrno=0",
        "nothing\nerrno=0",
        "errno=99999999999",
    ])
    func malformedAnswers(_ text: String) {
        #expect(throws: UAPIText.Failure.self) { try UAPIText.parseDevice(lines(text)) }
    }

    @Test(arguments: [
        "preshared_key=00", "endpoint=hub:5", "last_handshake_time_sec=x", "last_handshake_time_nsec=1000000000", "rx_bytes=-1",
        "allowed_ip=10.0.0.1/8",
        "persistent_keepalive_interval=70000",
    ])
    func malformedPeers(_ line: String) {
        #expect(throws: UAPIText.Failure.self) {
            try UAPIText.parseDevice(lines("public_key=\(repeated("02"))\n\(line)\nerrno=0"))
        }
    }

    @Test func anAnswerMustEndWithAnEmptyLine() {
        #expect(throws: UAPIText.Failure.self) { try UAPIText.parseResult(Array("errno=0\n".utf8)) }
        #expect(throws: UAPIText.Failure.self) { try UAPIText.parseResult(lines("listen_port=1\nerrno=0")) }
    }
}
