import Authentication
import Glibc
import Testing

@testable import Settings

/// The way through real files, with their modes.
@Suite struct LoadTests {
    private func withFolder<Result>(_ body: (String) throws -> Result) throws -> Result {
        var template = Array("/tmp/causeway-XXXXXX".utf8CString)
        let folder = try #require(mkdtemp(&template).map { String(cString: $0) })
        defer {
            for name in ["causeway.toml", "key", "secrets", "password"] { unlink("\(folder)/\(name)") }
            rmdir(folder)
        }
        return try body(folder)
    }

    private func write(_ contents: String, _ path: String, _ mode: mode_t) throws {
        unlink(path)
        let descriptor = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, mode)
        try #require(descriptor >= 0)
        #expect(Glibc.write(descriptor, contents, contents.utf8.count) == contents.utf8.count)
        fchmod(descriptor, mode)
        close(descriptor)
    }

    private func messages(_ path: String) -> [String] {
        do throws(ConfigurationError) {
            _ = try CausewayConfiguration.load(path: path)
            return []
        } catch {
            return error.issues.map(\.description)
        }
    }

    @Test func loadsAndRefuses() throws {
        try withFolder { folder in
            var sample = Sample()
            sample.tunnel = sample.tunnel.replacing("/key", with: "\(folder)/key")
            sample.rest = "[authentication]\nsecrets = [\"\(folder)/secrets\"]\n"
            try write(sample.text, "\(folder)/causeway.toml", 0o644)
            try write(Sample.key + "\n", "\(folder)/key", 0o600)
            try write("ann * @\(folder)/password *\n", "\(folder)/secrets", 0o640)
            try write("pw\n", "\(folder)/password", 0o600)
            let path = "\(folder)/causeway.toml"
            let configuration = try CausewayConfiguration.load(path: path)
            #expect(configuration.users.entries.map(\.ntHashes) == [[MSCHAPv2.ntHash(password: Secret(utf8: "pw"))]])

            chmod("\(folder)/secrets", 0o644)
            #expect(
                messages(path) == [
                    "\(path):16: authentication.secrets[0]: \(folder)/secrets: is open to every user of this host; run: chmod 640 \(folder)/secrets"
                ])
            chmod("\(folder)/secrets", 0o640)
            chmod("\(folder)/password", 0o604)
            #expect(
                messages(path) == [
                    "\(folder)/secrets:1: user ann: \(folder)/password: is open to every user of this host; run: chmod 640 \(folder)/password"
                ])
            chmod("\(folder)/password", 0o600)
            chmod("\(folder)/key", 0o604)
            #expect(messages(path).count == 1)
            chmod("\(folder)/key", 0o600)

            sample.rest += "[[user]]\nname = \"bob\"\npassword = \"x\"\n"
            try write(sample.text, path, 0o644)
            #expect(messages(path).count == 1)
            chmod(path, 0o640)
            #expect(messages(path).isEmpty)
        }
    }

    @Test(.enabled(if: geteuid() == 0 && getpwnam("nobody") != nil, "only root changes accounts"))
    func whatTheAccountCannotReadIsAWarning() throws {
        try withFolder { folder in
            var sample = Sample()
            sample.top = "run-as = \"nobody\"\n"
            sample.tunnel = sample.tunnel.replacing("/key", with: "\(folder)/key")
            sample.rest = "[authentication]\nsecrets = [\"\(folder)/secrets\"]\n"
            try write(sample.text, "\(folder)/causeway.toml", 0o644)
            try write(Sample.key + "\n", "\(folder)/key", 0o600)
            try write("ann * pw *\n", "\(folder)/secrets", 0o640)
            chown("\(folder)/secrets", 0, getpwnam("nobody").pointee.pw_gid)
            let warnings = try CausewayConfiguration.load(path: "\(folder)/causeway.toml").warnings
            #expect(warnings.map(\.file) == ["\(folder)/key"])
            #expect(warnings.first?.message.hasSuffix("run: chgrp nobody \(folder)/key && chmod 640 \(folder)/key") == true)
        }
    }

    @Test func aMissingFileIsNamed() {
        #expect(messages("/nonexistent/causeway.toml") == ["/nonexistent/causeway.toml: does not exist"])
    }
}
