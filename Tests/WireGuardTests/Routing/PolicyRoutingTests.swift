import Addresses
import Netlink
import Testing

@testable import WireGuard

@Suite struct PolicyRoutingTests {
    func policy(_ prefixes: [String], base: UInt32 = 1000) throws -> PolicyRouting {
        try PolicyRouting(
            tunName: "cw0", tunIndex: 3,
            tunnels: [.init(interfaceName: "wg0", interfaceIndex: 4, table: 5001, prefixes: prefixes.map { prefix($0) })],
            returnTable: 5000,
            basePriority: base)
    }

    @Test func theRulesInTheOrderTheKernelReadsThem() throws {
        let rules = try policy(["10.8.0.0/16"]).rules(.v4).sorted { $0.priority < $1.priority }
        #expect(
            rules.map(\.description) == [
                "1000: from all to 10.8.0.0/16 iif lo lookup 5000",
                "1001: from all to 10.8.0.0/16 iif wg0 lookup 5000",
                "1002: from all iif wg0 blackhole",
                "1003: from 10.8.0.0/16 iif cw0 lookup 5001",
                "1004: from all iif cw0 blackhole",
                "1005: from 10.8.0.0/16 iif lo lookup 5001",
                "1006: from 10.8.0.0/16 blackhole",
                "1007: from all to 10.8.0.0/16 unreachable",
            ])
        #expect(rules.allSatisfy { $0.origin == RouteOrigin.causeway })
        // Nothing inner in IPv6: closed.
        #expect(
            try policy(["10.8.0.0/16"]).rules(.v6).map(\.description).sorted()
                == ["1002: from all iif wg0 blackhole", "1004: from all iif cw0 blackhole"])
        #expect(try policy(["10.8.0.0/16"]).routes(.v6).isEmpty)
    }

    @Test func closingRulesAndRoutesAreMadeFirst() throws {
        let policy = try policy(["10.8.0.0/16"])
        #expect(
            policy.routes(.v4).map(\.description) == [
                "0.0.0.0/0 unreachable table 5001 metric 4294967295",
                "0.0.0.0/0 dev number 4 table 5001 metric 100",
                "10.8.0.0/16 dev number 3 table 5000 metric 100",
            ])
        let rules = policy.rules(.v4)
        let lastClosing = rules.lastIndex { if case .lookup = $0.action { false } else { true } }!
        let firstOpening = rules.firstIndex { if case .lookup = $0.action { true } else { false } }!
        #expect(lastClosing < firstOpening)
    }

    @Test func prefixesInsideOthersNeedNoRule() throws {
        let policy = try policy(["10.8.1.0/24", "10.8.0.0/16", "10.9.0.1/32", "10.8.0.1/32", "fd00::/64", "10.9.0.1/32"])
        #expect(policy.tunnels[0].prefixes.map(\.description) == ["10.8.0.0/16", "10.9.0.1/32", "fd00::/64"])
        #expect(policy.rules(.v6).count == 8)
        #expect(policy.routes(.v6).count == 3)
    }

    @Test func whatCannotBeIsRefused() throws {
        func refused(_ tunnels: [(String, UInt32, [String])], returnTable: UInt32 = 5000, base: UInt32 = 1000) -> Bool {
            do {
                _ = try PolicyRouting(
                    tunName: "cw0", tunIndex: 3,
                    tunnels: tunnels.map { name, table, prefixes in
                        .init(interfaceName: name, interfaceIndex: 4, table: table, prefixes: prefixes.map { prefix($0) })
                    }, returnTable: returnTable, basePriority: base)
                return false
            } catch { return error is PolicyRoutingError }
        }
        #expect(!refused([("a", 5001, ["10.8.0.0/16"]), ("b", 5002, ["10.9.0.0/16"])]))
        #expect(refused([("a", 5001, ["10.8.0.0/16"]), ("b", 5002, ["10.8.4.0/24"])]))
        #expect(refused([("a", 5001, []), ("b", 5001, [])]))
        #expect(refused([("a", 5000, [])]))
        #expect(refused([("a", 5001, ["0.0.0.0/0"])]))
        for table: UInt32 in [0, 253, 254, 255] { #expect(refused([("a", table, [])])) }
        #expect(refused([], returnTable: 254))
        #expect(refused([], base: 0))
        #expect(refused([], base: 32766))
    }

    @Test func differences() throws {
        let policy = try policy(["10.8.0.0/16"])
        let wanted = policy.rules(.v4)
        let local = Rule(.v4, priority: 0, .lookup(table: 255), origin: 2)
        let main = Rule(.v4, priority: 32766, .lookup(table: 254), origin: 2)
        #expect(try policy.difference(rules: wanted + [local, main], .v4) == .init(missing: [], surplus: [], warnings: []))
        // An old rule of ours goes, one of another instance stays.
        let old = Rule(.v4, priority: 1003, from: prefix("10.7.0.0/16"), inputInterface: "cw0", .lookup(table: 5001))
        let other = Rule(.v4, priority: 2003, from: prefix("10.7.0.0/16"), .lookup(table: 6001))
        let difference = try policy.difference(rules: Array(wanted.dropFirst()) + [old, other], .v4)
        #expect(difference == .init(missing: [wanted[0]], surplus: [old], warnings: []))
        // Strangers before ours are warned of, strangers among ours are an error.
        let early = Rule(.v4, priority: 10, .lookup(table: 9), origin: 3)
        #expect(try policy.difference(rules: wanted + [early], .v4).warnings.count == 1)
        let among = Rule(.v4, priority: 1003, .lookup(table: 9), origin: 3)
        #expect(throws: PolicyRoutingError.foreignRule(among)) { try policy.difference(rules: [among], .v4) }
        // A condition that we never set makes it another rule.
        var marked = wanted[0]
        marked.hasOtherConditions = true
        #expect(try policy.difference(rules: Array(wanted.dropFirst()) + [marked], .v4).surplus == [marked])

        let routes = policy.routes(.v4)
        let stale = Route(prefix("10.7.0.0/16"), table: 5000, to: .interface(index: 3), metric: 100)
        let routeDifference = try policy.difference(routes: [routes[0], routes[2], stale], .v4)
        #expect(routeDifference.missing == [routes[1]])
        #expect(routeDifference.surplus == [stale])
        let foreign = Route(prefix("10.7.0.0/16"), table: 5000, to: .interface(index: 9), metric: 0, origin: 4)
        #expect(throws: PolicyRoutingError.foreignRoute(foreign)) { try policy.difference(routes: [foreign], .v4) }
    }
}
