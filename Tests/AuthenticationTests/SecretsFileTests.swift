import Addresses
import Testing

@testable import Authentication

private func parse(_ text: String, files: [String: String] = [:]) throws(SecretsFileError) -> SecretsFile {
    try SecretsFile.parse(Secret(utf8: text), file: "secrets") { path throws(FileIssue) in
        guard let contents = files[path] else { throw FileIssue(file: path, message: "does not exist", kind: .missing) }
        return Secret(utf8: contents)
    }
}

private func issues(_ text: String, files: [String: String] = [:]) -> [FileIssue] {
    do throws(SecretsFileError) {
        _ = try parse(text, files: files)
        return []
    } catch {
        return error.issues
    }
}

private func hash(_ password: String) -> [Secret] { [MSCHAPv2.ntHash(password: Secret(utf8: password))] }

@Suite struct SecretsLexerTests {
    private func words(_ text: String) -> [[String]] {
        var result: [[String]] = []
        Secret(utf8: text).withUnsafeBytes { bytes in
            var lexer = SecretsLexer(bytes)
            while let next = lexer.nextLine() {
                switch next {
                case .success(let words): result.append(words.map { String(decoding: $0.bytes, as: UTF8.self) })
                case .failure(let issue): result.append(["line \(issue.line): \(issue.message)"])
                }
            }
        }
        return result
    }

    struct Case: Sendable {
        var text: String
        var words: [[String]]
    }

    /// What pppd's own reader makes of these.
    @Test(arguments: [
        Case(text: "", words: []),
        Case(text: "\n\n  \n", words: []),
        Case(text: "a b c", words: [["a", "b", "c"]]),
        Case(text: "a\tb\r\nc\n", words: [["a", "b"], ["c"]]),
        Case(text: "# a comment\na b # more\n", words: [["a", "b"]]),
        Case(text: "a#b c\nd", words: [["a"], ["d"]]),
        Case(text: "# joined? no \\\na", words: [["a"]]),
        Case(text: "\"a b\" 'c d'", words: [["a b", "c d"]]),
        Case(text: "\"it's\" '\"'", words: [["it's", "\""]]),
        Case(text: "pre\"mid dle\"post", words: [["premid dlepost"]]),
        Case(text: "\"a#b\" \"\" c", words: [["a#b", "", "c"]]),
        Case(text: "a\\ b \\#c \\\"", words: [["a b", "#c", "\""]]),
        Case(text: "'a\\'b'", words: [["a'b"]]),
        Case(text: "\\s\\t\\n\\r\\a\\b\\f", words: [[" \t\n\r\u{7}\u{8}\u{C}"]]),
        Case(text: "\\101\\60x \\1012", words: [["A0x", "A2"]]),
        Case(text: "\\x41\\x4a1 \\x4", words: [["AJ1", "\u{4}"]]),
        Case(text: "\\q", words: [["q"]]),
        Case(text: "a \\\n b", words: [["a", "b"]]),
        Case(text: "a\\\nb", words: [["ab"]]),
        Case(text: "\"a\\\nb\"", words: [["ab"]]),
        Case(text: "a\\", words: [["a"]]),
    ])
    func cutsWordsAsPppdDoes(sample: Case) { #expect(words(sample.text) == sample.words) }

    @Test func refusals() {
        #expect(words("a \"b\nc d\n")[0][0].hasPrefix("line 1: a quotation"))
        #expect(words("a \"b\nc d\n")[1] == ["c", "d"])
        #expect(words("x\n\na \\0\n")[1][0] == "line 3: a word holds a NUL byte")
        #expect(words(String(repeating: "a", count: 1025))[0][0] == "line 1: a word is longer than 1024 bytes")
        #expect(words(String(repeating: "a", count: 1024))[0][0].count == 1024)
    }
}

@Suite struct SecretsFileTests {
    @Test func readsALine() throws {
        let file = try parse("# users\n\nann causeway \"two words\" 10.8.0.7\n")
        #expect(file.entries.count == 1)
        let entry = file.entries[0]
        #expect(entry.name == Array("ann".utf8))
        #expect(entry.server == Array("causeway".utf8))
        #expect(entry.ntHashes == hash("two words"))
        #expect(entry.attributes.staticAddress == IPAddress("10.8.0.7"))
        #expect(entry.origin == .init(file: "secrets", line: 3))
        #expect(file.warnings.isEmpty)
    }

    struct AddressCase: Sendable {
        var column: String
        var policy: AddressPolicy
    }

    @Test(arguments: [
        AddressCase(column: "*", policy: .any),
        AddressCase(column: "* 10.0.0.1", policy: .any),
        AddressCase(column: "", policy: .refused),
        AddressCase(column: "-", policy: .refused),
        AddressCase(column: "10.0.0.1", policy: .fixed(IPAddress("10.0.0.1")!)),
        AddressCase(column: "10.0.0.0/24 10.0.0.1 10.0.0.2", policy: .fixed(IPAddress("10.0.0.1")!)),
        AddressCase(column: "10.0.0.1/32", policy: .fixed(IPAddress("10.0.0.1")!)),
        AddressCase(column: "10.0.0.9/24 10.1.0.0/16", policy: .within([IPPrefix("10.0.0.0/24")!, IPPrefix("10.1.0.0/16")!])),
    ])
    func addressColumn(sample: AddressCase) throws {
        #expect(try parse("a * p \(sample.column)").entries[0].attributes.address == sample.policy)
    }

    @Test(arguments: [
        "!10.0.0.1", "10.0.0.0/24+", "host.example.org", "10.0.0.1 -- mtu 1400", "10.0.0.0/33", "10.0.0/8", "10.0.0.1/",
    ])
    func addressColumnRefusals(column: String) {
        let found = issues("x * p *\na * p \(column)")
        #expect(found.count == 1)
        #expect(found.first?.line == 2)
        #expect(found.first?.message.hasPrefix("user a: ") == true)
    }

    @Test func noAddressColumnIsAWarning() throws {
        let warnings = try parse("a * p\n").warnings
        #expect(warnings.map(\.line) == [1])
        #expect(warnings[0].message.contains("write *"))
    }

    @Test func indirectSecrets() throws {
        let files = ["/etc/p1": "# the password\n  \"pass word\" rest\n", "/etc/empty": "\n#\n", "/etc/open": "\"x"]
        #expect(try parse("a * @/etc/p1 *", files: files).entries[0].ntHashes == hash("pass word"))
        #expect(issues("a * @/etc/none *", files: files).map(\.message) == ["user a: /etc/none: does not exist"])
        #expect(issues("a * @/etc/empty *", files: files).map(\.message) == ["user a: /etc/empty: holds no secret"])
        #expect(issues("a * @/etc/open *", files: files)[0].message.hasPrefix("user a: /etc/open:1: a quotation"))
        // The path is the file's own word, which has any byte that it likes.
        #expect(issues(#"a * "@/etc/no\nne" *"#, files: files)[0].description == #"secrets:1: user a: /etc/no\nne: does not exist"#)
        // Not a path: the password itself.
        #expect(try parse("a * @home *").entries[0].ntHashes == hash("@home"))
    }

    @Test func hashedSecrets() throws {
        let entry = try parse("a * nt-hash:44EBBA8D5312B8D611474411F56989AE *").entries[0]
        #expect(entry.ntHashes == hash("clientPass"))
        #expect(issues("a * nt-hash:44EB *").count == 1)
    }

    @Test func otherSecretForms() throws {
        #expect(issues("a * &file *")[0].message.contains("between quotes"))
        #expect(try parse("a * \"&file\" *").entries[0].ntHashes == hash("&file"))
        #expect(try parse("a * \\&file *").entries[0].ntHashes == hash("&file"))
        #expect(issues("a * \"\" *")[0].message.contains("empty"))
    }

    @Test func everyWrongLineIsNamed() {
        let found = issues("a b\nok * p *\n\"\" * p *\nb * \"open\nc * p nohost\n")
        #expect(found.map(\.line) == [1, 3, 4, 5])
        #expect(found[0].description == "secrets:1: expected client, server, secret and addresses, found 2 words")
    }

    @Test func secondLineOfAUserIsAWarning() throws {
        let file = try parse("a * one *\na * two *\na other three *\n")
        #expect(file.warnings.map(\.line) == [2])
        let directory = UserDirectory(file.entries)
        #expect(directory.entry(userName: Array("a".utf8), serverName: "x")?.ntHashes == hash("one"))
    }

    @Test func hashInsideAWordIsAWarning() throws {
        let file = try parse("a * pass#word *\n")
        #expect(file.entries[0].ntHashes == hash("pass"))
        #expect(file.warnings.contains { $0.message.contains("'#'") })
    }

    @Test func noMessageShowsASecret() {
        let found = issues("hunter2secret\na * \"hunter2secret\na * &hunter2secret *\na * nt-hash:hunter2secret *\n")
        #expect(found.count == 4)
        for issue in found { #expect(!issue.description.contains("hunter2")) }
    }
}
