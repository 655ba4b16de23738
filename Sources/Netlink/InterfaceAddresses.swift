import Addresses

/// An address on an interface.
public struct InterfaceAddress: Hashable, Sendable {
    public var index: UInt32
    public var address: IPAddress
    public var prefixLength: Int

    public init(index: UInt32, address: IPAddress, prefixLength: Int) {
        self.index = index
        self.address = address
        self.prefixLength = prefixLength
    }

    static let fixedLength = 8

    /// nil for messages about something else or about a family that is not IP.
    public init?(_ message: NetlinkMessage) throws {
        guard message.type == RouteMessageType.newAddress || message.type == RouteMessageType.deleteAddress else { return nil }
        let attributes = try message.attributes(after: Self.fixedLength)
        let family = message.payload.number(at: 0, as: UInt8.self)
        guard family == AddressFamily.inet || family == AddressFamily.inet6 else { return nil }
        // On a point-to-point interface IFA_ADDRESS is the other end, IFA_LOCAL is ours; IPv6 mostly has IFA_ADDRESS only.
        guard let bytes = (attributes[type: AddressAttribute.local] ?? attributes[type: AddressAttribute.address])?.value,
            let address = IPAddress(bytes: bytes), address.family.wire == family
        else { throw MalformedMessage("an interface address without an address") }
        let length = Int(message.payload.number(at: 1, as: UInt8.self))
        guard length <= address.family.bitCount else {
            throw MalformedMessage("an interface address with prefix length \(length)")
        }
        self.init(index: message.payload.number(at: 4), address: address, prefixLength: length)
    }
}

extension IPAddress.Family {
    var wire: UInt8 { self == .v4 ? AddressFamily.inet : AddressFamily.inet6 }

    init?(wire: UInt8) {
        switch wire {
        case AddressFamily.inet: self = .v4
        case AddressFamily.inet6: self = .v6
        default: return nil
        }
    }
}

/// Requests about interface addresses (RTM_*ADDR).
public enum AddressRequest {
    /// Without a prefix route: what is reachable through an interface of ours is said by our own tables alone.
    public static func add(_ address: InterfaceAddress, interface: String) -> NetlinkRequest {
        var flags = AddressAttribute.noPrefixRoute
        if address.address.family == .v6 { flags |= AddressAttribute.noDuplicateDetection }
        var writer = fixedPart(address)
        writer.attribute(AddressAttribute.flags, number: flags)
        return NetlinkRequest(
            type: RouteMessageType.newAddress, flags: NetlinkFlags.create | NetlinkFlags.exclusive, payload: writer.bytes,
            operation: "add address \(address.address)/\(address.prefixLength) to \(interface)")
    }

    public static func delete(_ address: InterfaceAddress, interface: String) -> NetlinkRequest {
        NetlinkRequest(
            type: RouteMessageType.deleteAddress, flags: 0, payload: fixedPart(address).bytes,
            operation: "remove address \(address.address)/\(address.prefixLength) from \(interface)")
    }

    public static func dump() -> NetlinkRequest {
        // struct ifaddrmsg, all zero: every family, every interface.
        NetlinkRequest(
            type: RouteMessageType.getAddress, flags: 0, payload: [UInt8](repeating: 0, count: 8), operation: "list the addresses"
        )
    }

    /// struct ifaddrmsg: family, prefix length, flags, scope, index.
    private static func fixedPart(_ address: InterfaceAddress) -> MessageWriter {
        var writer = MessageWriter()
        writer.fixed(address.address.family.wire)
        writer.fixed(UInt8(address.prefixLength))
        writer.fixed(UInt8(0))
        writer.fixed(UInt8(0))
        writer.fixed(address.index)
        let bytes = address.address.bytes
        writer.attribute(AddressAttribute.local, bytes)
        writer.attribute(AddressAttribute.address, bytes)
        return writer
    }
}
