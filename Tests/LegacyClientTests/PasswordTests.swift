import Authentication
import Foundation
import Testing

@testable import LegacyClient

@Suite("Password files")
struct PasswordTests {
    private func file(_ content: String, mode: Int) throws -> String {
        let path = NSTemporaryDirectory() + "/causeway-password-\(UUID().uuidString)"
        try Data(content.utf8).write(to: URL(fileURLWithPath: path))
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        return path
    }

    @Test(arguments: ["Secret-Passw0rd", "Secret-Passw0rd\n", "Secret-Passw0rd\r\n", "Secret-Passw0rd\nanother line\n"])
    func firstLine(_ content: String) throws {
        let path = try file(content, mode: 0o600)
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(try Password(file: path).ntHash == Link.hash("Secret-Passw0rd"))
    }

    @Test(arguments: [0o644, 0o604, 0o602, 0o666])
    func readableByOthers(_ mode: Int) throws {
        let path = try file("secret\n", mode: mode)
        defer { try? FileManager.default.removeItem(atPath: path) }
        let error = #expect(throws: Password.FileError.self) { try Password(file: path) }
        #expect(error?.description.hasSuffix("run: chmod 600 \(path)") == true)
    }

    @Test(arguments: ["", "\n", "\nsecret"])
    func empty(_ content: String) throws {
        let path = try file(content, mode: 0o640)
        defer { try? FileManager.default.removeItem(atPath: path) }
        #expect(throws: Password.FileError.self) { try Password(file: path) }
    }

    @Test func notAFile() {
        #expect(throws: Password.FileError.self) { try Password(file: "/nonexistent/password") }
        #expect(throws: Password.FileError.self) { try Password(file: "/proc") }
    }

    @Test func neverShown() {
        let account = LegacyAccount(user: "ann", password: Password(Secret(utf8: "hunter2")))
        var text = ""
        dump(account, to: &text)
        #expect(!text.contains("hunter2"))
        #expect(!"\(account)".contains("hunter2"))
    }
}
