import Addresses
import Testing

@testable import Netlink
@testable import WireGuard

@Suite struct WireGuardMessagesTests {
    @Test func readingADevice() {
        let request = WireGuardMessages.get(family: 0x1C, index: 7, name: "wg0")
        #expect(request.type == 0x1C)
        #expect(request.payload == hex("00 01 0000  0800 0100 07000000"))
    }

    @Test func everyFieldOfADevice() throws {
        let update = DeviceUpdate(
            privateKey: privateKey(0x40), listenPort: 51820, fwmark: 0x51,
            peers: [
                .init(
                    publicKey: publicKey(2), kind: .add, preshared: .set(presharedKey(9)), endpoint: endpoint("192.0.2.1:51820"),
                    keepalive: 25,
                    replacesAllowedIPs: true, allowedIPs: [prefix("10.0.0.0/8"), prefix("fd00::/16")])
            ])
        let requests = WireGuardMessages.set(family: 0x1C, index: 7, name: "wg0", update)
        let request = try #require(requests.first)
        #expect(requests.count == 1)
        #expect(
            request.payload
                == hex(
                    """
                    01 01 0000  0800 0100 07000000
                    2400 0300 \(repeated("40"))
                    0600 0600 6cca 0000
                    0800 0700 51000000
                    bc00 0880
                    b800 0080
                      2400 0100 \(repeated("02"))
                      0800 0300 02000000
                      2400 0200 \(repeated("09"))
                      1400 0400 0200 ca6c c0000201 0000000000000000
                      0600 0500 1900 0000
                      4800 0980
                        1c00 0080  0600 0100 0200 0000  0800 0200 0a000000  0500 0300 08 000000
                        2800 0080  0600 0100 0a00 0000  1400 0200 fd000000000000000000000000000000  0500 0300 10 000000
                    """))
        #expect(request.operation == "configure WireGuard interface wg0")
    }

    @Test func removingAndChangingPeers() throws {
        let update = DeviceUpdate(peers: [
            .init(publicKey: publicKey(1), kind: .remove),
            .init(publicKey: publicKey(2), kind: .change, preshared: .remove, endpoint: endpoint("[2001:db8::1]:5")),
        ])
        #expect(
            WireGuardMessages.set(family: 0x1C, index: 7, name: "wg0", update).map(\.payload) == [
                hex(
                    """
                    01 01 0000  0800 0100 07000000
                    a800 0880
                    3000 0080  2400 0100 \(repeated("01"))  0800 0300 01000000
                    7400 0080  2400 0100 \(repeated("02"))  0800 0300 04000000  2400 0200 \(repeated("00"))
                      2000 0400 0a00 0005 00000000 20010db8000000000000000000000001 00000000
                    """)
            ])
    }

    @Test func nothingIsNoMessage() {
        #expect(WireGuardMessages.set(family: 1, index: 1, name: "", DeviceUpdate()).isEmpty)
    }

    @Test(arguments: [600, 1000, 4096, WireGuardMessages.messageLimit])
    func longListsAreSplitWithoutLoss(_ limit: Int) throws {
        let peers: [DeviceUpdate.Peer] = (1...50).map { number in
            var peer = DeviceUpdate.Peer(publicKey: publicKey(UInt8(number)), kind: number == 1 ? .remove : .add)
            peer.preshared = .set(presharedKey(UInt8(number)))
            guard number > 1 else { return peer }
            peer.replacesAllowedIPs = true
            peer.allowedIPs = (0..<number * 3).map { prefix("10.\(number).\($0).0/24") }
            return peer
        }
        let update = DeviceUpdate(privateKey: privateKey(1), peers: peers)
        let parts = WireGuardMessages.split(update, limit: limit)
        let requests = WireGuardMessages.set(family: 1, index: 1, name: "wg0", update, limit: limit)
        #expect(parts.count == requests.count)
        #expect(requests.allSatisfy { $0.payload.count + NetlinkMessage.headerLength <= limit })
        #expect(parts.dropFirst().allSatisfy { $0.privateKey == nil })
        // What the device is left with, playing the parts in order.
        var lists: [PublicKey: [IPPrefix]] = [:]
        for peer in parts.flatMap(\.peers) where peer.kind != .remove {
            if peer.replacesAllowedIPs { lists[peer.publicKey] = [] }
            #expect(lists[peer.publicKey] != nil, "the first part of a peer replaces its list")
            lists[peer.publicKey]! += peer.allowedIPs
        }
        #expect(lists == Dictionary(uniqueKeysWithValues: update.peers.dropFirst().map { ($0.publicKey, $0.allowedIPs) }))
        // The fields of a peer are sent once.
        #expect(parts.flatMap(\.peers).count { $0.preshared != nil } == 50)
    }

    // ---- Reading ----

    private func message(_ body: (inout MessageWriter) -> Void) -> NetlinkMessage {
        var writer = MessageWriter()
        body(&writer)
        return NetlinkMessage(type: 0x1C, flags: 2, sequence: 1, port: 0, payload: (hex("00 01 0000") + writer.bytes)[...])
    }

    private func allowedIP(_ text: String, _ list: inout MessageWriter) {
        let prefix = prefix(text)
        list.nest(0) {
            $0.attribute(AllowedIPAttribute.family, number: UInt16(prefix.family == .v4 ? 2 : 10))
            $0.attribute(AllowedIPAttribute.address, prefix.address.bytes)
            $0.attribute(AllowedIPAttribute.length, number: UInt8(prefix.length))
        }
    }

    @Test func aDumpIsPutTogetherAgain() throws {
        let first = message { device in
            device.attribute(DeviceAttribute.privateKey, privateKey(1).withBytes { Array($0) })
            device.attribute(DeviceAttribute.listenPort, number: UInt16(51820))
            device.attribute(DeviceAttribute.fwmark, number: UInt32(7))
            device.nest(DeviceAttribute.peers) { list in
                list.nest(0) { peer in
                    peer.attribute(PeerAttribute.publicKey, publicKey(2).bytes)
                    peer.attribute(PeerAttribute.presharedKey, [UInt8](repeating: 9, count: 32))
                    peer.attribute(PeerAttribute.endpoint, WireGuardMessages.socketAddress(endpoint("[2001:db8::1]:5")))
                    peer.attribute(PeerAttribute.keepalive, number: UInt16(25))
                    peer.attribute(PeerAttribute.lastHandshake, hex("e803000000000000 0065cd1d00000000"))
                    peer.attribute(PeerAttribute.receivedBytes, number: UInt64(11))
                    peer.attribute(PeerAttribute.sentBytes, number: UInt64(12))
                    peer.nest(PeerAttribute.allowedIPs) { allowedIP("10.0.0.0/8", &$0) }
                }
            }
        }
        let second = message { device in
            device.nest(DeviceAttribute.peers) { list in
                list.nest(0) { peer in
                    peer.attribute(PeerAttribute.publicKey, publicKey(2).bytes)
                    peer.nest(PeerAttribute.allowedIPs) { allowedIP("fd00::/8", &$0) }
                }
                list.nest(0) { peer in
                    peer.attribute(PeerAttribute.publicKey, publicKey(3).bytes)
                    peer.attribute(PeerAttribute.presharedKey, [UInt8](repeating: 0, count: 32))
                    peer.attribute(PeerAttribute.lastHandshake, [UInt8](repeating: 0, count: 16))
                }
            }
        }
        let state = try DeviceState(dump: [first, second])
        #expect(
            state
                == DeviceState(
                    privateKey: privateKey(1), listenPort: 51820, fwmark: 7,
                    peers: [
                        publicKey(2): .init(
                            presharedKey: presharedKey(9), endpoint: endpoint("[2001:db8::1]:5"),
                            latestHandshake: .milliseconds(1_000_500),
                            receivedBytes: 11, sentBytes: 12, keepalive: 25,
                            allowedIPs: [prefix("10.0.0.0/8"), prefix("fd00::/8")]),
                        publicKey(3): .init(),
                    ]))
        let status = state.status(interfaceName: "wg0", health: .running)
        #expect(status.peers.map(\.publicKey) == [publicKey(2), publicKey(3)])
        #expect(status.peers.map(\.hasPresharedKey) == [true, false])
    }

    @Test func aDeviceWithoutAKey() throws {
        let state = try DeviceState(dump: [message { $0.attribute(DeviceAttribute.privateKey, [UInt8](repeating: 0, count: 32)) }]
        )
        #expect(state == DeviceState())
    }

    @Test func malformedDumps() {
        func read(_ body: (inout MessageWriter) -> Void) throws { _ = try DeviceState(dump: [message(body)]) }
        func peer(_ body: @escaping (inout MessageWriter) -> Void) throws {
            try read { device in
                device.nest(DeviceAttribute.peers) { list in
                    list.nest(0) { peer in
                        peer.attribute(PeerAttribute.publicKey, publicKey(2).bytes)
                        body(&peer)
                    }
                }
            }
        }
        #expect(throws: MalformedMessage.self) { try read { $0.attribute(DeviceAttribute.privateKey, [1, 2]) } }
        #expect(throws: MalformedMessage.self) { try read { $0.attribute(DeviceAttribute.listenPort, [1]) } }
        #expect(throws: MalformedMessage.self) { try read { $0.nest(DeviceAttribute.peers) { $0.nest(0) { _ in } } } }
        #expect(throws: MalformedMessage.self) { try peer { $0.attribute(PeerAttribute.endpoint, [2, 0, 0, 5, 1]) } }
        #expect(throws: MalformedMessage.self) { try peer { $0.attribute(PeerAttribute.lastHandshake, [2, 0, 0, 5]) } }
        #expect(throws: MalformedMessage.self) { try peer { $0.attribute(PeerAttribute.presharedKey, [1]) } }
        #expect(throws: MalformedMessage.self) { try peer { $0.nest(PeerAttribute.allowedIPs) { $0.nest(0) { _ in } } } }
        #expect(throws: MalformedMessage.self) {
            try peer {
                $0.nest(PeerAttribute.allowedIPs) {
                    $0.nest(0) {
                        $0.attribute(AllowedIPAttribute.address, [10, 0, 0, 0])
                        $0.attribute(AllowedIPAttribute.length, number: UInt8(33))
                    }
                }
            }
        }
    }

    @Test func dumpsSurviveAnything() {
        let update = DeviceUpdate(
            privateKey: privateKey(1),
            peers: [
                .init(
                    publicKey: publicKey(2), kind: .add, preshared: .set(presharedKey(9)), endpoint: endpoint("192.0.2.1:51820"),
                    allowedIPs: [prefix("10.0.0.0/8")])
            ])
        let seed = WireGuardMessages.set(family: 1, index: 1, name: "wg0", update)[0].payload
        var parsed = 0
        for _ in 0..<10000 {
            var bytes = seed
            for _ in 0..<Int.random(in: 0...4) { bytes[Int.random(in: 0..<bytes.count)] = UInt8.random(in: .min ... .max) }
            if Bool.random() { bytes.removeLast(Int.random(in: 0...bytes.count)) }
            let message = NetlinkMessage(type: 1, flags: 0, sequence: 0, port: 0, payload: bytes[...])
            if (try? DeviceState(dump: [message])) != nil { parsed += 1 }
        }
        #expect(parsed > 100)
    }
}
