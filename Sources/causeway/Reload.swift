import ArgumentParser
import Gateway

struct Reload: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Make the running gateway read its configuration again.",
        discussion: """
            The same as SIGHUP, with an answer: which keys are in force now and which wait for a restart. A configuration with an error \
            changes nothing. No session is dropped.

            EXIT STATUS
              0   in force
              1   the configuration is wrong, or cannot be applied: nothing was changed
              69  the gateway cannot be reached
            """)

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false

    func run() async throws {
        let result = try await control.ask { try await $0.post("/v1/reload", as: ReloadView.self) }
        if json { return try printJSON(result) }
        print(result.applied.isEmpty ? "nothing has changed" : "in force now: \(result.applied.joined(separator: ", "))")
        if !result.needRestart.isEmpty { print("waits for a restart: \(result.needRestart.joined(separator: ", "))") }
    }
}
