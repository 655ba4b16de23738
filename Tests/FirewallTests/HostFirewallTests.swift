import Addresses
import Testing

@testable import Firewall

@Suite struct HostFirewallTests {
    @Test func callersAreNoRules() {
        let listing = """
            table inet causeway-main {
            \tset blocked {
            \t\ttype ipv4_addr
            \t\telements = { 192.0.2.0/24,
            \t\t             198.51.100.0/24 }
            \t}

            \tset callers {
            \t\ttype ipv4_addr
            \t\telements = { 192.0.2.1 expires 1m, 192.0.2.2 expires 1m,
            \t\t             192.0.2.3 expires 1m }
            \t}

            \tchain input {
            \t}
            }

            """
        let rules = HostFirewall.withoutCallers(listing)
        #expect(rules.contains("192.0.2.0/24,") && rules.contains("198.51.100.0/24 }"))
        #expect(!rules.contains("expires") && rules.contains("set callers {\n\t\ttype ipv4_addr\n\t}"))
        #expect(rules.contains("chain input"))
    }

    @Test func aDifferenceKeepsTheOrderOfReading() {
        #expect(Difference.lines(from: ["a", "b", "c"], to: ["a", "x", "c", "d"]) == ["-b", "+x", "+d"])
        #expect(Difference.lines(from: ["a"], to: ["a"]).isEmpty)
        #expect(Difference.lines(from: [], to: ["a"]) == ["+a"])
        #expect(Difference.lines(from: ["a", "b"], to: []) == ["-a", "-b"])
    }

    @Test(arguments: [
        ("internal:0:0-0: Error: Could not process rule: Operation not permitted\n", FirewallError.notPermitted),
        ("Error: No such file or directory; did you mean", .absent),
        ("<cmdline>:1:1-8: Error: Could not process rule: Operation not supported\nfoo", .unavailable("<cmdline>:1:1-8: Error: Could not process rule: Operation not supported")),
        ("Error: syntax error, unexpected string\n", .refused("Error: syntax error, unexpected string")),
        ("", .refused("no reason was given")),
    ])
    func whatNftSaysBecomesAnError(text: String, error: FirewallError) { #expect(FirewallError(nft: text) == error) }

    // ---- Chains of others ----

    private var plan: FirewallPlan {
        var plan = FirewallPlan(instance: "main", listeners: [.init(address: nil, port: 1723)], userInterface: "causeway0")
        plan.tunnels = [.init(interface: "cw-hub", isPrefix: false)]
        return plan
    }
    private func chain(_ hook: String) -> Obstacle.Chain { .init(family: "inet", table: "filter", name: "it", hook: hook) }

    @Test func onlyChainsThatDropAtOurHooksCount() {
        let text = """
            {"nftables": [{"metainfo": {"version": "1.0.6"}},
             {"chain": {"family": "inet", "table": "filter", "name": "a", "handle": 1, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
             {"chain": {"family": "inet", "table": "filter", "name": "b", "handle": 2, "type": "filter", "hook": "input", "prio": 0, "policy": "accept"}},
             {"chain": {"family": "ip6", "table": "filter", "name": "c", "handle": 3, "type": "filter", "hook": "input", "prio": 0, "policy": "drop"}},
             {"chain": {"family": "ip", "table": "filter", "name": "d", "handle": 4, "type": "filter", "hook": "output", "prio": 0, "policy": "drop"}},
             {"chain": {"family": "ip", "table": "filter", "name": "e", "handle": 5, "type": "filter", "hook": "forward", "prio": 0, "policy": "drop"}},
             {"chain": {"family": "ip", "table": "filter", "name": "f", "handle": 6}}]}
            """
        #expect(Obstacle.chains(inRuleset: text).map(\.name) == ["a", "e"])
        #expect(Obstacle.chains(inRuleset: "no JSON").isEmpty)
    }

    @Test func whatIsNamedIsNoObstacle() {
        #expect(Obstacle(chain: chain("input"), rules: "tcp dport 1723 accept\nmeta l4proto gre accept", plan: plan) == nil)
        #expect(Obstacle(chain: chain("input"), rules: "tcp dport 22 accept", plan: plan)?.missing.map(\.what) == ["TCP port 1723", "GRE"])
        #expect(Obstacle(chain: chain("input"), rules: "tcp dport 17230 accept\njump egress", plan: plan)?.missing.count == 2)
        #expect(Obstacle(chain: chain("forward"), rules: "iifname \"causeway0\" accept", plan: plan) == nil)
        #expect(Obstacle(chain: chain("forward"), rules: "", plan: plan)?.missing.first?.command == "nft insert rule inet filter it iifname \"causeway0\" accept")
        var embedded = plan
        embedded.tunnels = []
        #expect(Obstacle(chain: chain("forward"), rules: "", plan: embedded) == nil)
    }
}
