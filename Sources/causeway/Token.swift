import ArgumentParser
import Foundation
import Gateway
import Tokens

struct TokenCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "token",
        abstract: "Let programs and people use the control API over the network.",
        discussion: """
            With [api] in its configuration the gateway answers over TLS whoever shows a token. Each has a name, which the history keeps with every \
            change, and a scope: read (look), operate (also end sessions, reload), admin (everything). A token is shown once, when it is made; the \
            gateway keeps its hash. A revoked one is over at once.

            EXAMPLES
              sudo causeway token create grafana --scope read
              sudo causeway token create ann --scope admin --days 90 > ann.token
              causeway status --api https://gw.example.org:8443 --token-file ann.token
              sudo causeway token revoke ann
            """,
        subcommands: [TokenCreate.self, TokenList.self, TokenRevoke.self])
}

extension TokenScope: ExpressibleByArgument {}

struct TokenCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "create",
        abstract: "Make a token and print it, this once.",
        discussion: """
            The token alone goes to standard output, so that it can go into a file; what else there is to say goes to standard error.

            EXAMPLES
              (umask 077; sudo causeway token create ann --scope admin --days 90 > ann.token)

            EXIT STATUS
              0  done    1  the name is taken or not possible    69  the gateway cannot be reached
            """)

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("For the history: 1 to 64 letters, digits, '.', '_', '-', '@'.", valueName: "name")) var name: String
    @Option(name: .long, help: ArgumentHelp("read, operate or admin.", valueName: "scope")) var scope: TokenScope
    @Option(name: .long, help: ArgumentHelp("Days until it expires, up to 3650. Without: never.", valueName: "days")) var days: Int?
    @Flag(name: .long, help: "Print JSON.") var json = false

    func validate() throws {
        if let days, !(1...3650).contains(days) { throw ValidationError("--days: expected 1 to 3650") }
    }

    func run() async throws {
        let wanted = NewToken(name: name, scope: scope, days: days)
        let made = try await control.ask { try await $0.send(.post, "/v1/tokens", wanted, as: TokenCreatedView.self) }
        if json { return try printJSON(made) }
        print(made.text)
        printError("token \"\(name)\" (\(scope.rawValue))\(made.token.expiresAt.map { ", expires \($0.formatted(.iso8601))" } ?? ""); it is not shown again")
    }
}

struct TokenList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list",
        abstract: "Show the tokens, without what their bearers show.",
        discussion: """
            EXIT STATUS
              0  done    1  the gateway said no    69  the gateway cannot be reached
            """)

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false

    func run() async throws {
        let tokens = try await control.ask { try await $0.get("/v1/tokens", as: [TokenView].self) }
        if json { return try printJSON(tokens) }
        printTable(
            ["NAME", "SCOPE", "CREATED", "EXPIRES"],
            tokens.map { token in
                let end = token.expiresAt.map { "\($0.formatted(.iso8601))\(token.expired ? " (over)" : "")" } ?? "never"
                return [token.name, token.scope.rawValue, token.createdAt.formatted(.iso8601), end]
            })
    }
}

struct TokenRevoke: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "revoke",
        abstract: "Take a token away.",
        discussion: """
            EXIT STATUS
              0  done    1  there is no such token    69  the gateway cannot be reached
            """)

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The token's name.", valueName: "name")) var name: String
    @Flag(name: .long, help: "Print JSON.") var json = false

    func run() async throws {
        var allowed = CharacterSet.urlPathAllowed
        allowed.remove(charactersIn: "/;?%")
        let path = "/v1/tokens/\(name.addingPercentEncoding(withAllowedCharacters: allowed) ?? name)"
        let revoked = try await control.ask { try await $0.delete(path, as: [String: String].self) }
        if json { return try printJSON(revoked) }
        print("token \"\(name)\" is revoked")
    }
}
