import Addresses

/// How GRE packets come in and leave (see io.h of the core). The raw sockets are open in either case.
public enum GREReception: Sendable, Equatable {
    case raw
    /// Rings and packet sockets beside the raw sockets. `required`: there is no engine without them; otherwise the raw sockets serve alone if need be.
    case rings(GRERings, required: Bool)
    /// XDP programs and their sockets at the interfaces that can, rings for the addresses of the others, and the raw sockets alone if need be.
    case xdp(GRERings)
}

public struct GRERings: Sendable, Equatable {
    public struct Address: Sendable, Hashable {
        public var interface: UInt32
        public var address: IPAddress
        public init(interface: UInt32, address: IPAddress) {
            self.interface = interface
            self.address = address
        }
    }

    /// IPv4 addresses of this host with the interfaces that have them. What is on an interface without Ethernet is left to the raw sockets.
    public var addresses: [Address]
    /// The name of our nftables table.
    public var table: String

    public init(addresses: [Address], table: String) {
        self.addresses = addresses
        self.table = table
    }
}

/// Which way GRE packets have left: as frames at the interface, where the next hop is known, or through the kernel's stack.
public struct GREDepartures: Sendable, Equatable {
    public var atInterface: UInt64
    public var throughStack: UInt64
}

/// What became of it.
public enum GREBackend: Sendable, Equatable, CustomStringConvertible {
    /// The reason, if rings had been wanted.
    case raw(because: String?)
    /// Rings for so many addresses.
    case packet(addresses: Int)
    /// Programs at these interfaces, and rings for so many addresses of others.
    case xdp([XDPInterface], packetAddresses: Int)

    public var description: String {
        switch self {
        case .raw(nil): "raw sockets"
        case .raw(let reason?): "raw sockets, because: \(reason)"
        case .packet(let addresses): "\(Self.rings(addresses)), raw sockets for the rest"
        case .xdp(let interfaces, let addresses):
            "XDP programs at \(interfaces.map(\.description).joined(separator: " and ")), "
                + (addresses == 0 ? "" : "\(Self.rings(addresses)), ") + "raw sockets for the rest"
        }
    }

    private static func rings(_ addresses: Int) -> String { "packet rings for \(addresses) \(addresses == 1 ? "address" : "addresses")" }
}

/// An interface with an XDP program of ours.
public struct XDPInterface: Sendable, Equatable, CustomStringConvertible {
    public var name: String
    /// The driver's own XDP, otherwise that of the kernel.
    public var native: Bool
    /// Packets are in our memory from the beginning.
    public var zeroCopy: Bool
    public var queues: Int
    /// Locked memory, in octets.
    public var memory: Int

    public var description: String {
        "\(name) (\(native ? "the driver's" : "the kernel's"), \(zeroCopy ? "zero-copy" : "copying"), \(queues) \(queues == 1 ? "queue" : "queues"), "
            + "\(memory >> 20) MiB)"
    }
}
