import Addresses

/// The rules as nft(8) reads them: one table of ours, replaced as a whole.
///
/// A verdict `accept` counts in our table only: another table that drops what we need has to be told itself (``Obstacle``).
public struct NftablesRules: Sendable {
    public let plan: FirewallPlan

    public init(_ plan: FirewallPlan) { self.plan = plan }

    /// One transaction that leaves exactly these rules, whatever the table held.
    public var replacement: String { removal + "\n" + table }

    /// One transaction that leaves no table, whether there was one or not.
    public var removal: String { "add table inet \(plan.table)\ndelete table inet \(plan.table)\n" }

    public var table: String {
        var text = Text()
        text.block("table inet \(plan.table)") { text in
            text.line("comment \"Causeway, instance \(plan.instance)\"")
            sets(&text)
            if plan.pptpHelper { helper(&text) }
            input(&text)
            forward(&text)
            masquerade(&text)
        }
        return text.value
    }

    private func sets(_ text: inout Text) {
        for (name, prefixes) in [("allowed", plan.allowed), ("blocked", plan.blocked)] where !prefixes.isEmpty {
            text.block("set \(name)") { text in
                text.line("type ipv4_addr; flags interval; auto-merge")
                text.line("elements = { \(prefixes.map(\.description).joined(separator: ", ")) }")
            }
        }
        guard plan.connectsPerMinute > 0 else { return }
        text.block("set callers") { text in
            text.line("type ipv4_addr; size 65535; flags dynamic,timeout; timeout 2m")
        }
    }

    /// Since Linux 6.0 a helper works only where a rule assigns it; before, where a sysctl did not.
    private func helper(_ text: inout Text) {
        text.block("ct helper pptp") { text in
            text.line("type \"pptp\" protocol tcp; l3proto ip")
        }
        text.block("chain helpers") { text in
            // After the connection tracking (-200), before anybody translates (-100).
            text.line("type filter hook prerouting priority -150; policy accept")
            text.line("tcp dport 1723 ct helper set \"pptp\"")
        }
    }

    private func input(_ text: inout Text) {
        text.block("chain input") { text in
            text.line("type filter hook input priority filter - 10; policy accept")
            for (port, addresses) in plan.ports { text.line("\(Self.destination(addresses))tcp dport \(port) jump control") }
            text.line("\(Self.destination(plan.greAddresses))meta l4proto gre jump clients")
            if !plan.wireGuardPorts.isEmpty { text.line("udp dport \(Self.list(plan.wireGuardPorts)) accept") }
        }
        text.block("chain control") { text in
            if plan.connectsPerMinute > 0 {
                let rate = plan.connectsPerMinute
                text.line("tcp flags & (fin | syn | rst | ack) == syn add @callers { ip saddr limit rate over \(rate)/minute burst \(rate) packets } counter drop")
            }
            text.line("jump clients")
        }
        text.block("chain clients") { text in
            if !plan.blocked.isEmpty { text.line("ip saddr @blocked counter drop") }
            if !plan.allowed.isEmpty { text.line("ip saddr != @allowed counter drop") }
            text.line("accept")
        }
    }

    /// Users leave through their tunnel or not at all, and nobody else reaches them.
    private func forward(_ text: inout Text) {
        text.block("chain forward") { text in
            text.line("type filter hook forward priority filter - 10; policy accept")
            text.line("iifname \"\(plan.userInterface)\" jump from-users")
            text.line("oifname \"\(plan.userInterface)\" jump to-users")
        }
        for (chain, key) in [("from-users", "oifname"), ("to-users", "iifname")] {
            text.block("chain \(chain)") { text in
                if !plan.tunnels.isEmpty { text.line("tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu") }
                for tunnel in plan.tunnels { text.line("\(key) \"\(tunnel.pattern)\" accept") }
                text.line("counter drop")
            }
        }
    }

    private func masquerade(_ text: inout Text) {
        let tunnels = plan.tunnels.filter(\.masquerade)
        guard !tunnels.isEmpty else { return }
        text.block("chain postrouting") { text in
            text.line("type nat hook postrouting priority srcnat; policy accept")
            for tunnel in tunnels { text.line("oifname \"\(tunnel.pattern)\" masquerade") }
        }
    }

    static func destination(_ addresses: [IPAddress]?) -> String { addresses.map { "ip daddr \(list($0)) " } ?? "" }

    static func list(_ values: [some CustomStringConvertible]) -> String {
        values.count == 1 ? "\(values[0])" : "{ \(values.map(\.description).joined(separator: ", ")) }"
    }
}

extension FirewallPlan.Tunnel {
    fileprivate var pattern: String { isPrefix ? interface + "*" : interface }
}

/// Nested blocks, a tab deeper each.
struct Text {
    private(set) var value = ""
    private var depth = 0

    mutating func line(_ text: String) { value += String(repeating: "\t", count: depth) + text + "\n" }

    mutating func block(_ header: String, _ body: (inout Text) -> Void) {
        line(header + " {")
        depth += 1
        body(&self)
        depth -= 1
        line("}")
    }
}
