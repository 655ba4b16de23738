import ArgumentParser
import Foundation
import Gateway

/// What PPTP log-ins are met with.
struct PolicyOptions: ParsableArguments {
    @Flag(name: .long, help: "Warn in the log about each PPTP log-in.") var warn = false
    @Option(name: .long, help: ArgumentHelp("Slow PPTP sessions down, each way.", valueName: "kbit/s")) var rate: UInt32?
    @Option(name: .long, help: ArgumentHelp("Allow PPTP at these hours only, such as \"mon-fri 08:00-18:00\".", valueName: "hours")) var hours: String?
    @Option(name: .long, help: ArgumentHelp("Refuse PPTP from this day or time on.", valueName: "date"), transform: date) var refuseAfter: Date?
    @Option(name: .long, help: ArgumentHelp("Days after that in which log-ins still pass, with a warning.", valueName: "days")) var graceDays = 0

    func validate() throws {
        if graceDays < 0 || graceDays > 3650 { throw ValidationError("--grace-days: 0 to 3650") }
        if graceDays > 0, refuseAfter == nil { throw ValidationError("--grace-days goes with --refuse-after") }
        if rate == 0 { throw ValidationError("--rate: at least 1") }
    }

    var policy: PolicyView {
        PolicyView(
            warn: warn ? true : nil, rate: rate, hours: hours, refuseAfter: refuseAfter, grace: graceDays > 0 ? Int64(graceDays) * 86_400 : nil)
    }
}

func policyText(_ policy: PolicyView) -> String {
    var parts: [String] = []
    if policy.warn == true { parts.append("warn") }
    if let rate = policy.rate { parts.append("at most \(rate) kbit/s") }
    if let hours = policy.hours { parts.append("only \(hours)") }
    if let date = policy.refuseAfter { parts.append("refuse from \(timeText(date))") }
    if let grace = policy.grace { parts.append("\(grace / 86_400) days of grace") }
    return parts.isEmpty ? "allow" : parts.joined(separator: ", ")
}

struct MigrateWave: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wave", abstract: "Move users in groups, each with a date.",
        discussion: """
            While a wave runs, its policy holds for its members. When its date (--refuse-after) and the days of grace are over, members who are \
            migrated are retired; others are refused, and retired as soon as they are migrated.

            EXAMPLES
              causeway migrate wave create shops --warn --refuse-after 2027-03-01 --grace-days 14
              causeway migrate wave add shops shop-1 shop-2 shop-3
              causeway migrate wave schedule shops --at 2027-01-15
              causeway migrate wave rollback shops
            """,
        subcommands: [
            WaveList.self, WaveCreate.self, WaveAdd.self, WavePolicy.self, WaveSchedule.self, WaveStart.self, WavePause.self, WaveRollback.self,
        ])
}

struct WaveList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List the waves.", discussion: "--json prints the objects of GET /v1/waves.\n\n\(gatewayExitStatus)")

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false

    func run() async throws {
        let waves = try await control.ask { try await $0.get("/v1/waves", as: [WaveView].self) }
        if json { return try printJSON(waves) }
        printTable(
            ["WAVE", "STATE", "START"] + phaseNames.map { $0.uppercased() } + ["POLICY"],
            waves.map { wave in
                [wave.name, wave.state, dayText(wave.startsAt)] + phaseNames.map { "\(wave.phases[$0] ?? 0)" } + [policyText(wave.policy)]
            })
    }
}

struct WaveCreate: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "create", abstract: "Make a wave.", discussion: gatewayExitStatus)

    struct Order: Encodable { var name: String, invitesOnStart: Bool, policy: PolicyView }

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("Its name.", valueName: "wave")) var name: String
    @OptionGroup(title: "Policy") var options: PolicyOptions
    @Flag(name: .long, help: "Do not name the members who need an invitation when it starts.") var noInvitations = false

    func run() async throws {
        let order = Order(name: name, invitesOnStart: !noInvitations, policy: options.policy)
        _ = try await control.ask { try await $0.send(.post, "/v1/waves", order, as: Acknowledged.self) }
    }
}

struct WaveAdd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Put users into a wave.", discussion: "All of them or, if one is not known, nobody. A user is in one wave.\n\n\(gatewayExitStatus)")

    struct Order: Encodable { var users: [String] }

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The wave.", valueName: "wave")) var wave: String
    @Argument(help: ArgumentHelp("Users' names.", valueName: "user")) var users: [String]

    func run() async throws {
        let path = "/v1/waves/\(ControlClient.escaped(wave))/members"
        _ = try await control.ask { try await $0.send(.post, path, Order(users: users), as: Acknowledged.self) }
    }
}

struct WavePolicy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy", abstract: "Replace a wave's policy.", discussion: "What is not named here holds no more.\n\n\(gatewayExitStatus)")

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The wave.", valueName: "wave")) var wave: String
    @OptionGroup(title: "Policy") var options: PolicyOptions

    func run() async throws {
        let path = "/v1/waves/\(ControlClient.escaped(wave))/policy"
        _ = try await control.ask { try await $0.send(.put, path, options.policy, as: Acknowledged.self) }
    }
}

/// Commands to a wave, and the members who have to be invited after them.
private func command(_ command: String, _ wave: String, at date: Date? = nil, _ control: ControlOption) async throws {
    struct Order: Encodable { var at: Date? }
    let path = "/v1/waves/\(ControlClient.escaped(wave))/\(command)"
    let answer = try await control.ask { try await $0.send(.post, path, Order(at: date), as: [String: [String]].self) }
    for user in answer["toInvite"] ?? [] { print("to be invited: \(user)") }
}

struct WaveSchedule: AsyncParsableCommand {
    static let configuration = CommandConfiguration(commandName: "schedule", abstract: "Let a wave start by itself.", discussion: gatewayExitStatus)

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The wave.", valueName: "wave")) var wave: String
    @Option(name: .long, help: ArgumentHelp("A day, or a time such as 2027-01-31T18:00:00Z.", valueName: "date"), transform: date) var at: Date

    func run() async throws { try await command("schedule", wave, at: at, control) }
}

struct WaveStart: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "start", abstract: "Start a wave, or go on with a paused one.", discussion: "Prints the members who have to be invited.\n\n\(gatewayExitStatus)")

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The wave.", valueName: "wave")) var wave: String

    func run() async throws { try await command("start", wave, control) }
}

struct WavePause: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "pause", abstract: "Suspend a wave: its policy does not hold, and no date comes.", discussion: gatewayExitStatus)

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The wave.", valueName: "wave")) var wave: String

    func run() async throws { try await command("pause", wave, control) }
}

struct WaveRollback: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "rollback", abstract: "End a wave, and put the members back whom it retired.", discussion: gatewayExitStatus)

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The wave.", valueName: "wave")) var wave: String

    func run() async throws { try await command("rollback", wave, control) }
}

struct MigratePolicy: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "policy", abstract: "Show or set what PPTP log-ins of a phase are met with.",
        discussion: """
            Without a phase, the policies of all phases; with a phase and options, its new one: what is not named holds no more. The \
            strictest of the phase's and the wave's policies holds for a user.

            EXAMPLES
              causeway migrate policy
              causeway migrate policy migrated --rate 256 --warn
              causeway migrate policy migrated --clear

            \(gatewayExitStatus)
            """)

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false
    @Argument(help: ArgumentHelp("legacy, invited, dual or migrated.", valueName: "phase")) var phase: String?
    @OptionGroup(title: "Policy") var options: PolicyOptions
    @Flag(name: .long, help: "Take the phase's policy away.") var clear = false

    func validate() throws {
        if let phase, !phaseNames.contains(phase) { throw ValidationError("\"\(phase)\" is no phase: one of \(phaseNames.joined(separator: ", "))") }
        if phase == nil, clear || options.policy != PolicyView() { throw ValidationError("of which phase?") }
        if clear, options.policy != PolicyView() { throw ValidationError("--clear and a policy exclude each other") }
        if phase != nil, !clear, options.policy == PolicyView() { throw ValidationError("what is its policy? (--clear takes it away)") }
    }

    func run() async throws {
        if let phase {
            _ = try await control.ask { client in
                clear ? try await client.delete("/v1/policies/\(phase)", as: Acknowledged.self)
                    : try await client.send(.put, "/v1/policies/\(phase)", options.policy, as: Acknowledged.self)
            }
        }
        let policies = try await control.ask { try await $0.get("/v1/policies", as: [String: PolicyView].self) }
        if json { return try printJSON(policies) }
        printTable(["PHASE", "POLICY"], phaseNames.map { [$0, $0 == "retired" ? "refuse" : policyText(policies[$0] ?? PolicyView())] })
    }
}
