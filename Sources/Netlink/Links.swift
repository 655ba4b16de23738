import Addresses

/// A network interface as the kernel reports it.
public struct Link: Equatable, Sendable {
    public var index: UInt32
    public var name: String
    public var isUp: Bool
    /// The device itself says that it carries traffic (a TUN: somebody has it open).
    public var hasCarrier: Bool
    public var mtu: UInt32?
    /// ifconfig's and `ip link`'s alias: here our mark.
    public var alias: String?
    /// "wireguard", "tun", "veth"; nil for hardware.
    public var kind: String?
    /// For a TUN: whether each packet is preceded by the 4-byte packet information header.
    public var tunPacketInformation: Bool?
    /// For a TUN: whether each packet is preceded by a virtio network header.
    public var tunVirtioHeader: Bool?

    static let fixedLength = 16

    /// nil for messages that are not about a link.
    public init?(_ message: NetlinkMessage) throws {
        guard message.type == RouteMessageType.newLink || message.type == RouteMessageType.deleteLink else { return nil }
        let attributes = try message.attributes(after: Self.fixedLength)
        index = message.payload.number(at: 4)
        let flags = message.payload.number(at: 8, as: UInt32.self)
        isUp = flags & LinkFlags.up != 0
        hasCarrier = flags & LinkFlags.lowerUp != 0
        name = attributes[type: LinkAttribute.name]?.text ?? ""
        mtu = try attributes[type: LinkAttribute.mtu]?.number()
        alias = attributes[type: LinkAttribute.alias]?.text
        let info = try attributes[type: LinkAttribute.linkInfo]?.nested() ?? []
        kind = info[type: LinkAttribute.infoKind]?.text
        guard kind == "tun", let data = try info[type: LinkAttribute.infoData]?.nested() else { return }
        tunPacketInformation = try data[type: LinkAttribute.tunPacketInformation].map { try $0.number(UInt8.self) != 0 }
        tunVirtioHeader = try data[type: LinkAttribute.tunVirtioHeader].map { try $0.number(UInt8.self) != 0 }
    }
}

/// The IPV4_DEVCONF settings of an interface that can be set through IFLA_INET_CONF; the numbers are the kernel's.
/// They are what /proc/sys/net/ipv4/conf/INTERFACE shows. The effective rp_filter is the larger of `all` and the interface.
public enum IPv4InterfaceSetting: UInt16, Sendable, CaseIterable {
    case forwarding = 1
    case acceptRedirects = 4
    case secureRedirects = 5
    case sendRedirects = 6
    case rpFilter = 8
}

/// How an interface makes its IPv6 link-local address.
public enum IPv6AddressGeneration: UInt8, Sendable {
    case eui64 = 0
    case none = 1
}

/// What may be changed on a link; nil leaves it as it is.
public struct LinkChange: Equatable, Sendable {
    public var up: Bool?
    public var mtu: UInt32?
    public var alias: String?
    public var ipv4: [IPv4InterfaceSetting: UInt32]
    public var ipv6AddressGeneration: IPv6AddressGeneration?

    public init(
        up: Bool? = nil, mtu: UInt32? = nil, alias: String? = nil, ipv4: [IPv4InterfaceSetting: UInt32] = [:],
        ipv6AddressGeneration: IPv6AddressGeneration? = nil
    ) {
        self.up = up
        self.mtu = mtu
        self.alias = alias
        self.ipv4 = ipv4
        self.ipv6AddressGeneration = ipv6AddressGeneration
    }
}

/// Requests about links (rtnetlink(7), RTM_*LINK).
public enum LinkRequest {
    /// IFNAMSIZ without the NUL.
    public static let longestName = 15
    /// IFALIASZ without the NUL.
    public static let longestAlias = 255

    public static func create(_ name: String, kind: String, alias: String? = nil, mtu: UInt32? = nil) -> NetlinkRequest {
        var writer = fixedPart()
        writer.attribute(LinkAttribute.name, text: name)
        if let mtu { writer.attribute(LinkAttribute.mtu, number: mtu) }
        if let alias { writer.attribute(LinkAttribute.alias, text: alias) }
        writer.nest(LinkAttribute.linkInfo) { $0.attribute(LinkAttribute.infoKind, text: kind) }
        return NetlinkRequest(
            type: RouteMessageType.newLink, flags: NetlinkFlags.create | NetlinkFlags.exclusive, payload: writer.bytes,
            operation: "create interface \(name) (\(kind))")
    }

    public static func delete(index: UInt32, name: String) -> NetlinkRequest {
        NetlinkRequest(
            type: RouteMessageType.deleteLink, flags: 0, payload: fixedPart(index: index).bytes,
            operation: "delete interface \(name)")
    }

    public static func change(index: UInt32, name: String, _ change: LinkChange) -> NetlinkRequest {
        let flags = change.up.map { $0 ? LinkFlags.up : 0 } ?? 0
        var writer = fixedPart(index: index, flags: flags, mask: change.up == nil ? 0 : LinkFlags.up)
        if let mtu = change.mtu { writer.attribute(LinkAttribute.mtu, number: mtu) }
        if let alias = change.alias { writer.attribute(LinkAttribute.alias, text: alias) }
        if !change.ipv4.isEmpty || change.ipv6AddressGeneration != nil {
            writer.nest(LinkAttribute.familySpecific) { families in
                if !change.ipv4.isEmpty {
                    families.nest(UInt16(AddressFamily.inet)) { family in
                        family.nest(LinkAttribute.inetConfiguration) { settings in
                            for (setting, value) in change.ipv4.sorted(by: { $0.key.rawValue < $1.key.rawValue }) {
                                settings.attribute(setting.rawValue, number: value)
                            }
                        }
                    }
                }
                if let generation = change.ipv6AddressGeneration {
                    families.nest(UInt16(AddressFamily.inet6)) {
                        $0.attribute(LinkAttribute.inet6AddressGeneration, number: generation.rawValue)
                    }
                }
            }
        }
        return NetlinkRequest(
            type: RouteMessageType.newLink, flags: 0, payload: writer.bytes, operation: "change interface \(name)")
    }

    public static func get(name: String) -> NetlinkRequest {
        var writer = fixedPart()
        writer.attribute(LinkAttribute.name, text: name)
        return NetlinkRequest(
            type: RouteMessageType.getLink, flags: 0, payload: writer.bytes, operation: "find interface \(name)")
    }

    public static func get(index: UInt32) -> NetlinkRequest {
        NetlinkRequest(
            type: RouteMessageType.getLink, flags: 0, payload: fixedPart(index: index).bytes,
            operation: "find interface number \(index)")
    }

    public static func dump() -> NetlinkRequest {
        NetlinkRequest(type: RouteMessageType.getLink, flags: 0, payload: fixedPart().bytes, operation: "list the interfaces")
    }

    /// struct ifinfomsg: family, padding, hardware type, index, flags, mask of the flags to change.
    private static func fixedPart(index: UInt32 = 0, flags: UInt32 = 0, mask: UInt32 = 0) -> MessageWriter {
        var writer = MessageWriter()
        writer.fixed(AddressFamily.unspecified)
        writer.fixed(UInt8(0))
        writer.fixed(UInt16(0))
        writer.fixed(index)
        writer.fixed(flags)
        writer.fixed(mask)
        return writer
    }
}
