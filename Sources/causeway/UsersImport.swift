import ArgumentParser
import Authentication
import Foundation
import Gateway

struct UsersImport: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "import", abstract: "Make users known whom a file names.",
        discussion: """
            The file is a chap-secrets file, of which only the names are taken, or (with the ending .csv) a table with a user and, if wanted, a \
            wave on each line, separated by a comma; a first line "user,wave" is passed over. Without --apply it says what it would do. Every \
            wrong line is reported by its number, and then nobody is imported.

            EXAMPLES
              causeway users import shops.csv
              causeway users import shops.csv --apply

            \(gatewayExitStatus)
            """)

    struct Order: Encodable { var names: [String], origin = "import" }
    struct Members: Encodable { var users: [String] }

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The file.", valueName: "file")) var file: String
    @Flag(name: .long, help: "Do it.") var apply = false

    func run() async throws {
        let rows = try read()
        let waves = Dictionary(grouping: rows.filter { $0.wave != nil }, by: { $0.wave! })
        guard apply else {
            print("\(rows.count) users would be imported" + (waves.isEmpty ? "" : ", into waves: " + waves.map { "\($0) (\($1.count))" }.sorted().joined(separator: ", ")))
            return print("nothing was changed; --apply does it")
        }
        try await control.ask { client in
            let added = try await client.send(.post, "/v1/users", Order(names: rows.map(\.name)), as: [String: Int].self)
            for (wave, members) in waves.sorted(by: { $0.key < $1.key }) {
                let path = "/v1/waves/\(ControlClient.escaped(wave))/members"
                _ = try await client.send(.post, path, Members(users: members.map(\.name)), as: Acknowledged.self)
            }
            print("\(rows.count) users imported, \(added["added"] ?? 0) of them were new")
        }
    }

    private func read() throws -> [ImportedUser] {
        guard let data = FileManager.default.contents(atPath: file), let text = String(data: data, encoding: .utf8) else {
            printError("\(file): cannot be read as UTF-8 text")
            throw ExitCode.failure
        }
        let (rows, problems) = file.hasSuffix(".csv") ? ImportedUser.table(text) : try ImportedUser.secrets(text, file: file)
        for problem in problems { printError("\(file):\(problem)") }
        if !problems.isEmpty { throw ExitCode.failure }
        return rows
    }
}

/// A user of a file that is imported.
struct ImportedUser: Equatable {
    var name: String
    var wave: String?

    /// Lines of a table, and what is wrong with it, with line numbers.
    static func table(_ text: String) -> ([ImportedUser], problems: [String]) {
        var rows: [ImportedUser] = [], problems: [String] = [], lineOf: [String: Int] = [:]
        for (index, line) in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated() {
            let cells = line.split(separator: ",", omittingEmptySubsequences: false).map { $0.trimmingCharacters(in: .whitespaces) }
            if line.allSatisfy(\.isWhitespace) || (index == 0 && cells[0] == "user") { continue }
            let number = index + 1
            if cells.count > 2 {
                problems.append("\(number): more than a user and a wave")
            } else if !(1...255).contains(cells[0].utf8.count) {
                problems.append("\(number): a user name has 1 to 255 bytes")
            } else if let first = lineOf.updateValue(number, forKey: cells[0]) {
                problems.append("\(number): user \"\(cells[0])\" is on line \(first) already")
            } else {
                rows.append(ImportedUser(name: cells[0], wave: cells.count > 1 && !cells[1].isEmpty ? cells[1] : nil))
            }
        }
        return (rows, problems)
    }

    static func secrets(_ text: String, file: String) throws -> ([ImportedUser], problems: [String]) {
        do throws(SecretsFileError) {
            // Only names are wanted: what a password is kept in elsewhere does not matter.
            let entries = try SecretsFile.parse(Secret(utf8: text), file: file) { _ throws(FileIssue) in Secret(utf8: "-") }.entries
            return (Set(entries.compactMap { $0.name == nil ? nil : $0.displayName }).sorted().map { ImportedUser(name: $0) }, [])
        } catch {
            return ([], error.issues.map { "\($0.line ?? 0): \($0.message)" })
        }
    }
}
