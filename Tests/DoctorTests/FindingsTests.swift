import Addresses
import Testing

@testable import Doctor

@Suite struct FindingsTests {
    private static let address = IPAddress("203.0.113.7")!

    /// A machine with which all is well, and one change.
    static func facts(_ change: (inout Facts) -> Void = { _ in }) -> Facts {
        var facts = Facts()
        facts.gatewayAnswers = true
        facts.ports = [.init(address: address, number: 1723, isTaken: true)]
        facts.reversePathFilter = 0
        facts.clockIsSynchronised = true
        facts.wantsHelper = true
        facts.modules = ["nf_conntrack_pptp", "nf_nat_pptp"]
        facts.tunnels = [.init(name: "hub", isUp: true, problem: nil, handshakeSeconds: 20, sentBytes: 1000)]
        change(&facts)
        return facts
    }

    @Test func allIsWell() {
        #expect(Self.facts().findings.allSatisfy { $0.grade == .ok && $0.commands.isEmpty })
        #expect(Set(Self.facts().findings.map(\.check)) == Set(Finding.Check.allCases).subtracting([.publicAddress]))
    }

    struct Case: Sendable, CustomTestStringConvertible {
        var check: Finding.Check
        var grade: Finding.Grade
        var says: String
        /// The first command.
        var command: String?
        var facts: Facts
        var testDescription: String { says }
    }

    static let cases: [Case] = [
        Case(check: .port, grade: .fail, says: "belongs to another program", command: "sudo ss -ltnp 'sport = 1723'", facts: facts { $0.gatewayAnswers = false }),
        Case(check: .gateway, grade: .warn, says: "does not answer", command: "sudo systemctl start causeway", facts: facts { ($0.gatewayAnswers, $0.ports) = (false, []) }),
        Case(check: .port, grade: .fail, says: "does not listen on TCP 203.0.113.7:1723", command: "sudo systemctl restart causeway", facts: facts { $0.ports[0].isTaken = false }),
        Case(check: .rawGRE, grade: .fail, says: "GRE cannot be received: Protocol not supported", command: nil, facts: facts { $0.rawGRE = .no("Protocol not supported") }),
        Case(check: .rawGRE, grade: .warn, says: "not root", command: "sudo causeway doctor", facts: facts { $0.rawGRE = .unknown("not root") }),
        Case(check: .otherPPTP, grade: .warn, says: "PPTP module is loaded", command: "sudo ss -ltnp 'sport = 1723'", facts: facts { $0.modules.insert("pptp") }),
        Case(check: .reversePath, grade: .fail, says: "rp_filter is 1", command: "sudo sysctl -w net.ipv4.conf.all.rp_filter=0", facts: facts { $0.reversePathFilter = 1 }),
        Case(check: .reversePath, grade: .warn, says: "cannot be read", command: "sysctl net.ipv4.conf.all.rp_filter", facts: facts { $0.reversePathFilter = nil }),
        Case(check: .packetFilter, grade: .fail, says: "chain inet filter input drops", command: "sudo nft insert rule x", facts: facts { $0.obstacles = [.init(text: "chain inet filter input drops", commands: ["nft insert rule x"])] }),
        Case(check: .packetFilter, grade: .warn, says: "cannot be read", command: "sudo causeway firewall diff", facts: facts { $0.obstacles = nil }),
        Case(check: .helper, grade: .fail, says: "is not loaded", command: "sudo modprobe -a nf_conntrack_pptp nf_nat_pptp", facts: facts { $0.modules.remove("nf_nat_pptp") }),
        Case(
            check: .wireGuard, grade: .fail, says: "has no WireGuard: no module", command: "sudo modprobe wireguard",
            facts: facts { ($0.needsKernelWireGuard, $0.kernelWireGuard) = (true, .no("no module")) }),
        Case(
            check: .wireGuard, grade: .warn, says: "nobody knows", command: nil,
            facts: facts { ($0.needsKernelWireGuard, $0.kernelWireGuard) = (true, .unknown("not root")) }),
        Case(check: .clock, grade: .warn, says: "is not synchronised", command: "sudo timedatectl set-ntp true", facts: facts { $0.clockIsSynchronised = false }),
        Case(check: .clock, grade: .warn, says: "does not say", command: "timedatectl", facts: facts { $0.clockIsSynchronised = nil }),
        Case(
            check: .publicAddress, grade: .warn, says: "10.0.0.5 is not a public address", command: "causeway firewall print --outside PUBLIC-ADDRESS --to 10.0.0.5",
            facts: facts { $0.ports = [.init(address: IPAddress("10.0.0.5")!, number: 1723, isTaken: true)] }),
        Case(check: .tunnel, grade: .fail, says: "\"hub\": no route", command: "sudo causeway hub config", facts: facts { $0.tunnels[0].problem = "no route" }),
        Case(check: .tunnel, grade: .fail, says: "\"hub\" is down", command: "sudo causeway hub config", facts: facts { $0.tunnels[0].isUp = false }),
        Case(check: .tunnel, grade: .fail, says: "never answered 1000 bytes", command: "sudo causeway hub config", facts: facts { $0.tunnels[0].handshakeSeconds = nil }),
        Case(check: .tunnel, grade: .warn, says: "answered 181 s ago, and not since", command: "sudo causeway hub config", facts: facts { $0.tunnels[0].handshakeSeconds = 181 }),
        Case(
            check: .tunnel, grade: .warn, says: "nothing was sent", command: nil,
            facts: facts { ($0.tunnels[0].handshakeSeconds, $0.tunnels[0].sentBytes) = (nil, 0) }),
    ]

    /// One thing is wrong, and that is what is said, and nothing else.
    @Test(arguments: cases) func oneThing(_ given: Case) throws {
        let wrong = given.facts.findings.filter { $0.grade != .ok }
        let finding = try #require(wrong.first { $0.check == given.check })
        #expect(finding.grade == given.grade)
        #expect(finding.why.contains(given.says))
        #expect(finding.commands.first == given.command)
        #expect(wrong.filter { $0.check != given.check && $0.check != .gateway }.isEmpty)
    }

    @Test func everyCheckCanComplain() { #expect(Set(Self.cases.map(\.check)) == Set(Finding.Check.allCases)) }

    @Test func withoutTheModuleOurEngineServes() {
        #expect(Self.facts { $0.kernelWireGuard = .no("no module") }.findings.allSatisfy { $0.grade == .ok })
        // Before the first start.
        #expect(Self.facts { ($0.gatewayAnswers, $0.ports[0].isTaken) = (false, false) }.findings.first { $0.check == .port }?.grade == .ok)
        #expect(!Self.facts { $0.wantsHelper = false }.findings.contains { $0.check == .helper })
    }
}
