import Addresses
import DataPath
import Netlink

/// The TUN interface of the client as the host sees it: up, with the sessions' addresses and the routes that lead into it.
/// The kernel removes all of it together with the interface, when the data path closes its last queue.
struct ClientNetwork {
    private let socket: NetlinkSocket
    private let interface: String
    private let index: UInt32
    private var mtu: UInt16?
    private var addresses: [IPAddress: Int] = [:]

    private static let mainTable: UInt32 = 254

    /// The interface exists already.
    init(interface: String) throws {
        socket = try NetlinkSocket(.route)
        self.interface = interface
        guard let link = try socket.link(named: interface) else {
            throw NetlinkError(operation: "find interface \(interface)", code: Self.noSuchDevice)
        }
        index = link.index
        // Replies come from anywhere behind the server. No link-local address: the data path would only drop what comes from it.
        try socket.perform(
            LinkRequest.change(
                index: index, name: interface, LinkChange(ipv4: [.rpFilter: 0], ipv6AddressGeneration: IPv6AddressGeneration.none)))
    }

    /// ENODEV
    private static let noSuchDevice: Int32 = 19

    /// After the data path has started: only then are packets taken from the interface.
    func start(mtu: UInt16, routes: [IPPrefix]) throws {
        try socket.perform(LinkRequest.change(index: index, name: interface, LinkChange(up: true, mtu: UInt32(mtu))))
        for route in routes {
            try socket.perform(RouteRequest.add(Route(route, table: Self.mainTable, to: .interface(index: index), metric: 0)))
        }
    }

    /// One interface carries all sessions, so the smallest of their MTUs is its own.
    mutating func add(_ address: IPAddress, mtu: UInt16) throws {
        if mtu < self.mtu ?? .max {
            try socket.perform(LinkRequest.change(index: index, name: interface, LinkChange(mtu: UInt32(mtu))))
            self.mtu = mtu
        }
        let users = addresses[address, default: 0]
        addresses[address] = users + 1
        guard users == 0 else { return }
        try socket.add(AddressRequest.add(interfaceAddress(address), interface: interface))
    }

    mutating func remove(_ address: IPAddress) throws {
        guard let users = addresses[address] else { return }
        addresses[address] = users > 1 ? users - 1 : nil
        guard users == 1 else { return }
        try socket.delete(AddressRequest.delete(interfaceAddress(address), interface: interface))
    }

    private func interfaceAddress(_ address: IPAddress) -> InterfaceAddress {
        InterfaceAddress(index: index, address: address, prefixLength: address.family.bitCount)
    }
}
