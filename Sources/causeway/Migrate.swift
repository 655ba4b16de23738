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
            MigrateStatus.self, MigrateInvite.self, MigrateWithdraw.self, MigratePhase.self, MigrateRollback.self, MigrateRelease.self,
            MigrateWave.self, MigratePolicy.self,
        ])
}

let phaseNames = ["legacy", "invited", "dual", "migrated", "retired"]

struct MigrateStatus: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "status", abstract: "Show how many users are how far, and who is not.",
        discussion: "--json prints the object of GET /v1/migration.\n\n\(gatewayExitStatus)")

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false

    func run() async throws {
        let status = try await control.ask { try await $0.get("/v1/migration", as: MigrationView.self) }
        if json { return try printJSON(status) }
        let done = (status.phases["migrated"] ?? 0) + (status.phases["retired"] ?? 0)
        print("\(done) of \(status.total) users need PPTP no more\(status.total > 0 ? " (\(done * 100 / status.total) %)" : "")")
        if let problem = status.problem { print("the database is away: \(problem)") }
        switch status.forecast {
        case "done": print("expected end: it is done")
        case "ends": print("expected end: \(dayText(status.endsOn)), at \(String(format: "%.1f", status.usersPerDay ?? 0)) users a day")
        case "stalled": print("expected end: never, at the pace of the last 30 days")
        default: print("expected end: too early to say")
        }
        let without = status.withoutWave.values.reduce(0, +)
        printTable(
            ["WAVE", "STATE", "START"] + phaseNames.map { $0.uppercased() },
            status.waves.map { wave in
                [wave.name, wave.state, dayText(wave.startsAt)] + phaseNames.map { "\(wave.phases[$0] ?? 0)" }
            } + (without > 0 ? [["(no wave)", "-", "-"] + phaseNames.map { "\(status.withoutWave[$0] ?? 0)" }] : [])
                + [["all", "-", "-"] + phaseNames.map { "\(status.phases[$0] ?? 0)" }])
        if status.setByHand > 0 { print("set by hand and not confirmed by anything seen: \(status.setByHand)") }
        if status.exempt > 0 { print("excepted from policies: \(status.exempt)") }
        for blocker in status.blockers {
            print("still needs PPTP: \(blocker.user) (\(blocker.phase), \(blocker.device ?? "unknown device"), \(byteText(UInt64(max(0, blocker.bytes)))) in 30 days, last \(dayText(blocker.lastPPTP)))")
        }
        for device in status.devices { print("devices that still dial: \(device.kind), \(device.users) users") }
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
