import ArgumentParser
import Identities
import Settings

struct Check: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Check a configuration and do nothing else.",
        discussion: """
            Reads the configuration, the secrets files and the key files as `serve` does, and prints every complaint as \
            FILE:LINE: KEY: what was expected, what was found. Where users have identities, it also says whether each of them can have \
            an address for good.

            EXIT STATUS
              0  it is good    78  it is not (EX_CONFIG)

            EXAMPLES
              sudo causeway check
              sudo causeway check --config new.toml
            """)

    @OptionGroup var file: ConfigurationOption

    func run() async throws {
        let configuration = try file.load()
        for warning in configuration.warnings { printError("warning: \(warning)") }
        try await checkIdentities(configuration)
        print("\(file.config): good; \(configuration.listeners.count) listening addresses, \(configuration.tunnels.count) tunnels, \(configuration.pools.count) pools, \(configuration.users.entries.count) users")
    }

    private func checkIdentities(_ configuration: CausewayConfiguration) async throws {
        let plan = IdentityPlan(configuration)
        guard !plan.needs.isEmpty else { return }
        let identities: [Identity]
        do {
            identities = try await configuration.identityStore.identities()
        } catch {
            printError("warning: identities cannot be checked: \(error)")
            return
        }
        do {
            let change = try plan.preview(on: identities)
            if !change.isEmpty { print("identities: \(change.summary) with the next start or reload") }
        } catch {
            printError("\(error)")
            throw ExitCode.configuration
        }
    }
}
