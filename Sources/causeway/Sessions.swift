import ArgumentParser
import Gateway

struct Sessions: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Show the PPTP sessions of the running gateway.",
        discussion: """
            One line for each session. IN and OUT count inner IP packets and bytes from and to the client; DROPS adds up every cause. \
            --verbose adds the client's host name, vendor and firmware, call IDs and the drops by cause. --json prints the objects of \
            GET /v1/sessions.

            EXAMPLES
              causeway sessions
              causeway sessions --user ann --verbose
              causeway sessions --json | jq '.[] | select(.state == "open") | .user'
            """)

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false
    @Flag(name: [.short, .long], help: "Show what the client said about itself, call IDs, and drops by cause.") var verbose = false
    @Option(name: .long, help: "Only sessions of this user.") var user: String?

    func run() async throws {
        var sessions = try await control.ask { try await $0.get("/v1/sessions", as: [SessionView].self) }
        if let user { sessions = sessions.filter { $0.user == user } }
        if json { return try printJSON(sessions) }
        printTable(
            ["ID", "USER", "STATE", "CLIENT", "ADDRESS", "TUNNEL", "ENCRYPTION", "UPTIME", "IN", "OUT", "DROPS"],
            sessions.map { session in
                [
                    "\(session.id)", session.user ?? "-", session.state, "\(session.clientAddress)",
                    session.innerAddress.map { "\($0)" } ?? "-", session.tunnel ?? "-", session.encryption,
                    durationText(session.uptimeSeconds), "\(session.packetsIn) / \(byteText(session.bytesIn))",
                    "\(session.packetsOut) / \(byteText(session.bytesOut))", "\(session.drops.values.reduce(0, +))",
                ]
            })
        guard verbose else { return }
        for session in sessions {
            print("")
            print("session \(session.id): call IDs \(session.callID) (ours), \(session.peerCallID) (client's), MTU \(session.mtu.map { "\($0)" } ?? "-")")
            print("  client: host \"\(session.clientHostName ?? "")\", vendor \"\(session.clientVendor ?? "")\", firmware \(session.clientFirmware ?? 0)")
            if !session.prefixes.isEmpty { print("  networks behind it: \(session.prefixes.map(\.description).joined(separator: ", "))") }
            print("  GRE: \(session.reordered) put back in order, \(session.lost) lost")
            for (cause, count) in session.drops.sorted(by: { $0.key < $1.key }) { print("  dropped, \(cause): \(count)") }
        }
    }
}
