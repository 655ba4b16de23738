import Addresses
import ArgumentParser
import Diagnosis
import Documents
import Foundation
import Gateway

struct Diagnose: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Say why a session does not work.",
        discussion: """
            Looks at live sessions and at the newest thousand attempts that have failed, and says what is wrong with each, what shows it, and what to do, \
            with the commands. SUBJECT is the number of a session, a client's address, or a user's name; without it everything in trouble is shown. \
            This host's connection tracking is shown for an address, where the program conntrack is installed. --json prints the objects of GET /v1/diagnosis.

            A call without a link is judged after five seconds; until then there is nothing to say.

            EXAMPLES
              causeway diagnose
              causeway diagnose ann
              causeway diagnose 203.0.113.9
              causeway diagnose 4711 --json | jq -r '.[].verdicts[].name'

            EXIT STATUS
              0  nothing is wrong    1  something is, or the gateway said no    69  the gateway cannot be reached
            """)

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false
    @Argument(help: ArgumentHelp("A session, an address or a user.", valueName: "subject")) var subject: String?

    func run() async throws {
        let query: String
        switch subject {
        case nil: query = "?failed=true"
        case let text? where UInt64(text) != nil: query = "?session=\(text)"
        case let text? where IPAddress(text) != nil: query = "?address=\(ControlClient.escaped(text))"
        case let text?: query = "?user=\(ControlClient.escaped(text))"
        }
        let attempts = try await control.ask { try await $0.get("/v1/diagnosis\(query)", as: [DiagnosisView].self) }
        if json {
            try printJSON(attempts)
        } else if attempts.isEmpty {
            print(subject == nil ? "nothing has failed" : "no live session and no failed attempt of \"\(subject!)\" is known")
        } else {
            for attempt in attempts { print(attemptText(attempt)) }
            for address in Set(attempts.filter { !$0.verdicts.isEmpty }.map(\.attempt.clientAddress)).sorted() where subject != nil {
                print(await ConnectionTracking.text(for: address), terminator: "")
            }
        }
        if attempts.contains(where: { $0.verdicts.contains { $0.severity == .failure } }) { throw ExitCode.failure }
    }
}

/// One line for each attempt, with the most telling verdict.
func attemptTable(_ attempts: [DiagnosisView]) -> String {
    textTable(
        ["SESSION", "USER", "CLIENT", "STARTED", "ENDED", "STAGE", "VERDICT"],
        attempts.map { view in
            [
                view.session.map { "\($0)" } ?? "-", view.user ?? view.attempt.userName ?? "-", "\(view.attempt.clientAddress)", view.startedAt.formatted(.iso8601),
                view.endedAt?.formatted(.iso8601) ?? "-", view.attempt.stage.rawValue, view.verdicts.first?.name.rawValue ?? "healthy",
            ]
        }
    ).joined(separator: "\n")
}

/// All that is to be said of one attempt.
func attemptText(_ view: DiagnosisView) -> String {
    let attempt = view.attempt
    let who = (view.user ?? attempt.userName).map { "user \"\($0)\"" } ?? "nobody logged in"
    var lines = [
        "\(view.session.map { "session \($0)" } ?? "control connection \(view.connection)"): \(who) at \(attempt.clientAddress), \(view.startedAt.formatted(.iso8601)), "
            + "stage \(attempt.stage.rawValue)\(attempt.end.map { ", ended after \(Int(attempt.seconds)) s: \($0.rawValue)" } ?? ", live for \(Int(attempt.seconds)) s")"
    ]
    if attempt.stage >= .called {
        let link = attempt.negotiation
        lines.append(
            "  GRE \(attempt.gre.received) in, \(attempt.gre.sent) out; LCP requests \(link.lcp.requestsIn) in, \(link.lcp.requestsOut) out, \(link.lcp.answersIn) answered; "
                + "challenges \(link.challengesOut), responses \(link.responsesIn)")
    }
    if view.verdicts.isEmpty { lines.append("  nothing is wrong") }
    for verdict in view.verdicts {
        lines.append("  \(verdict.severity.rawValue.uppercased()) \(verdict.name.rawValue)")
        lines.append("    seen: \(verdict.evidence)")
        lines.append("    do:   \(verdict.next)")
        lines += verdict.commands.map { "          $ \($0)" }
    }
    return lines.map(printable).joined(separator: "\n")
}

/// What this host's connection tracking knows of a client.
enum ConnectionTracking {
    static func text(for address: IPAddress) async -> String {
        var entries: [String] = []
        for direction in ["--orig-src", "--orig-dst"] {
            for filter in [["-p", "gre"], ["-p", "tcp", "--dport", "1723"]] {
                guard let output = run(["-L", direction, "\(address)"] + filter) else { return "" }
                entries += output.split(separator: "\n").map(String.init)
            }
        }
        guard !entries.isEmpty else { return "this host tracks no PPTP of \(address)\n" }
        return "tracked on this host:\n" + entries.map { "  \($0)\n" }.joined()
    }

    /// nil: the program is not there, or may not look.
    private static func run(_ arguments: [String]) -> String? {
        let program = Process(), output = Pipe()
        guard let path = ["/usr/sbin/conntrack", "/sbin/conntrack", "/usr/bin/conntrack"].first(where: FileManager.default.isExecutableFile(atPath:)) else { return nil }
        program.executableURL = URL(fileURLWithPath: path)
        program.arguments = arguments
        program.standardOutput = output
        program.standardError = FileHandle.nullDevice
        guard (try? program.run()) != nil else { return nil }
        let data = output.fileHandleForReading.readDataToEndOfFile()
        program.waitUntilExit()
        return program.terminationStatus == 0 ? String(decoding: data, as: UTF8.self) : nil
    }
}
