import ArgumentParser
import Foundation
import Testing

@testable import causeway

/// The words that administrators read. A wanted change is written with CAUSEWAY_WRITE_HELP=1 and reviewed like code.
@Suite struct HelpTests {
    /// Snapshots do not depend on the terminal's width.
    static let columns = 100
    static let folder = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("Help")

    static let commands: [(name: String, type: any ParsableCommand.Type)] = [("causeway", Causeway.self)] + below(Causeway.self, "")

    /// `hub`, `hub-config`, ...
    private static func below(_ command: any ParsableCommand.Type, _ path: String) -> [(name: String, type: any ParsableCommand.Type)] {
        command.configuration.subcommands.flatMap { [(path + $0._commandName, $0)] + below($0, path + $0._commandName + "-") }
    }

    @Test func everyHelpTextIsAsReviewed() throws {
        for (name, type) in Self.commands {
            let help = Causeway.helpMessage(for: type, columns: Self.columns) + "\n"
            let file = Self.folder.appendingPathComponent("\(name).txt")
            if ProcessInfo.processInfo.environment["CAUSEWAY_WRITE_HELP"] == "1" {
                try Data(help.utf8).write(to: file)
                continue
            }
            let reviewed = try? String(contentsOf: file, encoding: .utf8)
            #expect(help == reviewed, "causeway \(name) --help has changed; if wanted: CAUSEWAY_WRITE_HELP=1 swift test --filter HelpTests")
        }
    }

    /// No snapshot of a command that is gone.
    @Test func everySnapshotHasItsCommand() throws {
        let files = try FileManager.default.contentsOfDirectory(atPath: Self.folder.path)
        #expect(Set(files) == Set(Self.commands.map { "\($0.name).txt" }))
    }

    /// Documented in one place, meant everywhere.
    @Test func exitCodesAreThoseOfSysexits() {
        #expect(ExitCode.validationFailure.rawValue == 64)
        #expect(ExitCode.unavailable.rawValue == 69)
        #expect(ExitCode.noPermission.rawValue == 77)
        #expect(ExitCode.configuration.rawValue == 78)
    }
}
