import ArgumentParser
import Foundation
import Testing

@testable import causeway

@Suite struct UsersImportTests {
    @Test func aTableHasUsersAndWaves() {
        let (rows, problems) = ImportedUser.table("user,wave\nann,shops\n\n bob \ncara,\n")
        #expect(rows == [.init(name: "ann", wave: "shops"), .init(name: "bob"), .init(name: "cara")])
        #expect(problems.isEmpty)
    }

    @Test func wrongLinesAreReportedByNumber() {
        let (_, problems) = ImportedUser.table("ann,shops,7\n,shops\nbob\nbob\n" + String(repeating: "x", count: 256))
        #expect(problems.map { $0.prefix(2) } == ["1:", "2:", "4:", "5:"])
        #expect(problems[2].contains("line 3"))
    }

    @Test func ofASecretsFileOnlyNamesAreTaken() throws {
        let (rows, problems) = try ImportedUser.secrets("ann * \"pass word\" *\nbob causeway pw 10.0.0.1\n* * any *\n", file: "chap-secrets")
        #expect(rows.map(\.name) == ["ann", "bob"] && problems.isEmpty)
        #expect(try ImportedUser.secrets("ann\n", file: "chap-secrets").problems.count == 1)
    }

    @Test(arguments: [("ann", "ann"), ("DOM\\zoë", "DOM%5Czo%C3%AB"), ("../x", "%2E./x".replacingOccurrences(of: "/", with: "%2F")), ("a b", "a%20b")])
    func aUsersFileStaysInItsDirectory(name: String, file: String) { #expect(WaveFiles.fileName(name) == file) }

    @Test func aDateIsADayOrATime() throws {
        #expect(try date("2027-01-31").timeIntervalSince1970 == 1_801_353_600)
        #expect(try date("2027-01-31T18:00:00Z").timeIntervalSince1970 == 1_801_418_400)
        for text in ["31.1.2027", "2027-13-01", "tomorrow", ""] { #expect(throws: ValidationError.self) { try date(text) } }
    }

    @Test(arguments: [
        ["invite"], ["invite", "ann", "--wave", "shops"], ["invite", "--wave", "shops"], ["invite", "ann", "--png"],
        ["invite", "ann", "--directory", "x"], ["phase", "ann", "gone", "--reason", "x"], ["phase", "ann", "dual"],
        ["wave", "create", "shops", "--grace-days", "3"],
    ])
    func aWrongCommandLineIsRefused(arguments: [String]) {
        #expect(throws: (any Error).self) { try Causeway.parseAsRoot(["migrate"] + arguments) }
    }
}
