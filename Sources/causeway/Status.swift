import ArgumentParser
import Gateway

struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show how the gateway and its tunnels stand.",
        discussion: """
            Connections, sessions, tunnels with their peers' last handshakes, and what was refused or dropped and why. Of a tunnel with \
            many identities each hub is shown once, with the sums of all; causeway hub identities has each of them. --json prints the \
            object of GET /v1/status.

            EXAMPLES
              causeway status
              causeway status --json | jq -e 'all(.tunnels[]; .up)'

            EXIT STATUS
              0  done    1  the gateway said no    69  the gateway cannot be reached
            """)

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false

    func run() async throws {
        let status = try await control.ask { try await $0.get("/v1/status", as: StatusView.self) }
        if json { return try printJSON(status) }
        print("causeway \(status.version), instance \"\(status.instance)\", since \(status.startedAt)")
        print("data path: \(status.workers) workers, \(status.instructionSet)")
        if let gre = status.gre {
            print("GRE: in through \(gre.reception); out: \(gre.sentAtInterface) packets at the interface, \(gre.sentThroughStack) through the kernel's stack")
        }
        print("sessions: \(status.openSessions) open of \(status.sessions), \(status.endedSessions) ended; \(status.failedLogins) failed log-ins; \(status.controlConnections) control connections")
        for tunnel in status.tunnels {
            let whose = tunnel.publicKey.map { "public key \($0)" } ?? "mode \(tunnel.mode)"
            print("tunnel \(tunnel.name): \(tunnel.interface) (\(tunnel.backend)), \(tunnel.up ? "up" : "DOWN"), \(whose)")
            if let problem = tunnel.problem { print("  problem: \(problem)") }
            for peer in tunnel.peers {
                let handshake = peer.lastHandshakeSeconds.map { "handshake \($0) s ago" } ?? "no handshake yet"
                print("  peer \(peer.publicKey) at \(peer.endpoint ?? "unknown"): \(handshake), \(byteText(peer.receivedBytes)) received, \(byteText(peer.sentBytes)) sent")
            }
            if tunnel.hubs.count > 1 {
                for hub in tunnel.hubs {
                    print("  hub \(hub.publicKey) at \(hub.endpoint)\(hub.inUse ? hub.answers ? ": in use" : ": in use, has not answered yet" : "")")
                }
                let lost = tunnel.lostPacketsAtMost.map { "at most \($0) packets did not get to a hub" } ?? "lost packets are not counted by the kernel"
                print("  failovers: \(tunnel.failovers), \(lost)")
            }
            if let identities = tunnel.identities {
                print("  identities: \(identities.known), \(identities.up) up, \(identities.neverCompleted) never completed a handshake"
                        + (identities.refused > 0 ? ", \(identities.refused) without an answer from a hub that answers others" : ""))
            }
        }
        if let access = status.access {
            let port = access.listenPort.map { "UDP port \($0)" } ?? "no UDP port"
            print("access: \(access.interface), \(port), \(access.connected) of \(access.peers) peers connected, public key \(access.publicKey)")
        }
        if let engine = status.wireGuard {
            print("WireGuard engine: \(engine.handshakes) handshakes, initiations: \(engine.outstandingInitiations) unanswered, \(engine.waitingInitiations) wait for their turn")
        }
        for webhook in status.webhooks ?? [] {
            print("webhook \(webhook.url): \(webhook.arrived) events arrived, \(webhook.waiting) wait, \(webhook.givenUp) given up, \(webhook.dropped) dropped")
        }
        if let store = status.store, store.problem != nil || store.waiting > 0 || store.setAside > 0 {
            print("database: \(store.problem ?? "in use"); \(store.waiting) openings and ends of sessions wait for it, \(store.setAside) were not taken")
        }
        for (name, counts) in [
            ("control messages", status.control), ("refused connections", status.refused),
            ("packets of no session", status.drops), ("WireGuard drops", status.wireGuard?.drops ?? [:]),
        ] where !counts.isEmpty {
            print("\(name): " + counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))
        }
    }
}
