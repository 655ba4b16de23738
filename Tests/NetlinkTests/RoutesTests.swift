import Addresses
import Testing

@testable import Netlink

@Suite struct RoutesTests {
    let everything = IPPrefix("0.0.0.0/0")!

    @Test func defaultOutOfAnInterface() {
        let request = RouteRequest.add(Route(everything, table: 51820, to: .interface(index: 4), metric: 100))
        #expect(request.type == 24)
        #expect(request.flags == 0x600)
        // Table 51820 does not fit the header: RTA_TABLE. Protocol 0xCA, link scope, unicast.
        #expect(
            request.payload == hex("02 00 00 00 00 ca fd 01 00000000  0800 0f00 6cca0000  0800 0600 64000000  0800 0400 04000000")
        )
        #expect(request.operation == "add route 0.0.0.0/0 dev number 4 table 51820 metric 100")
    }

    @Test func unreachableDefault() {
        let request = RouteRequest.add(Route(everything, table: 200, to: .unreachable, metric: .max))
        #expect(request.payload == hex("02 00 00 00 c8 ca 00 07 00000000  0800 0f00 c8000000  0800 0600 ffffffff"))
    }

    @Test func aPrefixAndAGateway() {
        let route = Route(IPPrefix("10.8.0.0/16")!, table: 300, to: .gateway(IPAddress("10.0.0.1")!, index: 2), metric: 1)
        #expect(
            RouteRequest.delete(route).payload
                == hex(
                    """
                    02 10 00 00 00 ca ff 01 00000000  0800 0f00 2c010000  0800 0100 0a080000  0800 0600 01000000
                    0800 0500 0a000001  0800 0400 02000000
                    """))
        #expect(RouteRequest.delete(route).type == 25)
        let v6 = Route(IPPrefix("fd00::/16")!, table: 300, to: .interface(index: 2), metric: 1)
        #expect(
            RouteRequest.add(v6).payload
                == hex(
                    """
                    0a 10 00 00 00 ca 00 01 00000000  0800 0f00 2c010000
                    1400 0100 fd000000000000000000000000000000  0800 0600 01000000  0800 0400 02000000
                    """))
    }

    @Test func dump() {
        #expect(RouteRequest.dump(.v4, table: 300).payload == hex("02 00 00 00 00 00 00 00 00000000 0800 0f00 2c010000"))
    }

    @Test(arguments: [
        Route(IPPrefix("10.8.0.0/16")!, table: 300, to: .interface(index: 7), metric: 5),
        Route(IPPrefix("0.0.0.0/0")!, table: 70000, to: .unreachable, metric: .max),
        Route(IPPrefix("2001:db8::/32")!, table: 9, to: .gateway(IPAddress("fe80::1")!, index: 3), metric: 0, origin: 4),
    ])
    func whatIsWrittenIsReadBack(_ route: Route) throws {
        #expect(try Route(message(24, RouteRequest.add(route).payload)) == route)
    }

    @Test func clonedRoutesAreLeftOut() throws {
        #expect(try Route(message(24, hex("0a 00 00 00 fe 02 00 01 00020000"))) == nil)
        #expect(try Route(message(24, hex("11 00 00 00 fe 02 00 01 00000000"))) == nil)
        #expect(throws: MalformedMessage.self) { try Route(message(24, hex("02 21 00 00 fe 02 00 01 00000000"))) }
    }
}
