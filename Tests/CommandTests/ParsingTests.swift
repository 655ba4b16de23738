import ArgumentParser
import Foundation
import Gateway
import Testing

@testable import causeway

@Suite struct ParsingTests {
    static let dial = ["dial", "--server", "192.0.2.1", "--user", "ann", "--password-file", "p"]

    func fails(_ arguments: [String], _ location: SourceLocation = #_sourceLocation) -> (code: Int32, message: String) {
        do {
            _ = try Causeway.parseAsRoot(arguments)
            Issue.record("\(arguments) passed", sourceLocation: location)
            return (0, "")
        } catch {
            return (Causeway.exitCode(for: error).rawValue, Causeway.message(for: error))
        }
    }

    @Test(arguments: [
        ["nonsense"], ["sessions", "extra"], ["sessions", "--nonsense"], ["disconnect"], ["disconnect", "ann", "bob"],
        ["wireguard"], ["wireguard", "wg0", "wg1"], ["wireguard", "a/b"], ["wireguard", "sixteen-bytes-xx"], ["wireguard", "wg0", "--workers", "0"],
        ["wireguard", "wg0", "--workers", "65"], ["wireguard", "wg%d"], ["serve", "--config"], ["check", "file"], ["status", "--socket"], ["reload", "now"], ["dial"], ["dial", "--server", "192.0.2.1"],
        ["hub", "nonsense"], ["hub", "config", "peers"], ["hub", "config", "--diff", "a", "--merge", "b"], ["hub", "config", "--keep-others"],
        ["hub", "config", "--merge", "a", "--json"], ["hub", "config", "--interface", "a b"], ["hub", "config", "--interface", "$(reboot)"],
        ["hub", "config", "--interface", "sixteen-bytes-xx"], ["hub", "identities", "ann"], ["hub", "prune", "ann"],
        ["top", "--interval", "0"], ["top", "--interval", "nan"], ["top", "--count", "0"], ["top", "--limit", "0"], ["top", "--sort", "luck"], ["top", "x"],
    ])
    func usageErrors(_ arguments: [String]) {
        #expect(fails(arguments).code == 64)
    }

    @Test(arguments: [
        (["--interface", ""], "--interface"), (["--interface", "a/b"], "--interface"), (["--interface", "a b"], "--interface"),
        (["--interface", "sixteen-bytes-xx"], "--interface"), (["--concurrency", "0"], "--concurrency"),
        (["--calls-per-connection", "0"], "--calls-per-connection"), (["--workers", "65"], "--workers"),
        (["--workers", "0"], "--workers"), (["--count", "0"], "--count"), (["--count", "60001"], "--count"),
        (["--ping-count", "-1"], "ping-count"), (["--ping-interval", "0"], "--ping-interval"), (["--key-bits", "64"], "--key-bits"),
        (["--stateful", "--no-encryption"], "exclude each other"), (["--ping", "2001:db8::1"], "--ping"),
        (["--ping", "192.0.2.9", "--ping-count", "0", "--hold", "0"], "never ends"), (["--user", "bob", "--prefix", "10.0.0.0/8"], "--prefix"),
        (["--user", "bob", "--count", "3"], "--user"), (["--profile", "amiga"], "--profile"), (["--route", "10.0.0.1/8"], "--route"),
        (["--hold", "soon"], "--hold"), (["--server", "192.0.2.1:0"], "--server"),
    ])
    func dialSaysWhichOptionIsWrong(_ more: [String], _ word: String) {
        let (code, message) = fails(Self.dial + more)
        #expect(code == 64)
        #expect(message.contains(word), "\(message)")
    }

    @Test func helpAndVersionAreNoErrors() {
        for arguments in [["--help"], ["dial", "--help"], ["help", "sessions"], ["--version"]] {
            do {
                var command = try Causeway.parseAsRoot(arguments)
                try command.run()
            } catch {
                #expect(Causeway.exitCode(for: error) == .success, "\(arguments)")
            }
        }
        #expect(fails(["--version"]).message == causewayVersion)
    }

    // MARK: What is parsed

    @Test func defaults() throws {
        let serve = try #require(try Causeway.parseAsRoot(["serve"]) as? Serve)
        #expect(serve.file.config == "/etc/causeway/causeway.toml")
        let sessions = try #require(try Causeway.parseAsRoot(["sessions"]) as? Sessions)
        #expect(try sessions.control.place([:]) == .socket("/run/causeway/causeway.sock"))
        #expect(!sessions.json && !sessions.verbose && sessions.user == nil)
        let dial = try #require(try Causeway.parseAsRoot(Self.dial) as? Dial)
        #expect(dial.server.host == "192.0.2.1")
        #expect(dial.server.port == 1723)
        #expect(dial.users == ["ann"])
        #expect(dial.profile == .pppd)
        #expect(dial.hold == nil)
    }

    /// The command line, then the environment, then the socket.
    @Test func whereTheGatewayIs() throws {
        let file = FileManager.default.temporaryDirectory.appendingPathComponent("cwtoken-\(UUID().uuidString)")
        try Data("cwt_0123\nmore\n".utf8).write(to: file)
        chmod(file.path, 0o600)
        defer { try? FileManager.default.removeItem(at: file) }
        func place(_ arguments: [String], _ environment: [String: String] = [:]) throws -> ControlPlace {
            try #require(try Causeway.parseAsRoot(["status"] + arguments) as? Status).control.place(environment)
        }
        let remote = ["CAUSEWAY_API": "https://gw.example.org:8443", "CAUSEWAY_TOKEN_FILE": file.path, "CAUSEWAY_CA_FILE": "/ca"]
        #expect(try place(["--socket", "/s"], remote) == .socket("/s"))
        #expect(try place([], remote) == .network("https://gw.example.org:8443", token: "cwt_0123", authorities: "/ca"))
        #expect(try place(["--api", "https://[::1]", "--ca-file", "/b"], remote) == .network("https://[::1]:443", token: "cwt_0123", authorities: "/b"))
        #expect(try place([], ["CAUSEWAY_API": ""]) == .socket("/run/causeway/causeway.sock"))
        #expect(throws: ValidationError.self) { try place(["--api", "https://gw"]) }
        #expect(throws: ValidationError.self) { try place(["--api", "http://gw"], remote) }
        #expect(throws: (any Error).self) { try place(["--api", "https://gw", "--socket", "/s"]) }
        chmod(file.path, 0o644)
        #expect(throws: ExitCode.noPermission) { try place([], remote) }
    }

    @Test func dialOptions() throws {
        let dial = try #require(
            try Causeway.parseAsRoot(
                Self.dial + [
                    "--server", "gate.example:1724", "--route", "10.0.0.0/8", "--route", "0.0.0.0/0", "--prefix", "192.168.7.0/24",
                    "--ping", "10.0.0.1", "--ping-interval", "200ms", "--hold", "0", "--vanish-after", "2m", "--profile", "windows",
                ]) as? Dial)
        #expect(dial.server.description == "gate.example:1724")
        #expect(dial.routes.map(\.description) == ["10.0.0.0/8", "0.0.0.0/0"])
        #expect(dial.prefixes.map(\.description) == ["192.168.7.0/24"])
        #expect(dial.pingInterval.duration == .milliseconds(200))
        #expect(dial.hold?.duration == .zero)
        #expect(dial.vanishAfter?.duration == .seconds(120))
        #expect(dial.profile == .windows)
    }

    @Test func wireGuardIsCalledAsWireGuardGoIs() throws {
        let background = try #require(try Causeway.parseAsRoot(["wireguard", "wg0"]) as? WireGuardCommand)
        #expect(background.interface == "wg0" && !background.foreground && background.workers == nil)
        for flag in ["-f", "--foreground"] {
            let command = try #require(try Causeway.parseAsRoot(["wireguard", flag, "wg0"]) as? WireGuardCommand)
            #expect(command.interface == "wg0" && command.foreground)
        }
    }

    /// wg-quick can only name a program, not a program and its subcommand.
    @Test func theNameOfTheProgramIsASubcommand() {
        for name in ["wireguard-go", "/usr/local/bin/causeway-wireguard"] {
            #expect(WireGuardCommand.arguments(of: [name, "-f", "wg0"]) == ["wireguard", "-f", "wg0"])
        }
        for name in ["causeway", "/usr/bin/causeway", "./wireguard", "wireguard-go/causeway"] {
            #expect(WireGuardCommand.arguments(of: [name, "status", "--json"]) == ["status", "--json"])
        }
        #expect(WireGuardCommand.arguments(of: []) == [])
    }

    @Test(arguments: ["", ":1", "host:", "host:0", "host:65536", "host:x", "a:b:1", "host:-1"]) func wrongServers(_ text: String) {
        #expect(Dial.Server(argument: text) == nil)
    }

    @Test func spans() {
        for (text, duration) in [
            ("200ms", Duration.milliseconds(200)), ("30s", .seconds(30)), ("30", .seconds(30)), ("5m", .seconds(300)),
            ("1h", .seconds(3600)), ("0", .zero), ("1000000000", .seconds(1_000_000_000)),
        ] {
            #expect(Span(argument: text)?.duration == duration)
        }
        for text in ["", "s", "-1", "+1", "1.5s", "1d", "1 s", "1S", "1000000001", "99999999999999999999", "٣s"] {
            #expect(Span(argument: text) == nil, "\(text)")
        }
        #expect(Span(.milliseconds(1500)).description == "1500ms")
        #expect(Span(.seconds(90)).description == "90s")
    }
}
