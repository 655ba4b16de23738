import Testing

@testable import Authentication

@Suite struct UserDirectoryTests {
    private func directory(_ lines: String) throws -> UserDirectory {
        UserDirectory(
            try SecretsFile.parse(Secret(utf8: lines), file: "s") { path throws(FileIssue) in
                throw FileIssue(file: path, message: "")
            }.entries)
    }

    private func line(_ directory: UserDirectory, _ user: String, _ server: String) -> Int? {
        directory.entry(userName: Array(user.utf8), serverName: server)?.origin.line
    }

    /// pppd: a named client counts more than a named server, and of equals the first wins.
    @Test func bestMatch() throws {
        let users = try directory("* * p *\n* vpn p *\nann * p *\nann vpn p *\nann vpn q *\nbob other p *\n")
        #expect(line(users, "ann", "vpn") == 4)
        #expect(line(users, "ann", "else") == 3)
        #expect(line(users, "eve", "vpn") == 2)
        #expect(line(users, "eve", "else") == 1)
        #expect(line(users, "bob", "other") == 6)
        #expect(line(users, "bob", "vpn") == 2)
    }

    @Test func aNamedClientBeatsANamedServer() throws {
        #expect(line(try directory("* vpn p *\nann * p *\n"), "ann", "vpn") == 2)
    }

    @Test func unknown() throws {
        #expect(line(try directory("ann vpn p *"), "ann", "other") == nil)
        #expect(line(try directory("ann * p *"), "Ann", "x") == nil)
        #expect(line(try directory(""), "ann", "x") == nil)
    }

    @Test func domains() throws {
        let users = try directory("\"CORP\\\\ann\" * p *\nann * p *\nbob * p *\n")
        #expect(line(users, "CORP\\ann", "x") == 1)
        #expect(line(users, "OTHER\\ann", "x") == 2)
        #expect(line(users, "CORP\\bob", "x") == 3)
    }

    @Test func aDomainDoesNotFallIntoTheWildcardFirst() throws {
        #expect(line(try directory("* * p *\nann * p *\n"), "CORP\\ann", "x") == 2)
    }

    @Test func namesAreBytes() throws {
        // The same letter, composed and decomposed: two names.
        let users = try directory("\u{E9} * p *\n")
        #expect(line(users, "\u{E9}", "x") == 1)
        #expect(line(users, "e\u{301}", "x") == nil)
    }
}
