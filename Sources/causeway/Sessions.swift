import ArgumentParser
import Gateway

struct Sessions: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the sessions of the running gateway.",
        discussion: """
            One line for each session; KIND is pptp, or wireguard for a user who connects natively. IN and OUT count inner IP packets \
            and bytes from and to the client; DROPS adds up every cause. Without sessions there is the header alone. --verbose adds the client's host name, vendor and firmware, call IDs and the drops by cause. --json prints the objects of \
            GET /v1/sessions.

            --failed shows the attempts that came to nothing instead, the newest last, with what was wrong: the newest thousand since the gateway's \
            start, and live ones that are in trouble. causeway diagnose tells all about one.

            EXAMPLES
              causeway sessions
              causeway sessions --user ann --verbose
              causeway sessions --json | jq '.[] | select(.state == "open") | .user'

            EXIT STATUS
              0  done    1  the gateway said no    69  the gateway cannot be reached
            """)

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false
    @Flag(name: [.short, .long], help: "Show what the client said about itself, call IDs, and drops by cause.") var verbose = false
    @Flag(name: .long, help: "Show attempts that failed, and why, instead.") var failed = false
    @Option(name: .long, help: "Only sessions of this user.") var user: String?

    private func showFailed() async throws {
        let query = user.map { "&user=\(ControlClient.escaped($0))" } ?? ""
        let attempts = try await control.ask { try await $0.get("/v1/diagnosis?failed=true\(query)", as: [DiagnosisView].self) }
        if json { return try printJSON(attempts) }
        print(attemptTable(attempts))
    }

    func run() async throws {
        if failed { return try await showFailed() }
        var sessions = try await control.ask { try await $0.get("/v1/sessions", as: [SessionView].self) }
        if let user { sessions = sessions.filter { $0.user == user } }
        if json { return try printJSON(sessions) }
        printTable(
            ["ID", "KIND", "USER", "STATE", "CLIENT", "ADDRESS", "TUNNEL", "ENCRYPTION", "UPTIME", "IN", "OUT", "DROPS"],
            sessions.map { session in
                [
                    "\(session.id)", session.kind, session.user ?? "-", session.state, session.clientAddress.map { "\($0)" } ?? "-",
                    session.innerAddress.map { "\($0)" } ?? "-", session.tunnel ?? "-", session.encryption,
                    durationText(session.uptimeSeconds), "\(session.packetsIn) / \(byteText(session.bytesIn))",
                    "\(session.packetsOut) / \(byteText(session.bytesOut))", "\(session.drops.values.reduce(0, +))",
                ]
            })
        guard verbose else { return }
        for session in sessions {
            print("")
            let mtu = session.mtu.map { "\($0)" } ?? "-"
            if let callID = session.callID, let peerCallID = session.peerCallID {
                printLine("session \(session.id): call IDs \(callID) (ours), \(peerCallID) (client's), MTU \(mtu)")
                printLine("  client: host \"\(session.clientHostName ?? "")\", vendor \"\(session.clientVendor ?? "")\", firmware \(session.clientFirmware ?? 0)")
                if let device = session.device {
                    printLine("  device: \(device.kind) (confidence \(device.confidence)); WireGuard: \(device.wireGuard)")
                    for line in device.evidence { printLine("    \(line)") }
                }
            } else {
                let handshake = session.lastHandshakeSeconds.map { "handshake \(durationText($0)) ago" } ?? "no handshake"
                printLine("session \(session.id): public key \(session.publicKey ?? "-"), \(handshake), MTU \(mtu)")
            }
            if !session.prefixes.isEmpty { printLine("  networks behind it: \(session.prefixes.map(\.description).joined(separator: ", "))") }
            if session.callID != nil { printLine("  GRE: \(session.reordered) put back in order, \(session.lost) lost") }
            for (cause, count) in session.drops.sorted(by: { $0.key < $1.key }) { printLine("  dropped, \(cause): \(count)") }
        }
    }
}
