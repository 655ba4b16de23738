import ArgumentParser
import Foundation
import Gateway

struct UsersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "users",
        abstract: "Show and change who is known, and how far each is on the way to WireGuard.",
        discussion: """
            Users of the secrets files and the configuration are known by themselves. What is known of a user is kept in the gateway's \
            database: the phase and its history, devices, sessions, WireGuard peers. Passwords are not in it.
            """,
        subcommands: [UsersList.self, UsersShow.self, UsersAdd.self, UsersRemove.self, UsersSet.self, UsersImport.self])
}

let gatewayExitStatus = """
    EXIT STATUS
      0  done    1  the gateway said no    69  the gateway cannot be reached
    """

/// `{"done": true}` and the like.
struct Acknowledged: Decodable {}

struct UsersList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List users.",
        discussion: """
            In the order of names. Without --limit all of them; --after continues a list behind that name. --json prints the objects of GET /v1/users.

            EXAMPLES
              causeway users list --phase legacy
              causeway users list --wave shops --json | jq -r '.[] | select(.device == "Windows") | .name'

            \(gatewayExitStatus)
            """)

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false
    @Option(name: .long, help: ArgumentHelp("Only in this phase: legacy, invited, dual, migrated or retired.", valueName: "phase")) var phase: String?
    @Option(name: .long, help: ArgumentHelp("Only members of this wave.", valueName: "name")) var wave: String?
    @Option(name: .long, help: ArgumentHelp("Only names that begin so.", valueName: "text")) var prefix: String?
    @Flag(name: .long, help: "Removed users, too.") var removed = false
    @Option(name: .long, help: ArgumentHelp("Only names behind this one.", valueName: "name")) var after: String?
    @Option(name: .long, help: ArgumentHelp("At most so many.", valueName: "count")) var limit: Int?

    func validate() throws {
        if let limit, limit < 1 { throw ValidationError("--limit: at least 1") }
    }

    func run() async throws {
        var users: [UserView] = [], next = after
        repeat {
            let count = min(1000, (limit ?? .max) - users.count)
            var query = ["limit=\(count)"]
            for (key, value) in [("phase", phase), ("wave", wave), ("prefix", prefix), ("after", next), ("removed", removed ? "true" : nil)] {
                if let value { query.append("\(key)=\(ControlClient.escaped(value))") }
            }
            let path = "/v1/users?" + query.joined(separator: "&")
            let page = try await control.ask { try await $0.get(path, as: PageView<UserView>.self) }
            users += page.items
            next = page.next
        } while next != nil && users.count < limit ?? .max
        if json { return try printJSON(users) }
        printTable(
            ["USER", "PHASE", "SINCE", "WAVE", "PPTP", "WIREGUARD", "DEVICE"],
            users.map {
                [$0.name, $0.phase + ($0.held ? " (held)" : ""), dayText($0.since), $0.wave ?? "-", dayText($0.lastPPTP), dayText($0.lastWireGuard), $0.device ?? "-"]
            })
    }
}

struct UsersShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show everything that is known of one user.",
        discussion: """
            The phase and how it came about, devices with what they are recognised by, the last sessions, WireGuard peers. --json prints the \
            object of GET /v1/users/NAME.

            \(gatewayExitStatus)
            """)

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false
    @Argument(help: ArgumentHelp("The user's name.", valueName: "user")) var name: String

    func run() async throws {
        let path = "/v1/users/\(ControlClient.escaped(name))"
        let detail = try await control.ask { try await $0.get(path, as: UserDetailView.self) }
        if json { return try printJSON(detail) }
        let user = detail.user
        printLine("user \(user.name): \(user.phase) since \(timeText(user.since))\(user.setByHand ? ", set by hand" : "")\(user.held ? ", held by a roll-back" : "")")
        printLine("  wave: \(user.wave ?? "none"), known from: \(user.origin), since \(timeText(user.createdAt))")
        printLine("  last seen with PPTP: \(timeText(user.lastPPTP)), with WireGuard: \(timeText(user.lastWireGuard)), invited: \(timeText(user.invitedAt))")
        if let exemption = user.exemption { printLine("  excepted until \(timeText(exemption.until)) by \(exemption.administrator): \(exemption.reason)") }
        if let removedAt = user.removedAt { printLine("  removed: \(timeText(removedAt))") }
        if !user.note.isEmpty { printLine("  note: \(user.note)") }
        for device in detail.devices { printLine("  device: \(device.kind), \(device.logins) log-ins, last \(timeText(device.lastSeen)) (\(device.evidence))") }
        for peer in detail.peers {
            let state = peer.revokedAt.map { "revoked \(timeText($0))" } ?? "made \(timeText(peer.createdAt))"
            printLine("  peer: \(peer.publicKey) in tunnel \(peer.tunnel), \(peer.allowedIPs.map(\.description).joined(separator: ", ")), \(state)")
        }
        for change in detail.history { printLine("  \(timeText(change.at)): \(change.from) -> \(change.to) by \(change.by): \(change.reason)") }
        for session in detail.sessions {
            let end = session.closedAt.map { "\(timeText($0)): \(session.cause ?? "")" } ?? "open"
            printLine("  session: \(session.kind) at \(session.address), \(timeText(session.openedAt)) - \(end)")
        }
    }
}

struct UsersAdd: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "add", abstract: "Make users known who are in no file.",
        discussion: "For users whose passwords are elsewhere, so that they can be put into waves before they dial.\n\n\(gatewayExitStatus)")

    struct Order: Encodable { var names: [String] }

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("Their names.", valueName: "user")) var names: [String]

    func run() async throws {
        let added = try await control.ask { try await $0.send(.post, "/v1/users", Order(names: names), as: [String: Int].self) }
        print("\(added["added"] ?? 0) of \(names.count) were new")
    }
}

struct UsersRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove", abstract: "Take a user out of the migration.",
        discussion: "The user's own WireGuard peer is taken away at once; the history stays. Passwords are taken out of their file.\n\n\(gatewayExitStatus)")

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The user's name.", valueName: "user")) var name: String

    func run() async throws {
        let path = "/v1/users/\(ControlClient.escaped(name))"
        _ = try await control.ask { try await $0.delete(path, as: Acknowledged.self) }
    }
}

struct UsersSet: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "set", abstract: "Change a user's note, or except the user from policies for a while.",
        discussion: """
            Until the exception ends, no policy and no retirement refuses the user or slows them down.

            EXAMPLES
              causeway users set shop-7 --note "new till ordered"
              causeway users set shop-7 --except-until 2027-01-31 --reason "till comes in January"
              causeway users set shop-7 --no-exception

            \(gatewayExitStatus)
            """)

    struct Note: Encodable { var note: String }
    struct Order: Encodable { var until: Date, reason: String }

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The user's name.", valueName: "user")) var name: String
    @Option(name: .long, help: ArgumentHelp("A note, for people.", valueName: "text")) var note: String?
    @Option(name: .long, help: ArgumentHelp("A day, or a time such as 2027-01-31T18:00:00Z.", valueName: "date"), transform: date) var exceptUntil: Date?
    @Flag(name: .long, help: "Take the exception away.") var noException = false
    @Option(name: .long, help: ArgumentHelp("Why there is an exception.", valueName: "text")) var reason: String?

    func validate() throws {
        if note == nil, exceptUntil == nil, !noException { throw ValidationError("nothing to set: --note, --except-until or --no-exception") }
        if exceptUntil != nil, noException { throw ValidationError("--except-until and --no-exception exclude each other") }
        if exceptUntil != nil, reason == nil { throw ValidationError("--except-until needs a --reason") }
    }

    func run() async throws {
        let path = "/v1/users/\(ControlClient.escaped(name))"
        try await control.ask { client in
            if let note { _ = try await client.send(.patch, path, Note(note: note), as: Acknowledged.self) }
            if let exceptUntil { _ = try await client.send(.put, path + "/exemption", Order(until: exceptUntil, reason: reason ?? ""), as: Acknowledged.self) }
            if noException { _ = try await client.delete(path + "/exemption", as: Acknowledged.self) }
        }
    }
}

// MARK: Texts

func timeText(_ date: Date?) -> String { date.map { $0.formatted(.iso8601) } ?? "never" }
func dayText(_ date: Date?) -> String { date.map { $0.formatted(.iso8601.year().month().day()) } ?? "-" }

/// `2027-01-31`, in UTC, or a whole ISO 8601 time.
@Sendable func date(_ text: String) throws -> Date {
    if let day = try? Date(text, strategy: .iso8601.year().month().day()), text.utf8.count == 10 { return day }
    guard let time = try? Date(text, strategy: .iso8601) else {
        throw ValidationError("\"\(text)\" is no date: expected 2027-01-31 or 2027-01-31T18:00:00Z")
    }
    return time
}
