import Testing

@testable import PPTP

@Suite struct MessageCodecTests {
    @Test func everyTypeHasASample() {
        #expect(samples.map(\.type) == ControlType.allCases)
    }

    @Test(arguments: samples) func comesBackAsItWas(_ message: Message) throws {
        let bytes = message.encoded()
        #expect(bytes.count == message.type.messageLength)
        #expect(try Message(bytes) == message)
    }

    /// The lengths as RFC 2637 states them.
    @Test func lengths() {
        #expect(ControlType.allCases.map(\.messageLength) == [156, 156, 16, 16, 16, 20, 168, 32, 220, 24, 28, 16, 148, 40, 24])
    }

    /// Written by hand from the figures of the RFC; names are checked by their position.
    @Test(arguments: [
        (0, "009c 0001 1a2b3c4d 0001 0000 0102 0000 03040506 0708090a 0b0c 0d0e 686f7374"),
        (1, "009c 0001 1a2b3c4d 0002 0000 0102 03 04 05060708 090a0b0c 0d0e 0f10 686f7374"),
        (2, "0010 0001 1a2b3c4d 0003 0000 03 00 0000"),
        (3, "0010 0001 1a2b3c4d 0004 0000 02 06 0000"),
        (4, "0010 0001 1a2b3c4d 0005 0000 01020304"),
        (5, "0014 0001 1a2b3c4d 0006 0000 01020304 02 03 0000"),
        (6, "00a8 0001 1a2b3c4d 0007 0000 0102 0304 05060708 090a0b0c 0d0e0f10 11121314 1516 1718 0005 0000 3132333435"),
        (7, "0020 0001 1a2b3c4d 0008 0000 0102 0304 04 02 0506 0708090a 0b0c 0d0e 0f101112"),
        (8, "00dc 0001 1a2b3c4d 0009 0000 0102 0304 05060708 090a0b0c 0d0e 0f10 6469616c6564"),
        (9, "0018 0001 1a2b3c4d 000a 0000 0102 0304 03 04 0506 0708 0000"),
        (10, "001c 0001 1a2b3c4d 000b 0000 0102 0000 03040506 0708 090a 00000002"),
        (11, "0010 0001 1a2b3c4d 000c 0000 0102 0000"),
        (12, "0094 0001 1a2b3c4d 000d 0000 0102 04 05 0304 0000 62797465732037"),
        (13, "0028 0001 1a2b3c4d 000e 0000 0102 0000 00000001 00000002 00000003 00000004 00000005 00000006"),
        (14, "0018 0001 1a2b3c4d 000f 0000 0102 0000 03040506 0708090a"),
    ])
    func layout(_ index: Int, _ hex: String) {
        let wanted = hexBytes(hex)
        #expect(Array(samples[index].encoded().prefix(wanted.count)) == wanted)
    }

    @Test func secondNamesFollowTheFirst() {
        #expect(Array(samples[0].encoded()[92..<98]) == Array("vendor".utf8))
        #expect(Array(samples[6].encoded()[104..<107]) == Array("sub".utf8))
        #expect(Array(samples[8].encoded()[92..<99]) == Array("dialing".utf8))
        #expect(Array(samples[8].encoded()[156..<159]) == Array("sub".utf8))
    }

    @Test func reservedFieldsAreIgnored() throws {
        for (index, offsets) in [
            0: [10, 11, 14, 15], 2: [13, 14, 15], 6: [38, 39], 11: [14, 15], 12: [18, 19], 14: [14, 15],
        ] {
            var bytes = samples[index].encoded()
            for offset in offsets { bytes[offset] = 0xFF }
            #expect(try Message(bytes) == samples[index])
        }
    }

    @Test func magicComesFirst() {
        var bytes = samples[4].encoded()
        bytes[7] ^= 1
        bytes[3] = 2
        #expect(throws: ParseError.badMagic(0x1A2B_3C4C)) { try Message(bytes) }
    }

    @Test func onlyControlMessages() {
        var bytes = samples[4].encoded()
        bytes[3] = 2
        #expect(throws: ParseError.badMessageType(2)) { try Message(bytes) }
    }

    @Test(arguments: [UInt16(0), 11, 221, 0xFFFF]) func impossibleLength(_ length: UInt16) {
        var bytes = samples[4].encoded()
        bytes[0] = UInt8(length >> 8)
        bytes[1] = UInt8(length & 0xFF)
        #expect(throws: ParseError.badLength(length)) { try Message(bytes) }
    }

    @Test(arguments: [UInt16(0), 16, 0x0100, 0xFFFF]) func unknownType(_ type: UInt16) {
        var bytes = samples[4].encoded()
        bytes[8] = UInt8(type >> 8)
        bytes[9] = UInt8(type & 0xFF)
        #expect(throws: ParseError.unknownControlType(type)) { try Message(bytes) }
    }

    @Test(arguments: samples) func lengthMustFitTheType(_ message: Message) {
        var bytes = message.encoded()
        bytes[1] -= 1
        #expect(throws: ParseError.wrongLength(message.type, UInt16(bytes.count - 1))) { try Message(bytes) }
    }

    @Test(arguments: samples) func noPrefixIsAMessage(_ message: Message) {
        let bytes = message.encoded()
        for count in 0..<bytes.count { #expect(throws: ParseError.self) { try Message(bytes.prefix(count)) } }
        #expect(throws: ParseError.self) { try Message(bytes + [0]) }
    }

    @Test func namesAreShownSafely() {
        #expect(FixedText(bytes: Array("a\u{1B}[2Jb\u{0}c".utf8), width: 64).text == "a?[2Jb")
        #expect(FixedText("é", width: 64).text == "??")
        #expect(FixedText(String(repeating: "x", count: 100), width: 64).text == String(repeating: "x", count: 64))
        #expect(FixedText(String(repeating: "x", count: 100), width: 64).bytes.count == 64)
    }

    @Test(arguments: [
        (ParseError.badMagic(0), true), (.badMessageType(2), true), (.badLength(0), true), (.unknownControlType(16), false),
        (.wrongLength(.echoRequest, 17), false),
    ])
    func synchronization(_ error: ParseError, _ lost: Bool) {
        #expect(error.losesSynchronization == lost)
    }
}

func hexBytes(_ text: String) -> [UInt8] {
    let digits = text.filter { $0 != " " }
    return stride(from: 0, to: digits.count, by: 2).compactMap { offset in
        let from = digits.index(digits.startIndex, offsetBy: offset)
        return UInt8(digits[from..<digits.index(from, offsetBy: 2)], radix: 16)
    }
}
