import Addresses
import DataPath
import Netlink
import Settings
import Testing

@testable import Gateway

/// Which of the host's addresses GRE is taken from at the interface.
@Suite struct OuterSourcesTests {
    static let host = [
        Netlink.InterfaceAddress(index: 1, address: IPAddress("127.0.0.1")!, prefixLength: 8),
        Netlink.InterfaceAddress(index: 3, address: IPAddress("192.0.2.1")!, prefixLength: 24),
        Netlink.InterfaceAddress(index: 2, address: IPAddress("198.51.100.1")!, prefixLength: 24),
        Netlink.InterfaceAddress(index: 2, address: IPAddress("2001:db8::1")!, prefixLength: 64),
        Netlink.InterfaceAddress(index: 2, address: IPAddress("198.51.100.1")!, prefixLength: 32),
    ]

    static func reception(_ listening: [String], _ gre: CausewayConfiguration.DataPath.GRE) throws -> GREReception {
        var configuration = try sample("")
        let listener = configuration.listeners[0]
        configuration.listeners = listening.map {
            var listener = listener
            listener.address = IPAddress($0)!
            return listener
        }
        configuration.dataPath.gre = gre
        configuration.instance = "a-b"
        return configuration.greReception(host: host)
    }

    static func rings(_ addresses: [(UInt32, String)]) -> GRERings {
        GRERings(addresses: addresses.map { .init(interface: $0, address: IPAddress($1)!) }, table: "causeway-a-b")
    }

    @Test func listeningAddressesWithTheirInterfaces() throws {
        #expect(try Self.reception(["192.0.2.1"], .auto) == .rings(Self.rings([(3, "192.0.2.1")]), required: false))
        #expect(
            try Self.reception(["192.0.2.1", "198.51.100.1"], .packet)
                == .rings(Self.rings([(2, "198.51.100.1"), (3, "192.0.2.1")]), required: true))
        #expect(try Self.reception(["192.0.2.1"], .xdp) == .xdp(Self.rings([(3, "192.0.2.1")])))
        #expect(try Self.reception(["203.0.113.9"], .auto) == .rings(Self.rings([]), required: false))
    }

    /// Of 0.0.0.0, all; the engine leaves out what is no Ethernet interface.
    @Test func everyAddress() throws {
        #expect(
            try Self.reception(["0.0.0.0"], .auto)
                == .rings(Self.rings([(1, "127.0.0.1"), (2, "198.51.100.1"), (3, "192.0.2.1")]), required: false))
    }

    @Test func rawAlone() throws { #expect(try Self.reception(["192.0.2.1"], .raw) == .raw) }
}
