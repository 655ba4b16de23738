import Addresses
import Testing

@testable import Netlink

@Suite struct InterfaceAddressesTests {
    let v4 = InterfaceAddress(index: 3, address: IPAddress("10.8.0.1")!, prefixLength: 24)

    @Test func addIsWithoutPrefixRoute() {
        let request = AddressRequest.add(v4, interface: "wg0")
        #expect(request.type == 20)
        #expect(request.flags == 0x600)
        #expect(request.payload == hex("02 18 00 00 03000000  0800 0200 0a080001  0800 0100 0a080001  0800 0800 00020000"))
        #expect(request.operation == "add address 10.8.0.1/24 to wg0")
        let v6 = AddressRequest.add(.init(index: 3, address: IPAddress("fd00::1")!, prefixLength: 64), interface: "wg0")
        #expect(
            v6.payload
                == hex(
                    """
                    0a 40 00 00 03000000  1400 0200 fd000000000000000000000000000001
                    1400 0100 fd000000000000000000000000000001  0800 0800 02020000
                    """))
    }

    @Test func deleteAndDump() {
        #expect(AddressRequest.delete(v4, interface: "x").type == 21)
        #expect(
            AddressRequest.delete(v4, interface: "x").payload
                == hex("02 18 00 00 03000000  0800 0200 0a080001  0800 0100 0a080001"))
        #expect(AddressRequest.dump().payload == hex("00000000 00000000"))
    }

    @Test func ourEndOfAPointToPointLinkIsRead() throws {
        let payload = hex("02 20 80 00 03000000  0800 0100 0a080002  0800 0200 0a080001")
        #expect(
            try InterfaceAddress(message(20, payload))
                == InterfaceAddress(index: 3, address: IPAddress("10.8.0.1")!, prefixLength: 32))
    }

    @Test func wrongAddressesAreMalformed() {
        #expect(throws: MalformedMessage.self) {
            try InterfaceAddress(message(20, hex("02 21 00 00 03000000 0800 0200 0a080001")))
        }
        #expect(throws: MalformedMessage.self) { try InterfaceAddress(message(20, hex("02 18 00 00 03000000"))) }
        #expect(throws: MalformedMessage.self) {
            try InterfaceAddress(message(20, hex("0a 18 00 00 03000000 0800 0200 0a080001")))
        }
    }
}
