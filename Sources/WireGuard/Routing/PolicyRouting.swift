import Addresses
import Netlink

/// What makes users' packets leave through their tunnel and nothing else, as a value.
///
/// For each tunnel a table T holds `default dev WG` and, at the worst metric, `unreachable default`: when the interface goes
/// down or is deleted the kernel takes the first away and the second stays. One return table holds `P dev TUN` for every inner
/// prefix P. No inner prefix is in table main, so what arrives on the LAN for a user finds no way to the TUN. The rules, all
/// before main (numbers are offsets from the base priority):
///
///     0  iif lo to P lookup RETURN     the gateway's own packets to users: replies, and the ICMP errors the kernel makes about
///                                      users' packets, which would otherwise leave by the host's default route
///     1  iif WG to P lookup RETURN     the way back, for the prefixes of that tunnel only
///     2  iif WG blackhole              the hub reaches users, not what else this host can reach
///     3  iif TUN from P lookup T       users' packets
///     4  iif TUN blackhole             any other source from the TUN
///     5  iif lo from P lookup T        the gateway's own packets from an inner address
///     6  from P blackhole              an inner source from anywhere else (a LAN host that forges it)
///     7  to P unreachable              an inner destination from anywhere else (a LAN host that looks for users)
///
/// Where the source is not known to be on the interface that the packet came from, the rule drops without an ICMP error: that would
/// be sent to the claimed source by the host's default route, with the head of the packet in it. A user whose tunnel is
/// down does get one, from the unreachable route in T. The kernel's errors about packets *from the hub* (TTL exceeded on the way
/// to a user) cannot be steered by rules: keep the TUN's MTU at least as large as the tunnel's, so that no "fragmentation needed" is due.
///
/// The same for IPv6, where without inner prefixes only 2 and 4 remain. Table `local` comes before every rule: packets to the
/// gateway's own addresses are dropped by the data path, not here. The rules name interfaces, so they outlive them: after a
/// crash everything stays closed until the next start.
///
/// Rules of ours carry our protocol number; of these, an instance's are the ones with a priority in its range.
public struct PolicyRouting: Equatable, Sendable {
    public struct Tunnel: Equatable, Sendable {
        public var interfaceName: String
        public var interfaceIndex: UInt32
        /// T
        public var table: UInt32
        /// Inner addresses of this tunnel: pools, static addresses, prefixes behind users' routers, gateway addresses.
        public var prefixes: [IPPrefix]

        public init(interfaceName: String, interfaceIndex: UInt32, table: UInt32, prefixes: [IPPrefix]) {
            self.interfaceName = interfaceName
            self.interfaceIndex = interfaceIndex
            self.table = table
            self.prefixes = prefixes
        }
    }

    public var tunName: String
    public var tunIndex: UInt32
    public var tunnels: [Tunnel]
    /// Inner prefixes that no tunnel has at present: they have no way, either way.
    public var closed: [IPPrefix]
    public var returnTable: UInt32
    public var basePriority: UInt32

    /// Priorities from the base that belong to one instance.
    public static let prioritySpan: UInt32 = 16
    public static let defaultBasePriority: UInt32 = 1000
    static let deviceMetric: UInt32 = 100
    static let worstMetric = UInt32.max

    public init(
        tunName: String, tunIndex: UInt32, tunnels: [Tunnel], closed: [IPPrefix] = [], returnTable: UInt32,
        basePriority: UInt32 = PolicyRouting.defaultBasePriority
    ) throws {
        self.tunName = tunName
        self.tunIndex = tunIndex
        self.tunnels = tunnels.map { tunnel in
            var tunnel = tunnel
            tunnel.prefixes = Self.withoutCovered(tunnel.prefixes)
            return tunnel
        }
        self.closed = Self.withoutCovered(closed)
        self.returnTable = returnTable
        self.basePriority = basePriority
        try validate()
    }

    /// The unspecified, default, main and local tables of linux/rtnetlink.h.
    private static let reservedTables: Set<UInt32> = [0, 253, 254, 255]
    /// Priority of the rule for table main.
    private static let mainPriority: UInt32 = 32766

    private func validate() throws {
        guard basePriority > 0, basePriority <= Self.mainPriority - Self.prioritySpan else {
            throw PolicyRoutingError.configuration(
                "the rule priority must be between 1 and \(Self.mainPriority - Self.prioritySpan), before table main; it is \(basePriority)"
            )
        }
        var tables: Set<UInt32> = [returnTable]
        for tunnel in tunnels where !tables.insert(tunnel.table).inserted {
            throw PolicyRoutingError.configuration("table \(tunnel.table) is used twice")
        }
        if let reserved = tables.intersection(Self.reservedTables).min() {
            throw PolicyRoutingError.configuration("table \(reserved) is one of the system's")
        }
        for (position, tunnel) in tunnels.enumerated() {
            for prefix in tunnel.prefixes {
                guard prefix.length > 0 else { throw PolicyRoutingError.configuration("inner prefix \(prefix) is everything") }
                for other in tunnels[..<position] {
                    if let clash = other.prefixes.first(where: { $0.overlaps(prefix) }) {
                        throw PolicyRoutingError.configuration(
                            "inner prefix \(prefix) of \(tunnel.interfaceName) overlaps \(clash) of \(other.interfaceName)")
                    }
                }
            }
        }
    }

    /// Sorted, and without those that lie in another: fewer rules for each packet to pass.
    static func withoutCovered(_ prefixes: [IPPrefix]) -> [IPPrefix] {
        prefixes.sorted().reduce(into: []) { kept, prefix in
            if kept.last?.contains(prefix) != true { kept.append(prefix) }
        }
    }

    var tables: Set<UInt32> { Set(tunnels.map(\.table) + [returnTable]) }
    var priorities: Range<UInt32> { basePriority..<basePriority + Self.prioritySpan }

    /// The routes, those that close first.
    func routes(_ family: IPAddress.Family) -> [Route] {
        let everything = IPPrefix(family == .v4 ? IPAddress.anyV4 : .anyV6, length: 0)!
        let active = tunnels.filter { tunnel in tunnel.prefixes.contains { $0.family == family } }
        var routes = active.map { Route(everything, table: $0.table, to: .unreachable, metric: Self.worstMetric) }
        for tunnel in active {
            routes.append(
                Route(everything, table: tunnel.table, to: .interface(index: tunnel.interfaceIndex), metric: Self.deviceMetric))
            routes += tunnel.prefixes.filter { $0.family == family }.map {
                Route($0, table: returnTable, to: .interface(index: tunIndex), metric: Self.deviceMetric)
            }
        }
        return routes
    }

    /// The rules, those that close first.
    func rules(_ family: IPAddress.Family) -> [Rule] {
        let prefixes = tunnels.map { ($0, $0.prefixes.filter { $0.family == family }) }
        let all = prefixes.flatMap(\.1)
        // Of a network that is closed, tunnels may have single addresses; their own rules come first.
        let guarded = Set(all + closed.filter { $0.family == family }).sorted()
        func rule(
            _ offset: UInt32, from source: IPPrefix? = nil, to destination: IPPrefix? = nil, iif: String? = nil,
            _ action: Rule.Action
        ) -> Rule {
            Rule(family, priority: basePriority + offset, from: source, to: destination, inputInterface: iif, action)
        }
        var rules = tunnels.map { rule(2, iif: $0.interfaceName, .blackhole) }
        rules.append(rule(4, iif: tunName, .blackhole))
        rules += guarded.map { rule(6, from: $0, .blackhole) }
        rules += guarded.map { rule(7, to: $0, .unreachable) }
        for (tunnel, own) in prefixes {
            rules += own.map { rule(5, from: $0, iif: "lo", .lookup(table: tunnel.table)) }
            rules += own.map { rule(3, from: $0, iif: tunName, .lookup(table: tunnel.table)) }
            rules += own.map { rule(1, to: $0, iif: tunnel.interfaceName, .lookup(table: returnTable)) }
        }
        rules += all.map { rule(0, to: $0, iif: "lo", .lookup(table: returnTable)) }
        return rules
    }
}

public enum PolicyRoutingError: Error, Equatable, CustomStringConvertible {
    case configuration(String)
    /// A table of ours holds routes that are not.
    case foreignRoute(Route)
    /// A priority of ours holds a rule that is not.
    case foreignRule(Rule)
    /// net.ipv4.conf.all.rp_filter
    case reversePathFilter(value: Int)

    public var description: String {
        switch self {
        case .configuration(let reason): "policy routing: \(reason)"
        case .foreignRoute(let route):
            "table \(route.table) has a route that this gateway did not make (\(route)): choose another table in the configuration"
        case .foreignRule(let rule):
            "a rule that this gateway did not make stands among its own (\(rule)): choose another priority in the configuration"
        case .reversePathFilter(let value):
            """
            net.ipv4.conf.all.rp_filter is \(value) and overrules the setting of our interfaces, so replies to users would be dropped: \
            set it to 0 (sysctl -w net.ipv4.conf.all.rp_filter=0, and in /etc/sysctl.d) and set it on the interfaces that need it instead
            """
        }
    }
}
