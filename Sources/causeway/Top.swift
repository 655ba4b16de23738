import ArgumentParser
import Foundation
import Gateway

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

struct Top: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Watch the sessions of the running gateway, the busiest first.",
        discussion: """
            Both kinds of sessions, with what they carried since the last look: IN and OUT are inner IP traffic from and to the client, DROPS/S \
            and DROPS (since the session began) add up every cause. In a terminal the table is drawn anew until Ctrl-C, cut to the \
            window; in a pipe it is plain text, printed once or --count times, with every session or the first --limit of them. NO_COLOR turns \
            colours off. --json prints one object a line for each look.

            EXAMPLES
              causeway top --sort drops
              causeway top --count 10 --interval 60 --limit 5 > busy.txt
              causeway top --json | jq '.sessions[0].user'

            EXIT STATUS
              0  done    1  the gateway said no    69  the gateway cannot be reached
            """)

    struct Look: Encodable { var at: Date, seconds: Double, sessions: [TopTable.Row] }

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false
    @Option(name: .long, help: "What comes first.") var sort = TopTable.Order.rate
    @Option(name: .long, help: ArgumentHelp("Time between looks, 0.1 to 3600.", valueName: "seconds")) var interval = 2.0
    @Option(name: .long, help: ArgumentHelp("End after so many tables. (default: never in a terminal, otherwise 1)", valueName: "count")) var count: Int?
    @Option(name: .long, help: ArgumentHelp("At most so many sessions.", valueName: "count")) var limit: Int?

    func validate() throws {
        guard (0.1...3600).contains(interval) else { throw ValidationError("--interval: 0.1 to 3600 seconds") }
        if let count, count < 1 { throw ValidationError("--count: at least 1") }
        if let limit, limit < 1 { throw ValidationError("--limit: at least 1") }
    }

    func run() async throws {
        let isScreen = !json && isatty(STDOUT_FILENO) == 1
        let colours = ProcessInfo.processInfo.environment["NO_COLOR"]?.isEmpty ?? true
        let clock = ContinuousClock()
        var (before, lookedAt) = (try await look(), clock.now)
        for table in 1... {
            try await clock.sleep(for: .seconds(interval))
            let (sessions, now) = (try await look(), clock.now)
            let seconds = (now - lookedAt) / .seconds(1)
            let top = TopTable(before, sessions, seconds: seconds, by: sort)
            (before, lookedAt) = (sessions, now)
            if isScreen {
                let size = windowSize()
                let height = limit.map { $0 < size.lines - 3 ? $0 + 3 : size.lines } ?? size.lines
                try write(top.screen(columns: size.columns, lines: height, colours: colours))
            } else if json {
                let encoder = JSONEncoder()
                encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
                encoder.dateEncodingStrategy = .iso8601
                let look = Look(at: Date(), seconds: seconds, sessions: Array(top.rows.prefix(limit ?? .max)))
                try write(String(decoding: try encoder.encode(look), as: UTF8.self) + "\n")
            } else {
                try write((table > 1 ? "\n" : "") + top.lines(limit: limit ?? .max).joined(separator: "\n") + "\n")
            }
            if let last = count ?? (isScreen ? nil : 1), table >= last { return }
        }
    }

    private func look() async throws -> [SessionView] {
        try await control.ask { try await $0.get("/v1/sessions", as: [SessionView].self) }
    }

    /// At once, even into a pipe.
    private func write(_ text: String) throws { try FileHandle.standardOutput.write(contentsOf: Data(text.utf8)) }

    private func windowSize() -> (columns: Int, lines: Int) {
        var size = winsize()
        guard ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0, size.ws_col > 0, size.ws_row > 0 else { return (80, 24) }
        return (Int(size.ws_col), Int(size.ws_row))
    }
}
