import Testing

@testable import Netlink

@Suite struct LinksTests {
    @Test func create() {
        let request = LinkRequest.create("wg0", kind: "wireguard", alias: "causeway:a", mtu: 1420)
        #expect(request.type == 16)
        #expect(request.flags == 0x600)
        #expect(
            request.payload
                == hex(
                    """
                    00 00 0000 00000000 00000000 00000000
                    0800 0300 77673000
                    0800 0400 8c050000
                    0f00 1400 63617573657761793a6100 00
                    1400 1280  0e00 0100 77697265677561726400 0000
                    """))
        #expect(request.operation == "create interface wg0 (wireguard)")
    }

    @Test func delete() {
        let request = LinkRequest.delete(index: 7, name: "wg0")
        #expect(request.type == 17)
        #expect(request.payload == hex("00 00 0000 07000000 00000000 00000000"))
    }

    @Test func changeUpAndMTU() {
        #expect(
            LinkRequest.change(index: 7, name: "wg0", LinkChange(up: true, mtu: 1400)).payload
                == hex("00 00 0000 07000000 01000000 01000000  0800 0400 78050000"))
        #expect(
            LinkRequest.change(index: 7, name: "wg0", LinkChange(up: false)).payload
                == hex("00 00 0000 07000000 00000000 01000000"))
        #expect(
            LinkRequest.change(index: 7, name: "wg0", LinkChange(alias: "a")).payload
                == hex("00 00 0000 07000000 00000000 00000000  0600 1400 61000000"))
    }

    @Test func changeSettings() {
        let change = LinkChange(ipv4: [.rpFilter: 0, .forwarding: 1], ipv6AddressGeneration: IPv6AddressGeneration.none)
        #expect(
            LinkRequest.change(index: 2, name: "t", change).payload
                == hex(
                    """
                    00 00 0000 02000000 00000000 00000000
                    2800 1a80
                      1800 0280  1400 0180  0800 0100 01000000  0800 0800 00000000
                      0c00 0a80  0500 0800 01 000000
                    """))
    }

    @Test func lookups() {
        #expect(LinkRequest.get(name: "lo").payload == hex("00 00 0000 00000000 00000000 00000000  0700 0300 6c6f0000"))
        #expect(LinkRequest.get(index: 1).payload == hex("00 00 0000 01000000 00000000 00000000"))
        #expect(LinkRequest.dump().payload == hex("00 00 0000 00000000 00000000 00000000"))
    }

    @Test func aTunIsRead() throws {
        let link = try #require(
            try Link(
                message(
                    16,
                    hex(
                        """
                        00 00 feff 05000000 01000100 00000000
                        0700 0300 743000 00  0800 0400 dc050000  0f00 1400 63617573657761793a7800 00
                        2000 1280  0800 0100 74756e00  1400 0280 0500 0400 01000000 0500 0500 00000000
                        """))))
        #expect(link.index == 5)
        #expect(link.name == "t0")
        #expect(link.isUp)
        #expect(link.hasCarrier)
        #expect(link.mtu == 1500)
        #expect(link.alias == "causeway:x")
        #expect(link.kind == "tun")
        #expect(link.tunPacketInformation == true)
        #expect(link.tunVirtioHeader == false)
    }

    @Test func otherMessagesAreNoLinks() throws {
        #expect(try Link(message(20, [UInt8](repeating: 0, count: 16))) == nil)
        #expect(throws: MalformedMessage.self) { try Link(message(16, [0, 0])) }
    }
}
