import Addresses

/// The same rules as input of iptables-restore(8) with --noflush, in chains of our own. For those who must: loading them twice takes two steps.
public struct IptablesRules: Sendable {
    public let plan: FirewallPlan

    public init(_ plan: FirewallPlan) { self.plan = plan }

    private func chain(_ name: String) -> String { "CW-\(plan.instance)-\(name)" }

    /// Jumps from the built-in chains to ours.
    private var jumps: [(table: String, builtIn: String, chain: String)] {
        var jumps = [("filter", "INPUT", chain("IN")), ("filter", "FORWARD", chain("FWD"))]
        jumps += plan.tunnels.isEmpty ? [] : [("mangle", "FORWARD", chain("MSS"))]
        jumps += masqueraded.isEmpty ? [] : [("nat", "POSTROUTING", chain("OUT"))]
        return jumps + (plan.pptpHelper ? [("raw", "PREROUTING", chain("HLP"))] : [])
    }
    private var masqueraded: [FirewallPlan.Tunnel] { plan.tunnels.filter(\.masquerade) }

    /// Commands that take everything away again; each fails harmlessly where there is nothing.
    public var removal: [String] {
        jumps.map { "iptables -t \($0.table) -D \($0.builtIn) -j \($0.chain)" }
            + chains.flatMap { table, names in names.map { "iptables -t \(table) -F \($0)" } + names.map { "iptables -t \(table) -X \($0)" } }
    }

    private var chains: [(table: String, names: [String])] {
        [
            ("filter", ["IN", "CTL", "CLI", "FWD", "FROM", "TO"]), ("mangle", plan.tunnels.isEmpty ? [] : ["MSS"]),
            ("nat", masqueraded.isEmpty ? [] : ["OUT"]), ("raw", plan.pptpHelper ? ["HLP"] : []),
        ].map { ($0, $1.map(chain)) }
    }

    public var restore: String {
        var lines = ["# Load: iptables-restore --noflush FILE. Before loading again, take away what is there:"]
        lines += removal.map { "#   \($0)" }
        let rules = ["filter": filter, "mangle": mangle, "nat": nat, "raw": raw]
        for (table, names) in chains where !names.isEmpty {
            lines.append("*\(table)")
            lines += names.map { ":\($0) - [0:0]" }
            lines += rules[table]!
            lines += jumps.filter { $0.table == table }.map { "-I \($0.builtIn) 1 -j \($0.chain)" }
            lines.append("COMMIT")
        }
        return lines.joined(separator: "\n") + "\n"
    }

    private var filter: [String] {
        var rules: [String] = []
        for (port, addresses) in plan.ports {
            rules += Self.destinations(addresses).map { "-A \(chain("IN")) \($0)-p tcp --dport \(port) -j \(chain("CTL"))" }
        }
        rules += Self.destinations(plan.greAddresses).map { "-A \(chain("IN")) \($0)-p 47 -j \(chain("CLI"))" }
        rules += plan.wireGuardPorts.map { "-A \(chain("IN")) -p udp --dport \($0) -j ACCEPT" }
        if plan.connectsPerMinute > 0 {
            // A hashlimit knows bursts up to 10,000.
            let rate = plan.connectsPerMinute
            rules.append(
                "-A \(chain("CTL")) -p tcp --syn -m hashlimit --hashlimit-above \(rate)/minute --hashlimit-burst \(min(rate, 10_000)) --hashlimit-mode srcip --hashlimit-name cw-\(String(plan.instance.prefix(12))) -j DROP")
        }
        rules.append("-A \(chain("CTL")) -j \(chain("CLI"))")
        rules += plan.blocked.map { "-A \(chain("CLI")) -s \($0) -j DROP" }
        rules += plan.allowed.map { "-A \(chain("CLI")) -s \($0) -j ACCEPT" }
        rules.append("-A \(chain("CLI")) -j \(plan.allowed.isEmpty ? "ACCEPT" : "DROP")")
        rules.append("-A \(chain("FWD")) -i \(plan.userInterface) -j \(chain("FROM"))")
        rules.append("-A \(chain("FWD")) -o \(plan.userInterface) -j \(chain("TO"))")
        for (name, flag) in [("FROM", "-o"), ("TO", "-i")] {
            rules += plan.tunnels.map { "-A \(chain(name)) \(flag) \($0.pattern) -j ACCEPT" }
            rules.append("-A \(chain(name)) -j DROP")
        }
        return rules
    }

    private var mangle: [String] {
        ["-i", "-o"].map { "-A \(chain("MSS")) \($0) \(plan.userInterface) -p tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu" }
    }

    private var nat: [String] {
        masqueraded.map { "-A \(chain("OUT")) -o \($0.pattern) -j MASQUERADE" }
    }

    private var raw: [String] { ["-A \(chain("HLP")) -p tcp --dport 1723 -j CT --helper pptp"] }

    private static func destinations(_ addresses: [IPAddress]?) -> [String] { addresses?.map { "-d \($0) " } ?? [""] }
}

extension FirewallPlan.Tunnel {
    fileprivate var pattern: String { isPrefix ? interface + "+" : interface }
}
