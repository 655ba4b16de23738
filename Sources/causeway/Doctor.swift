import ArgumentParser
import CLinux
import Doctor
import Documents
import Firewall
import Foundation
import Gateway
import Settings
import WireGuard

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

struct DoctorCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "doctor",
        abstract: "Look for what keeps PPTP from working on this machine.",
        discussion: """
            Before the first start and while the gateway runs: the control port, raw GRE, other PPTP, the reverse-path filter, the packet filter \
            of others, the PPTP helper, WireGuard, the clock, the address, and whether hubs answer. Each finding has the commands that mend \
            it. Nothing is changed. Without root, some of it cannot be seen, which is a warning. What goes wrong on the way to a client is \
            not seen from here: causeway diagnose tells that.

            EXAMPLES
              sudo causeway doctor
              sudo causeway doctor --checklist
              sudo causeway doctor --json | jq -r '.[] | select(.grade == "fail") | .commands[]'

            EXIT STATUS
              0  all is well    1  there are warnings    2  something fails    78  the configuration is wrong
            """)

    @OptionGroup var file: ConfigurationOption
    @Flag(name: .long, help: "Print JSON.") var json = false
    @Flag(name: .long, help: "Print each thing with a box, ticked or not.") var checklist = false

    func run() async throws {
        let findings = await facts(try file.load()).findings
        if json { try printJSON(findings) } else { print(checklist ? checklistText(findings) : findingsText(findings)) }
        switch findings.map(\.grade).max() {
        case .fail: throw ExitCode(2)
        case .warn: throw ExitCode(1)
        case .ok, nil: break
        }
    }

    private func facts(_ configuration: CausewayConfiguration) async -> Facts {
        var facts = Facts()
        let tunnels = try? await ControlClient(.socket(configuration.controlSocket)).get("/v1/tunnels", as: [TunnelView].self)
        facts.gatewayAnswers = tunnels != nil
        facts.tunnels = (tunnels ?? []).map { tunnel in
            Facts.Tunnel(
                name: tunnel.name, isUp: tunnel.up, problem: tunnel.problem, handshakeSeconds: tunnel.peers.compactMap(\.lastHandshakeSeconds).min(),
                sentBytes: tunnel.peers.reduce(0) { $0 + $1.sentBytes })
        }
        let listening = ListeningPorts(procNetTCP: Self.contents("/proc/net/tcp") ?? "")
        facts.ports = configuration.listeners.map { .init(address: $0.address, number: $0.port, isTaken: listening.holds($0.address, $0.port)) }
        facts.rawGRE = Self.rawGRE()
        facts.modules = Set((try? FileManager.default.contentsOfDirectory(atPath: "/sys/module")) ?? [])
        facts.reversePathFilter = Self.contents("/proc/sys/net/ipv4/conf/all/rp_filter").flatMap { Int($0.trimmingCharacters(in: .whitespacesAndNewlines)) }
        facts.wantsHelper = configuration.firewall.pptpHelper
        facts.obstacles = try? HostFirewall(FirewallPlan(configuration)).obstacles().map { .init(text: "\($0)", commands: $0.missing.map(\.command)) }
        facts.needsKernelWireGuard = configuration.tunnels.contains { $0.backend == .kernel }
        do {
            if case .unavailable(let reason) = try BackendProbe.kernelWireGuard() { facts.kernelWireGuard = .no(reason) }
        } catch {
            facts.kernelWireGuard = .unknown("\(error)")
        }
        let clock = clinux_clock_is_synchronised()
        facts.clockIsSynchronised = clock < 0 ? nil : clock > 0
        return facts
    }

    private static func contents(_ path: String) -> String? { try? String(contentsOfFile: path, encoding: .utf8) }

    private static func rawGRE() -> Facts.Answer {
        let descriptor = clinux_raw_gre()
        if descriptor >= 0 {
            close(descriptor)
            return .yes
        }
        let why = String(cString: strerror(-descriptor))
        return descriptor == -EPERM ? .unknown("\(why) (CAP_NET_RAW)") : .no(why)
    }
}

func findingsText(_ findings: [Finding]) -> String {
    let table = textTable(["", "CHECK", "WHY"], findings.map { [$0.grade.rawValue, $0.check.rawValue, $0.why] }).joined(separator: "\n")
    let commands = findings.filter { !$0.commands.isEmpty }.map { "\($0.check.rawValue):\n" + $0.commands.map { "  $ \($0)" }.joined(separator: "\n") }
    return ([table] + commands).joined(separator: "\n\n")
}

func checklistText(_ findings: [Finding]) -> String {
    findings.map { finding in
        (["[\(finding.grade == .ok ? "x" : " ")] \(finding.check.rawValue): \(finding.why)"] + finding.commands.map { "      $ \($0)" }).joined(separator: "\n")
    }.joined(separator: "\n")
}
