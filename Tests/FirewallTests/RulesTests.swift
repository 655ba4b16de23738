import Addresses
import Testing

@testable import Firewall

/// The text of the rules; what the kernel makes of them is tested in network namespaces.
@Suite struct RulesTests {
    private func plan(_ change: (inout FirewallPlan) -> Void = { _ in }) -> FirewallPlan {
        var plan = FirewallPlan(
            instance: "main", listeners: [.init(address: IPAddress("192.0.2.1")!, port: 1723)], userInterface: "causeway0")
        plan.tunnels = [.init(interface: "cw-hub", isPrefix: false)]
        change(&plan)
        return plan
    }
    private func nft(_ change: (inout FirewallPlan) -> Void = { _ in }) -> String { NftablesRules(plan(change)).table }
    private func iptables(_ change: (inout FirewallPlan) -> Void = { _ in }) -> String { IptablesRules(plan(change)).restore }

    @Test func clientsReachTheListenerOnly() {
        #expect(nft().contains("ip daddr 192.0.2.1 tcp dport 1723 jump control"))
        #expect(nft().contains("ip daddr 192.0.2.1 meta l4proto gre jump clients"))
        #expect(iptables().contains("-A CW-main-IN -d 192.0.2.1 -p tcp --dport 1723 -j CW-main-CTL"))
        #expect(iptables().contains("-A CW-main-IN -d 192.0.2.1 -p 47 -j CW-main-CLI"))
    }

    @Test func aListenerOnAllAddressesNamesNone() {
        let all = { (plan: inout FirewallPlan) in plan.listeners.append(.init(address: nil, port: 1723)) }
        #expect(nft(all).contains("\ttcp dport 1723 jump control") && !nft(all).contains("daddr"))
        #expect(iptables(all).contains("-A CW-main-IN -p tcp --dport 1723") && !iptables(all).contains(" -d "))
    }

    @Test func severalAddressesAreOneRuleForEachPort() {
        let text = nft {
            $0.listeners.append(.init(address: IPAddress("192.0.2.2")!, port: 1723))
            $0.listeners.append(.init(address: IPAddress("192.0.2.2")!, port: 1724))
        }
        #expect(text.contains("ip daddr { 192.0.2.1, 192.0.2.2 } tcp dport 1723"))
        #expect(text.contains("ip daddr 192.0.2.2 tcp dport 1724"))
        #expect(text.contains("ip daddr { 192.0.2.1, 192.0.2.2 } meta l4proto gre"))
    }

    @Test func sourcesAreJudgedForTCPAndGREAlike() {
        let change = { (plan: inout FirewallPlan) in
            plan.allowed = [IPPrefix("198.51.100.0/24")!]
            plan.blocked = [IPPrefix("198.51.100.7")!]
        }
        let text = nft(change)
        #expect(text.contains("elements = { 198.51.100.0/24 }") && text.contains("ip saddr != @allowed counter drop"))
        // Blocked first: a network that is allowed may have a host that is not.
        #expect(text.range(of: "@blocked counter drop")!.lowerBound < text.range(of: "!= @allowed")!.lowerBound)
        #expect(iptables(change).contains("-A CW-main-CLI -s 198.51.100.0/24 -j ACCEPT\n-A CW-main-CLI -j DROP"))
        #expect(!nft().contains("@allowed") && !nft().contains("@blocked") && iptables().contains("-A CW-main-CLI -j ACCEPT"))
    }

    @Test func callersAreCountedOnlyWithALimit() {
        #expect(!nft().contains("callers") && !iptables().contains("hashlimit"))
        #expect(nft { $0.connectsPerMinute = 60 }.contains("limit rate over 60/minute burst 60 packets } counter drop"))
        #expect(iptables { $0.connectsPerMinute = 60 }.contains("--hashlimit-above 60/minute"))
    }

    @Test func usersLeaveThroughTheirTunnelsOrNotAtAll() {
        let several = { (plan: inout FirewallPlan) in plan.tunnels.append(.init(interface: "cw-b-", isPrefix: true)) }
        #expect(nft(several).contains("oifname \"cw-hub\" accept\n\t\toifname \"cw-b-*\" accept\n\t\tcounter drop"))
        #expect(iptables(several).contains("-o cw-hub -j ACCEPT\n-A CW-main-FROM -o cw-b-+ -j ACCEPT\n-A CW-main-FROM -j DROP"))
        let none = nft { $0.tunnels = [] }
        #expect(!none.contains("oifname \"cw-") && none.contains("chain from-users {\n\t\tcounter drop"))
    }

    @Test func anAddressIsTranslatedOnlyWhereAskedFor() {
        #expect(!nft().contains("masquerade") && !iptables().contains("*nat"))
        let change = { (plan: inout FirewallPlan) in plan.tunnels[0].masquerade = true }
        #expect(nft(change).contains("oifname \"cw-hub\" masquerade"))
        #expect(iptables(change).contains("-A CW-main-OUT -o cw-hub -j MASQUERADE"))
    }

    @Test func theHelperIsAssignedByARule() {
        #expect(!nft().contains("helper") && !iptables().contains("*raw"))
        #expect(nft { $0.pptpHelper = true }.contains("ct helper set \"pptp\""))
        #expect(iptables { $0.pptpHelper = true }.contains("-j CT --helper pptp"))
    }

    @Test func theRouterPassesBothHalvesOn() {
        let text = RouterRules(outside: IPAddress("203.0.113.7")!, gateway: IPAddress("10.0.0.2")!, wireGuardPorts: [51820]).table
        #expect(text.contains("ip daddr 203.0.113.7 tcp dport 1723 dnat to 10.0.0.2"))
        #expect(text.contains("ip daddr 203.0.113.7 ip protocol gre dnat to 10.0.0.2"))
        #expect(text.contains("udp dport 51820 dnat to 10.0.0.2"))
    }

    /// iptables takes names of at most 28 characters, and longer ones are an error.
    @Test func chainNamesFitForTheLongestInstance() {
        let text = iptables { $0.instance = String(repeating: "x", count: 16) }
        let names = text.split(separator: "\n").filter { $0.hasPrefix(":") }.map { $0.dropFirst().prefix { $0 != " " } }
        #expect(!names.isEmpty && names.allSatisfy { $0.count <= 28 })
    }
}
