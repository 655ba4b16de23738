import ArgumentParser
import Foundation
import Gateway

struct MigrateCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "migrate",
        abstract: "Move users from PPTP to WireGuard, and see how far it is.",
        discussion: """
            A user is in one of five phases:

              legacy     only PPTP so far
              invited    has a WireGuard configuration, and has not used it yet
              dual       was seen on both
              migrated   WireGuard, and no PPTP for migration.quiet-days
              retired    PPTP log-ins are refused, with a message that says so

            They change by what is seen, by waves, and by command; every change is in the user's history.
            """,
        subcommands: [
            MigrateStatus.self, MigrateReport.self, MigrateInvite.self, MigrateHandOver.self, MigrateTakeBack.self, MigrateWithdraw.self, MigratePhase.self, MigrateRollback.self, MigrateRelease.self,
            MigrateWave.self, MigratePolicy.self,
        ])
}

let phaseNames = ["legacy", "invited", "dual", "migrated", "retired"]

struct MigrateStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show how many users are how far, and who is not.",
        discussion: """
            A screenful: users in each phase, by wave, the trend of the last 30 days, the end that today's pace leads to, who still needs PPTP \
            and with what, and what happens next. --json prints the object of GET /v1/migration.

            \(gatewayExitStatus)
            """)

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false

    func run() async throws {
        if json { return try printJSON(try await control.ask { try await $0.get("/v1/migration", as: MigrationView.self) }) }
        let text = try await control.ask { try await $0.document("/v1/migration/report?format=screen") }
        print(String(decoding: text, as: UTF8.self), terminator: "")
    }
}

struct MigrateReport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "report", abstract: "A document for the people who asked for the date.",
        discussion: """
            The figures and the forecast, every wave, everybody who is not done and why. HTML is one file with its charts inside, to be printed \
            or sent; CSV is one line for each user; JSON has everything.

            EXAMPLES
              causeway migrate report
              causeway migrate report --format html --since 2026-09-01 --output report.html

            \(gatewayExitStatus)
            """)

    enum Format: String, ExpressibleByArgument, CaseIterable { case text, json, csv, html }

    @OptionGroup var control: ControlOption
    @Option(name: .long, help: "text, json, csv or html.") var format = Format.text
    @Option(name: .long, help: ArgumentHelp("Where the trend begins (default: 90 days ago).", valueName: "date"), transform: date) var since: Date?
    @Option(name: .shortAndLong, help: ArgumentHelp("Write it to this file.", valueName: "file")) var output: String?

    func run() async throws {
        let from = since.map { "&since=\(ControlClient.escaped($0.formatted(.iso8601)))" } ?? ""
        let document = try await control.ask { try await $0.document("/v1/migration/report?format=\(format.rawValue)\(from)") }
        guard let output else { return FileHandle.standardOutput.write(document) }
        do { try document.write(to: URL(fileURLWithPath: output), options: .atomic) } catch {
            printError("\(output): \(error.localizedDescription)")
            throw ExitCode.failure
        }
    }
}

struct MigrateWithdraw: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "withdraw", abstract: "Take a user's WireGuard peer away again.",
        discussion: "At once. A user who has not used it yet is in phase legacy again.\n\n\(gatewayExitStatus)")

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The user's name.", valueName: "user")) var name: String

    func run() async throws {
        let path = "/v1/users/\(ControlClient.escaped(name))/invitation"
        _ = try await control.ask { try await $0.delete(path, as: Acknowledged.self) }
    }
}

struct MigratePhase: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "phase", abstract: "Set a user's phase by hand.",
        discussion: """
            For what the gateway cannot see. With retired, the user's PPTP sessions end and log-ins are refused; any other phase lets a retired \
            user in again.

            \(gatewayExitStatus)
            """)

    struct Order: Encodable { var phase: String, reason: String }

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The user's name.", valueName: "user")) var name: String
    @Argument(help: ArgumentHelp("legacy, invited, dual, migrated or retired.", valueName: "phase")) var phase: String
    @Option(name: .long, help: ArgumentHelp("Why; it stands in the history.", valueName: "text")) var reason: String

    func validate() throws {
        guard phaseNames.contains(phase) else { throw ValidationError("\"\(phase)\" is no phase: one of \(phaseNames.joined(separator: ", "))") }
    }

    func run() async throws {
        let path = "/v1/users/\(ControlClient.escaped(name))/phase"
        _ = try await control.ask { try await $0.send(.put, path, Order(phase: phase, reason: reason), as: Acknowledged.self) }
    }
}

struct MigrateRollback: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rollback", abstract: "Take a migrated or retired user back, and hold them there.",
        discussion: "A retired user is in the phase again that what was seen gives, a migrated one is dual. PPTP is allowed again, and neither time nor a wave moves the user on before causeway migrate release.\n\n\(gatewayExitStatus)")

    struct Order: Encodable { var reason: String }

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The user's name.", valueName: "user")) var name: String
    @Option(name: .long, help: ArgumentHelp("Why; it stands in the history.", valueName: "text")) var reason: String

    func run() async throws {
        let path = "/v1/users/\(ControlClient.escaped(name))/rollback"
        _ = try await control.ask { try await $0.send(.post, path, Order(reason: reason), as: Acknowledged.self) }
    }
}

struct MigrateRelease: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "release", abstract: "Let time and waves move a user on again after a roll-back.", discussion: gatewayExitStatus)

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The user's name.", valueName: "user")) var name: String

    func run() async throws {
        let path = "/v1/users/\(ControlClient.escaped(name))/release"
        _ = try await control.ask { try await $0.post(path, as: Acknowledged.self) }
    }
}
