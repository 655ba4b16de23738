import Testing

@testable import Netlink

@Suite struct GenericNetlinkTests {
    @Test func aFamilyIsAskedForByName() {
        let request = GenericNetlink.resolve("wireguard")
        #expect(request.type == 0x10)
        #expect(request.payload == hex("03 01 0000  0e00 0200 77697265677561726400 0000"))
    }

    @Test func itsNumberIsRead() throws {
        #expect(
            try GenericNetlink.familyID(message(0x10, hex("01 02 0000 0600 0100 1c000000 0e00 0200 77697265677561726400 0000")))
                == 0x1C)
        #expect(throws: MalformedMessage.self) { try GenericNetlink.familyID(message(0x10, hex("01 02 0000"))) }
    }
}
