import Addresses
import Netlink

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// What `apply` did and saw.
public struct PolicyRoutingChange: Equatable, Sendable {
    public var added = 0
    public var removed = 0
    /// Rules of others that come before ours and may take users' packets elsewhere; for the log.
    public var warnings: [String] = []
}

extension PolicyRouting {
    /// Makes the kernel's rules and routes what they should be: what is missing is added, closing entries first, then what is
    /// ours and too many is removed. Leftovers of a crash are adopted that way. Call it again after a link event: the
    /// kernel drops the routes of an interface that went down.
    public func apply(_ socket: NetlinkSocket) throws -> PolicyRoutingChange {
        try Self.checkReversePathFilter()
        var change = PolicyRoutingChange()
        for family in try Self.families(socket) {
            let ruleDifference = try difference(rules: socket.rules(family), family)
            let routeDifference = try difference(routes: readRoutes(socket, family), family)
            change.warnings += ruleDifference.warnings
            // Closing routes come first in the list, and tables fill before a rule sends anything there.
            for route in routeDifference.missing { try socket.add(RouteRequest.add(route)) }
            for rule in ruleDifference.missing { try socket.add(RuleRequest.add(rule)) }
            for rule in ruleDifference.surplus { try socket.delete(RuleRequest.delete(rule)) }
            for route in routeDifference.surplus { try socket.delete(RouteRequest.delete(route)) }
            change.added += routeDifference.missing.count + ruleDifference.missing.count
            change.removed += routeDifference.surplus.count + ruleDifference.surplus.count
        }
        // Last: nothing is forwarded before everything that closes is in place.
        let settings: [IPv4InterfaceSetting: UInt32] = [.forwarding: 1, .rpFilter: 0, .sendRedirects: 0, .acceptRedirects: 0]
        for (index, name) in [(tunIndex, tunName)] + tunnels.map({ ($0.interfaceIndex, $0.interfaceName) }) {
            try socket.perform(LinkRequest.change(index: index, name: name, LinkChange(ipv4: settings)))
        }
        return change
    }

    /// Removes every rule and route of this instance. Do it after the interfaces are gone, or the last packets pass unguarded.
    public func remove(_ socket: NetlinkSocket) throws {
        try Self.removeLeftovers(socket, tables: tables, basePriority: basePriority)
    }

    /// The same, when all that is known of an earlier run is its tables and its priority.
    public static func removeLeftovers(_ socket: NetlinkSocket, tables: Set<UInt32>, basePriority: UInt32) throws {
        for family in try families(socket) {
            for rule in try socket.rules(family)
            where rule.origin == RouteOrigin.causeway && basePriority..<basePriority + prioritySpan ~= rule.priority {
                try socket.delete(RuleRequest.delete(rule))
            }
            for table in tables.sorted() {
                for route in try socket.routes(family, table: table) where route.origin == RouteOrigin.causeway {
                    try socket.delete(RouteRequest.delete(route))
                }
            }
        }
    }

    // ---- Differences ----

    struct RuleDifference: Equatable {
        var missing: [Rule]
        var surplus: [Rule]
        var warnings: [String]
    }

    func difference(rules present: [Rule], _ family: IPAddress.Family) throws -> RuleDifference {
        let wanted = rules(family)
        if let foreign = present.first(where: { priorities.contains($0.priority) && $0.origin != RouteOrigin.causeway }) {
            throw PolicyRoutingError.foreignRule(foreign)
        }
        let ours = present.filter { priorities.contains($0.priority) }
        let warnings = present.compactMap { rule -> String? in
            // Ours of another instance concern other interfaces; a rule that only looks into table local is the kernel's own.
            guard rule.priority < basePriority, rule.origin != RouteOrigin.causeway, rule.action != .lookup(table: 255) else {
                return nil
            }
            return "\(family) rule \(rule) comes before the gateway's and may take users' packets elsewhere"
        }
        return RuleDifference(
            missing: wanted.filter { !ours.contains($0) }, surplus: ours.filter { !wanted.contains($0) }, warnings: warnings)
    }

    func difference(routes present: [Route], _ family: IPAddress.Family) throws -> (missing: [Route], surplus: [Route]) {
        let wanted = routes(family)
        if let foreign = present.first(where: { $0.origin != RouteOrigin.causeway }) {
            throw PolicyRoutingError.foreignRoute(foreign)
        }
        let (wantedSet, presentSet) = (Set(wanted), Set(present))
        return (wanted.filter { !presentSet.contains($0) }, present.filter { !wantedSet.contains($0) })
    }

    private func readRoutes(_ socket: NetlinkSocket, _ family: IPAddress.Family) throws -> [Route] {
        try tables.sorted().flatMap { try socket.routes(family, table: $0) }
    }

    // ---- The host ----

    /// IPv6 may be switched off in the kernel; then there is nothing to close.
    private static func families(_ socket: NetlinkSocket) throws -> [IPAddress.Family] {
        do {
            _ = try socket.rules(.v6)
            return [.v4, .v6]
        } catch let error as NetlinkError where error.code == EAFNOSUPPORT || error.code == EOPNOTSUPP {
            return [.v4]
        }
    }

    /// The effective value is the maximum of `all` and the interface's own, so ours cannot be right when `all` is not 0.
    static func checkReversePathFilter(_ path: String = "/proc/sys/net/ipv4/conf/all/rp_filter") throws {
        let file = open(path, O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { throw NetlinkError(operation: "read \(path)", code: errno) }
        defer { close(file) }
        var digit: UInt8 = 0
        guard read(file, &digit, 1) == 1, digit >= 0x30, digit <= 0x39 else {
            throw NetlinkError(operation: "read \(path)", code: EINVAL)
        }
        if digit != 0x30 { throw PolicyRoutingError.reversePathFilter(value: Int(digit - 0x30)) }
    }
}
