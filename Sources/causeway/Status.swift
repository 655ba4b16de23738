import ArgumentParser
import Gateway

struct Status: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show how the gateway and its tunnels stand.",
        discussion: """
            Connections, sessions, tunnels with their peers' last handshakes, and what was refused or dropped and why. --json prints the \
            object of GET /v1/status.
            """)

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false

    func run() async throws {
        let status = try await control.ask { try await $0.get("/v1/status", as: StatusView.self) }
        if json { return try printJSON(status) }
        print("causeway \(status.version), instance \"\(status.instance)\", since \(status.startedAt)")
        print("data path: \(status.workers) workers, \(status.instructionSet)")
        print("sessions: \(status.openSessions) open of \(status.sessions), \(status.endedSessions) ended; \(status.failedLogins) failed log-ins; \(status.controlConnections) control connections")
        for tunnel in status.tunnels {
            print("tunnel \(tunnel.name): \(tunnel.interface) (\(tunnel.backend)), \(tunnel.up ? "up" : "DOWN"), public key \(tunnel.publicKey)")
            if let problem = tunnel.problem { print("  problem: \(problem)") }
            for peer in tunnel.peers {
                let handshake = peer.lastHandshakeSeconds.map { "handshake \($0) s ago" } ?? "no handshake yet"
                print("  peer \(peer.publicKey) at \(peer.endpoint ?? "unknown"): \(handshake), \(byteText(peer.receivedBytes)) received, \(byteText(peer.sentBytes)) sent")
            }
        }
        for (name, counts) in [("control messages", status.control), ("refused connections", status.refused), ("packets of no session", status.drops)]
        where !counts.isEmpty {
            print("\(name): " + counts.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))
        }
    }
}
