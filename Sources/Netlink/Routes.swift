import Addresses

/// Who put a route or rule there. 202 (0xCA) is not assigned in iproute2's rt_protos; it marks everything of ours, routes
/// (rtm_protocol) and rules (FRA_PROTOCOL) alike. Instances on one host are told apart by their tables and rule priorities.
public enum RouteOrigin {
    public static let causeway: UInt8 = 202
}

/// A route of one of our tables, or of anybody else's when read back.
public struct Route: Hashable, Sendable {
    public enum Target: Hashable, Sendable {
        /// Out of this interface, directly.
        case interface(index: UInt32)
        case gateway(IPAddress, index: UInt32?)
        /// RTN_UNREACHABLE: dropped, and the sender gets ICMP host unreachable.
        case unreachable
        /// Another kind (RTN_ number); read back only.
        case other(kind: UInt8)
    }

    public var destination: IPPrefix
    public var table: UInt32
    public var target: Target
    /// Lower is better.
    public var metric: UInt32
    public var origin: UInt8

    public init(_ destination: IPPrefix, table: UInt32, to target: Target, metric: UInt32, origin: UInt8 = RouteOrigin.causeway) {
        self.destination = destination
        self.table = table
        self.target = target
        self.metric = metric
        self.origin = origin
    }

    static let fixedLength = 12
    static let unicast: UInt8 = 1
    static let unreachable: UInt8 = 7
    static let cloned: UInt32 = 0x200

    /// nil for messages about something else, another family, or the IPv6 exception cache.
    public init?(_ message: NetlinkMessage) throws {
        guard message.type == RouteMessageType.newRoute || message.type == RouteMessageType.deleteRoute else { return nil }
        let attributes = try message.attributes(after: Self.fixedLength)
        let payload = message.payload
        guard let family = IPAddress.Family(wire: payload.number(at: 0)) else { return nil }
        guard payload.number(at: 8, as: UInt32.self) & Self.cloned == 0 else { return nil }
        let length = Int(payload.number(at: 1, as: UInt8.self))
        let bytes =
            attributes[type: RouteAttribute.destination].map { Array($0.value) } ?? [UInt8](repeating: 0, count: family.byteCount)
        guard let address = IPAddress(bytes: bytes), address.family == family,
            let destination = IPPrefix(containing: address, length: length)
        else { throw MalformedMessage("a route with a wrong destination") }

        let index: UInt32? = try attributes[type: RouteAttribute.outputInterface]?.number()
        let gateway = attributes[type: RouteAttribute.gateway].flatMap { IPAddress(bytes: $0.value) }
        let kind = payload.number(at: 7, as: UInt8.self)
        let target: Target
        switch (kind, gateway, index) {
        case (Self.unreachable, _, _): target = .unreachable
        case (Self.unicast, let gateway?, _): target = .gateway(gateway, index: index)
        case (Self.unicast, nil, let index?): target = .interface(index: index)
        default: target = .other(kind: kind)
        }
        self.init(
            destination,
            table: try attributes[type: RouteAttribute.table]?.number() ?? UInt32(payload.number(at: 4, as: UInt8.self)),
            to: target, metric: try attributes[type: RouteAttribute.priority]?.number() ?? 0, origin: payload.number(at: 5))
    }
}

extension Route: CustomStringConvertible {
    public var description: String {
        let target =
            switch self.target {
            case .interface(let index): "dev number \(index)"
            case .gateway(let address, _): "via \(address)"
            case .unreachable: "unreachable"
            case .other(let kind): "type \(kind)"
            }
        return "\(destination) \(target) table \(table) metric \(metric)"
    }
}

/// Requests about routes (RTM_*ROUTE).
public enum RouteRequest {
    private static let scopeLink: UInt8 = 253
    private static let scopeUniverse: UInt8 = 0
    private static let scopeNowhere: UInt8 = 255

    public static func add(_ route: Route) -> NetlinkRequest {
        NetlinkRequest(
            type: RouteMessageType.newRoute, flags: NetlinkFlags.create | NetlinkFlags.exclusive,
            payload: payload(route, adding: true),
            operation: "add route \(route)")
    }

    public static func delete(_ route: Route) -> NetlinkRequest {
        NetlinkRequest(
            type: RouteMessageType.deleteRoute, flags: 0, payload: payload(route, adding: false),
            operation: "delete route \(route)")
    }

    /// With strict checking the kernel filters; without, the reader must.
    public static func dump(_ family: IPAddress.Family, table: UInt32) -> NetlinkRequest {
        var writer = fixedPart(family: family, length: 0, table: table, origin: 0, scope: 0, kind: 0)
        writer.attribute(RouteAttribute.table, number: table)
        return NetlinkRequest(
            type: RouteMessageType.getRoute, flags: 0, payload: writer.bytes, operation: "list the routes of table \(table)")
    }

    private static func payload(_ route: Route, adding: Bool) -> [UInt8] {
        let family = route.destination.family
        let kind =
            switch route.target {
            case .interface, .gateway: Route.unicast
            case .unreachable: Route.unreachable
            case .other(let kind): kind
            }
        var scope = scopeUniverse
        // A route to a directly reachable destination has link scope in IPv4; a deletion matches any scope.
        if family == .v4, case .interface = route.target { scope = scopeLink }
        if !adding { scope = scopeNowhere }
        var writer = fixedPart(
            family: family, length: route.destination.length, table: route.table, origin: route.origin, scope: scope, kind: kind)
        writer.attribute(RouteAttribute.table, number: route.table)
        if route.destination.length > 0 { writer.attribute(RouteAttribute.destination, route.destination.address.bytes) }
        writer.attribute(RouteAttribute.priority, number: route.metric)
        switch route.target {
        case .interface(let index): writer.attribute(RouteAttribute.outputInterface, number: index)
        case .gateway(let address, let index):
            writer.attribute(RouteAttribute.gateway, address.bytes)
            if let index { writer.attribute(RouteAttribute.outputInterface, number: index) }
        case .unreachable, .other: break
        }
        return writer.bytes
    }

    /// struct rtmsg. A table above 255 does not fit here and stands in RTA_TABLE alone.
    private static func fixedPart(
        family: IPAddress.Family, length: Int, table: UInt32, origin: UInt8, scope: UInt8, kind: UInt8
    ) -> MessageWriter {
        var writer = MessageWriter()
        for byte in [family.wire, UInt8(length), 0, 0, table > 255 ? 0 : UInt8(table), origin, scope, kind] { writer.fixed(byte) }
        writer.fixed(UInt32(0))
        return writer
    }
}
