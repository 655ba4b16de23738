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
    /// Tunnels that are down or gone: their users get "unreachable" until `apply` is called again.
    public var closed: Set<String> = []
}

extension PolicyRouting {
    /// Makes the kernel's rules and routes what they should be: what is missing is added, closing entries first, and what is
    /// ours and too many is removed. Leftovers of a crash are adopted that way. Call it again after a link event: the
    /// kernel drops the routes of an interface that went down, and a tunnel that is down now stays closed.
    public func apply(_ socket: NetlinkSocket) throws -> PolicyRoutingChange {
        try Self.checkReversePathFilter()
        var change = PolicyRoutingChange()
        for family in try Self.families(socket) {
            let ruleDifference = try difference(rules: socket.rules(family), family)
            let routeDifference = try difference(routes: readRoutes(socket, family), family)
            change.warnings += ruleDifference.warnings
            // Everything that closes, and the rules, before the first route that opens: whatever fails, fails closed.
            let opening = routeDifference.missing.filter { $0.target != .unreachable }
            for route in routeDifference.missing where route.target == .unreachable { try socket.add(RouteRequest.add(route)) }
            for rule in ruleDifference.missing { try socket.add(RuleRequest.add(rule)) }
            for rule in ruleDifference.surplus { try socket.delete(RuleRequest.delete(rule)) }
            for route in routeDifference.surplus { try socket.delete(RouteRequest.delete(route)) }
            change.added += routeDifference.missing.count + ruleDifference.missing.count
            change.removed += routeDifference.surplus.count + ruleDifference.surplus.count
            for route in opening {
                guard let name = try unlessDown(route.target, { try socket.add(RouteRequest.add(route)) }) else { continue }
                change.closed.insert(name)
                change.added -= 1
            }
        }
        // Last: nothing is forwarded before everything that closes is in place.
        let settings: [IPv4InterfaceSetting: UInt32] = [.forwarding: 1, .rpFilter: 0, .sendRedirects: 0, .acceptRedirects: 0]
        for (index, name) in [(tunIndex, tunName)] + tunnels.map({ ($0.interfaceIndex, $0.interfaceName) }) {
            let request = LinkRequest.change(index: index, name: name, LinkChange(ipv4: settings))
            if let name = try unlessDown(.interface(index: index), { try socket.perform(request) }) { change.closed.insert(name) }
        }
        for name in [tunName] + tunnels.map(\.interfaceName) where !Self.refuseRouterAdvertisements(name) {
            change.warnings.append(
                "net.ipv6.conf.\(name).accept_ra is on and cannot be changed: a router advertisement through it could give this host a route"
            )
        }
        return change
    }

    /// Netlink has no message for this one. False if the setting exists, is on and cannot be changed.
    private static func refuseRouterAdvertisements(_ name: String) -> Bool {
        let path = "/proc/sys/net/ipv6/conf/\(name)/accept_ra"
        var digit: UInt8 = 0
        let present = open(path, O_RDONLY | O_CLOEXEC)
        guard present >= 0 else { return true }
        defer { close(present) }
        guard read(present, &digit, 1) == 1, digit != 0x30 else { return true }
        let file = open(path, O_WRONLY | O_CLOEXEC)
        guard file >= 0 else { return false }
        defer { close(file) }
        digit = 0x30
        return write(file, &digit, 1) == 1
    }

    /// The name of the tunnel whose interface is down or gone, if that is why the body failed. The TUN has to be there.
    private func unlessDown(_ target: Route.Target, _ body: () throws -> Void) throws -> String? {
        do {
            try body()
            return nil
        } catch let error as NetlinkError where [ENETDOWN, ENODEV, ENXIO].contains(error.code) {
            guard let tunnel = tunnels.first(where: { target == .interface(index: $0.interfaceIndex) }) else { throw error }
            return tunnel.interfaceName
        }
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

    /// Removes our routes in the table of a tunnel that has ended.
    public static func removeRoutes(_ socket: NetlinkSocket, table: UInt32) throws {
        for family in try families(socket) {
            for route in try socket.routes(family, table: table) where route.origin == RouteOrigin.causeway {
                try socket.delete(RouteRequest.delete(route))
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
