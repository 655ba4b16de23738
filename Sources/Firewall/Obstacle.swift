import Foundation

/// A chain of somebody else that drops by default and has no rule that names what we need. In nf_tables a packet has to be accepted by
/// every table that looks at it, so no rule of ours can help; a rule in that chain can.
public struct Obstacle: Sendable, Equatable, CustomStringConvertible {
    public var chain: Chain
    /// What is missing there, in words, and the command that lets it through.
    public var missing: [Missing]

    public struct Chain: Sendable, Equatable {
        public var family: String
        public var table: String
        public var name: String
        public var hook: String
    }

    public struct Missing: Sendable, Equatable {
        public var what: String
        public var command: String
    }

    /// nil: the chain names everything.
    init?(chain: Chain, rules: String, plan: FirewallPlan) {
        self.chain = chain
        let place = "\(chain.family) \(chain.table) \(chain.name)"
        missing = []
        // Whole words: a port 17230 or a chain "egress" is something else.
        let rules = Set(rules.split { !($0.isLetter || $0.isNumber || "-_.".contains($0)) }.map(String.init))
        if chain.hook == "input" {
            for (port, _) in plan.ports where !rules.contains("\(port)") {
                missing.append(Missing(what: "TCP port \(port)", command: "nft insert rule \(place) tcp dport \(port) accept"))
            }
            if !["gre", "47"].contains(where: rules.contains) {
                missing.append(Missing(what: "GRE", command: "nft insert rule \(place) meta l4proto gre accept"))
            }
            for port in plan.wireGuardPorts where !rules.contains("\(port)") {
                missing.append(Missing(what: "UDP port \(port)", command: "nft insert rule \(place) udp dport \(port) accept"))
            }
        } else if !plan.tunnels.isEmpty, !rules.contains(plan.userInterface) {
            missing.append(Missing(what: "what users send", command: "nft insert rule \(place) iifname \"\(plan.userInterface)\" accept"))
            missing.append(Missing(what: "what users get", command: "nft insert rule \(place) oifname \"\(plan.userInterface)\" accept"))
        }
        if missing.isEmpty { return nil }
    }

    public var description: String {
        "chain \(chain.family) \(chain.table) \(chain.name) drops by default, and no rule of it names \(missing.map(\.what).joined(separator: ", "))"
    }

    /// Of `nft -j list chains`: those that drop, at the hooks that our packets pass.
    static func chains(inRuleset text: String) -> [Chain] {
        struct Listing: Decodable {
            struct Entry: Decodable { var chain: Entry.Chain?
                struct Chain: Decodable { var family, table, name: String, hook, policy: String? }
            }
            var nftables: [Entry]
        }
        let families: Set = ["inet", "ip"]
        let listing = try? JSONDecoder().decode(Listing.self, from: Data(text.utf8))
        return (listing?.nftables ?? []).compactMap(\.chain).compactMap { chain in
            guard chain.policy == "drop", let hook = chain.hook, ["input", "forward"].contains(hook), families.contains(chain.family) else { return nil }
            return Chain(family: chain.family, table: chain.table, name: chain.name, hook: hook)
        }
    }
}
