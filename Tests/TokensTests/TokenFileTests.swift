import Foundation
import Synchronization
import Testing

@testable import Tokens

private final class Time: Sendable {
    let now = Mutex<Int64>(1_700_000_000)
    func pass(_ seconds: Int64) { now.withLock { $0 += seconds } }
}

@Suite struct TokenFileTests {
    private func inDirectory(_ body: (String, TokenFile, Time) async throws -> Void) async throws {
        let directory = NSTemporaryDirectory() + "cwtokens-" + UUID().uuidString
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let time = Time()
        try await body(directory, TokenFile(directory: directory, now: { time.now.withLock { $0 } }), time)
    }

    @Test func whatIsShownOnceIsNotKept() async throws {
        try await inDirectory { directory, tokens, _ in
            let (token, text) = try await tokens.create("ops", .operate)
            #expect(text.hasPrefix("cwt_") && text.utf8.count == 68)
            #expect(try await tokens.bearer(of: text) == token)
            let path = directory + "/tokens.json"
            let contents = try String(contentsOfFile: path, encoding: .utf8)
            #expect(!contents.contains(text.dropFirst(4)))
            #expect(contents.contains(token.hash))
            let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
            #expect(mode == 0o600)
            // Another process sees the same.
            let other = TokenFile(directory: directory)
            #expect(try await other.bearer(of: text) == token)
            #expect(try await other.tokens() == [token])
        }
    }

    @Test func anythingElseIsNobodys() async throws {
        try await inDirectory { _, tokens, _ in
            #expect(try await tokens.bearer(of: "") == nil)
            let (token, text) = try await tokens.create("ops", .admin)
            for wrong in ["", "cwt_", String(text.dropLast()), text + "0", text.uppercased(), token.hash, "cwt_" + token.hash, "ops"] {
                #expect(try await tokens.bearer(of: wrong) == nil)
            }
        }
    }

    /// SHA-256 of "abc" is in FIPS 180-2.
    @Test func theHashIsSHA256() {
        #expect(TokenFile.hash(of: "abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    }

    @Test func aRevokedTokenIsOverAtOnce() async throws {
        try await inDirectory { directory, tokens, _ in
            let (_, text) = try await tokens.create("a", .read)
            let other = try await tokens.create("b", .read)
            let elsewhere = TokenFile(directory: directory)
            try await elsewhere.revoke("a")
            #expect(try await tokens.bearer(of: text) == nil)
            #expect(try await tokens.bearer(of: other.text) == other.token)
            await #expect(throws: TokenError.unknown("a")) { try await tokens.revoke("a") }
        }
    }

    @Test func anExpiredTokenIsOverAndItsNameIsFree() async throws {
        try await inDirectory { _, tokens, time in
            let (token, text) = try await tokens.create("ops", .read, lifetime: 60)
            #expect(token.expiresAt == 1_700_000_060)
            await #expect(throws: TokenError.nameTaken("ops")) { try await tokens.create("ops", .read) }
            time.pass(59)
            #expect(try await tokens.bearer(of: text) != nil)
            time.pass(1)
            #expect(try await tokens.bearer(of: text) == nil)
            _ = try await tokens.create("ops", .admin)
            #expect(try await tokens.tokens().map(\.scope) == [.admin])
        }
    }

    @Test(arguments: ["", "a b", "ä", String(repeating: "x", count: 65), "a/b"]) func badNames(name: String) async throws {
        try await inDirectory { _, tokens, _ in
            await #expect(throws: TokenError.badName) { try await tokens.create(name, .read) }
        }
    }

    /// Who could read it could not use it, but who can write it lets anybody in.
    @Test func aFileOfOthersOrADamagedOneLetsNobodyIn() async throws {
        try await inDirectory { directory, tokens, _ in
            let (_, text) = try await tokens.create("ops", .read)
            let path = directory + "/tokens.json"
            chmod(path, 0o666)
            await #expect(throws: TokenError.self) { try await TokenFile(directory: directory).bearer(of: text) }
            chmod(path, 0o600)
            try Data("{".utf8).write(to: URL(fileURLWithPath: path))
            chmod(path, 0o600)
            await #expect(throws: TokenError.self) { try await tokens.bearer(of: text) }
        }
    }

    @Test func scopesIncludeOneAnother() {
        #expect(TokenScope.read < .operate && .operate < .admin)
    }
}
