import ArgumentParser

@main
struct Causeway: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "causeway",
        abstract: "Switch off PPTP without leaving anybody behind.",
        discussion: """
            Causeway answers PPTP clients (TCP 1723 and GRE, MS-CHAPv2, MPPE) as they have always been answered, and carries their \
            traffic on inside WireGuard.

            FILES
              /etc/causeway/causeway.toml      the configuration (see Config/causeway.toml for every key)
              /run/causeway/causeway.sock      the control socket of the running gateway
              /var/lib/causeway                the database of users and sessions; keys and addresses of users' identities
              /var/run/wireguard/NAME.sock     what wg(8) talks to

            EXIT STATUS
              0   done
              1   the gateway said no, or an operation failed
              64  the command line is wrong (EX_USAGE)
              69  the gateway cannot be reached, or something it needs is missing (EX_UNAVAILABLE)
              77  permission denied (EX_NOPERM)
              78  the configuration is wrong (EX_CONFIG)
            """,
        version: causewayVersion,
        subcommands: [Serve.self, Check.self, Sessions.self, Top.self, Disconnect.self, Diagnose.self, DoctorCommand.self, Status.self, Reload.self, UsersCommand.self, PeersCommand.self, Link.self, Unlink.self, MigrateCommand.self, Observe.self, TokenCommand.self, HubCommand.self, FirewallCommand.self, Dial.self, WireGuardCommand.self, Bench.self])

    static func main() async { await main(WireGuardCommand.arguments(of: CommandLine.arguments)) }
}

let causewayVersion = "0.1.0"

extension ExitCode {
    static let unavailable = ExitCode(69)
    static let noPermission = ExitCode(77)
    static let configuration = ExitCode(78)
}
