import Testing

@testable import PPP

@Suite struct ConfigurationOptionTests {
    @Test func `options are parsed and built`() {
        let bytes = hex("01040578 0702 0506aca3e3e1")
        let options = ConfigurationOption.parse(bytes[...])!
        #expect(options.map(\.type) == [1, 7, 5] && options[0].uint16 == 1400 && options[2].uint32 == 0xACA3_E3E1)
        #expect(options.bytes == bytes)
        #expect(ConfigurationOption.parse([]) == [])
    }

    @Test(arguments: ["01", "0100", "0101", "0105 0578", "0702 01"]) func `a length below 2 or past the end spoils the packet`(text: String) {
        #expect(ConfigurationOption.parse(hex(text)[...]) == nil)
    }

    @Test func `a repeated type is found`() {
        let options = ConfigurationOption.parse(hex("0702 0802 0702")[...])!
        #expect(options.repeated == [ConfigurationOption(type: 7)])
    }
}

@Suite struct ControlPacketTests {
    @Test func `the length field rules, the rest is padding`() {
        let packet = ControlPacket(hex("0901 0008 12345678 ffff"))
        #expect(packet == ControlPacket(code: 9, identifier: 1, data: hex("12345678")))
        #expect(packet?.bytes == hex("0901 0008 12345678"))
    }

    @Test(arguments: ["", "01", "0101 00", "0101 0003", "0101 0005", "0101 ffff 00"]) func `short packets are none`(text: String) {
        #expect(ControlPacket(hex(text)) == nil)
    }
}
