import ArgumentParser
import Settings

struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check a configuration and do nothing else.",
        discussion: """
            Reads the configuration, the secrets files and the key files as `serve` does, and prints every complaint as \
            FILE:LINE: KEY: what was expected, what was found.

            EXIT STATUS
              0  it is good    78  it is not (EX_CONFIG)
            """)

    @OptionGroup var file: ConfigurationOption

    func run() async throws {
        let configuration = try file.load()
        for warning in configuration.warnings { printError("warning: \(warning)") }
        print("\(file.config): good; \(configuration.listeners.count) listening addresses, \(configuration.tunnels.count) tunnels, \(configuration.pools.count) pools, \(configuration.users.entries.count) users")
    }
}
