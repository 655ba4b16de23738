import Testing

@testable import Netlink

@Suite struct MessageTests {
    @Test func aRequestHasTheHeaderOfTheKernel() {
        let request = NetlinkRequest(type: 0x10, flags: 0x600, payload: [1, 2, 3, 4], operation: "")
        #expect(request.encoded(sequence: 7, port: 9, extraFlags: 4) == hex("14000000 1000 0506 07000000 09000000 01020304"))
    }

    @Test func attributesArePaddedAndNested() {
        var writer = MessageWriter()
        writer.attribute(3, text: "ab")
        writer.attribute(4, number: UInt16(0x1234))
        writer.nest(5) { $0.attribute(6, number: UInt32(1)) }
        #expect(writer.bytes == hex("0700 0300 61620000  0600 0400 34120000  0c00 0580 0800 0600 01000000"))
        writer.wipe()
        #expect(writer.count == 0)
    }

    @Test func attributesAreReadBack() throws {
        let attributes = try Attribute.parse(hex("0700 0300 61620000  0c00 0580 0800 0600 01000000  0500 0700 ff")[...])
        #expect(attributes.count == 3)
        #expect(attributes[type: 3]?.text == "ab")
        #expect(try attributes[type: 5]?.nested()[type: 6]?.number(UInt32.self) == 1)
        #expect(attributes[type: 7]?.value == [0xFF])
        #expect(throws: MalformedMessage.self) { try attributes[type: 7]?.number(UInt32.self) }
    }

    @Test(arguments: ["0300 0100", "0900 0100 01020304", "0000 0000", "0800 0100 01020304 01"])
    func attributesWithWrongLengthsAreMalformed(_ text: String) {
        #expect(throws: MalformedMessage.self) { try Attribute.parse(hex(text)[...]) }
    }

    @Test func aDatagramHoldsSeveralMessages() throws {
        let one = NetlinkRequest(type: 1, flags: 0, payload: [9], operation: "").encoded(sequence: 5)
        let messages = try NetlinkMessage.parse(one + [0, 0, 0] + one)
        #expect(messages.map(\.sequence) == [5, 5])
        #expect(messages.map { Array($0.payload) } == [[9], [9]])
    }

    @Test(arguments: ["0f000000 0100 0000 00000000 00000000", "11000000 0100 0000 00000000 00000000", "1000"])
    func datagramsWithWrongLengthsAreMalformed(_ text: String) {
        #expect(throws: MalformedMessage.self) { try NetlinkMessage.parse(hex(text)) }
    }

    @Test func theKernelsExplanationIsFound() throws {
        // -EINVAL, the echoed header (capped), NLMSGERR_ATTR_MSG "no".
        let payload = hex("eaffffff 30000000 1000 0506 07000000 00000000  0700 0100 6e6f0000")
        let refusal = try Acknowledgement(message(2, flags: 0x300, payload))
        #expect(refusal == Acknowledgement(code: 22, message: "no"))
        // The same with the whole request echoed.
        let whole = hex("eaffffff 14000000 1000 0506 07000000 00000000 01020304  0700 0100 6e6f0000")
        #expect(try Acknowledgement(message(2, flags: 0x200, whole)) == Acknowledgement(code: 22, message: "no"))
        // Without extended acknowledgements, and a dump that ended well.
        #expect(try Acknowledgement(message(2, Array(payload.prefix(20)))) == Acknowledgement(code: 22, message: nil))
        #expect(try Acknowledgement(message(3, [0, 0, 0, 0])) == Acknowledgement(code: 0, message: nil))
    }

    @Test func anEchoLongerThanTheMessageIsMalformed() {
        let payload = hex("eaffffff ffffff7f 1000 0506 07000000 00000000")
        #expect(throws: MalformedMessage.self) { try Acknowledgement(message(2, flags: 0x200, payload)) }
        #expect(throws: MalformedMessage.self) { try Acknowledgement(message(2, [1])) }
    }

    @Test func errorsTellTheAdministratorWhatAndWhy() {
        #expect(
            "\(NetlinkError(operation: "create interface wg0 (wireguard)", code: 95, message: "Unknown device type"))"
                == "cannot create interface wg0 (wireguard): Operation not supported: Unknown device type")
        #expect("\(NetlinkError(operation: "list the interfaces", code: 1))".hasSuffix("(this needs CAP_NET_ADMIN)"))
    }

    /// No input may crash a parser or make it read past the end.
    @Test func parsersSurviveAnything() throws {
        var random = SystemRandomNumberGenerator()
        let seeds: [[UInt8]] = [
            LinkRequest.create("wg0", kind: "wireguard", alias: "causeway:a", mtu: 1420).encoded(sequence: 1),
            AddressRequest.add(.init(index: 3, address: .init("10.0.0.1")!, prefixLength: 24), interface: "x").encoded(
                sequence: 1),
            RouteRequest.add(Route(.init("10.0.0.0/8")!, table: 5000, to: .interface(index: 2), metric: 1)).encoded(sequence: 1),
            RuleRequest.add(Rule(.v4, priority: 9, from: .init("10.0.0.0/8")!, inputInterface: "t", .lookup(table: 5000)))
                .encoded(sequence: 1),
        ]
        var parsed = 0
        for round in 0..<20000 {
            var bytes = seeds[round % seeds.count]
            for _ in 0..<Int.random(in: 0...6, using: &random) {
                bytes[Int.random(in: 0..<bytes.count, using: &random)] = UInt8.random(in: .min ... .max, using: &random)
            }
            if Bool.random(using: &random) { bytes.removeLast(Int.random(in: 0...bytes.count, using: &random)) }
            guard let messages = try? NetlinkMessage.parse(bytes) else { continue }
            for message in messages {
                _ = try? Acknowledgement(message)
                _ = try? GenericNetlink.familyID(message)
                if (try? Link(message)) != nil { parsed += 1 }
                if (try? InterfaceAddress(message)) != nil { parsed += 1 }
                if (try? Route(message)) != nil { parsed += 1 }
                if (try? Rule(message)) != nil { parsed += 1 }
            }
            _ = try? RouteEvent.parse(bytes)
        }
        #expect(parsed > 100)
    }
}
