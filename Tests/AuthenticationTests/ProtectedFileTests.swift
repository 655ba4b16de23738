import Glibc
import Testing

@testable import Authentication

@Suite struct ProtectedFileTests {
    /// A file in a directory of its own, gone afterwards.
    private func withFile<Result>(_ contents: String, mode: mode_t, owner: uid_t? = nil, _ body: (String) throws -> Result) throws
        -> Result
    {
        var template = Array("/tmp/causeway-XXXXXX".utf8CString)
        let folder = try #require(mkdtemp(&template).map { String(cString: $0) })
        let path = folder + "/secret"
        let descriptor = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0o600)
        try #require(descriptor >= 0)
        defer {
            unlink(path)
            rmdir(folder)
        }
        #expect(write(descriptor, contents, contents.utf8.count) == contents.utf8.count)
        fchmod(descriptor, mode)
        if let owner { fchown(descriptor, owner, gid_t.max) }
        close(descriptor)
        return try body(path)
    }

    private func issue(_ path: String, _ files: ProtectedFile = ProtectedFile(), limit: Int = 100) -> FileIssue? {
        do throws(FileIssue) {
            _ = try files.read(path, limit: limit)
            return nil
        } catch {
            return error
        }
    }

    @Test(arguments: [mode_t(0o600), 0o640, 0o400, 0o440]) func readsWhatIsProtected(mode: mode_t) throws {
        try withFile("ann", mode: mode) { path in
            let contents = try ProtectedFile().read(path, limit: 3)
            #expect(contents == Secret(utf8: "ann"))
        }
    }

    @Test(arguments: [mode_t(0o644), 0o604, 0o602, 0o601, 0o660]) func refusesWhatIsNot(mode: mode_t) throws {
        try withFile("ann", mode: mode) { path in
            #expect(issue(path)?.message.hasSuffix("run: chmod 640 \(path)") == true)
            #expect(issue(path)?.file == path)
        }
    }

    @Test func exposedContentsCanBeAskedFor() throws {
        try withFile("ann", mode: 0o644) { path in
            let (contents, exposure) = try ProtectedFile().readAny(path, limit: 100)
            #expect(contents == Secret(utf8: "ann"))
            #expect(exposure != nil)
        }
    }

    @Test(.enabled(if: geteuid() == 0, "only root can give a file away")) func refusesStrangersFiles() throws {
        try withFile("ann", mode: 0o600, owner: 4242) { path in
            #expect(issue(path)?.message.contains("run: chown root:causeway \(path)") == true)
            #expect(issue(path, ProtectedFile(trustedOwners: [4242])) == nil)
        }
    }

    @Test func namesWhatIsMissing() { #expect(issue("/nonexistent/file")?.kind == .missing) }

    @Test func refusesFoldersAndFIFOs() throws {
        #expect(issue("/tmp")?.message == "is not a regular file")
        try withFile("", mode: 0o600) { path in
            let fifo = path + ".fifo"
            #expect(mkfifo(fifo, 0o600) == 0)
            defer { unlink(fifo) }
            #expect(issue(fifo)?.message == "is not a regular file")
        }
    }

    @Test func refusesLongFiles() throws {
        try withFile("12345", mode: 0o600) { path in
            #expect(issue(path, limit: 4)?.message.contains("has 5 bytes") == true)
            #expect(issue(path, limit: 5) == nil)
        }
    }
}
