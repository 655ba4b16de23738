import ArgumentParser
import Foundation
import Synchronization
import Testing

@testable import causeway

/// Whole commands against something that answers on a control socket, with canned answers.
@Suite(.timeLimit(.minutes(1))) struct RunTests {
    /// Runs a command line; its exit code.
    func run(_ arguments: [String]) async -> Int32 {
        do {
            let command = try Causeway.parseAsRoot(arguments)
            guard var command = command as? any AsyncParsableCommand else { return -1 }
            try await command.run()
            return 0
        } catch {
            return Causeway.exitCode(for: error).rawValue
        }
    }

    func run(_ arguments: [String], answer: String, status: String = "200 OK") async throws -> (code: Int32, asked: [String]) {
        let server = try CannedServer(status: status, body: answer)
        let code = await run(arguments + ["--socket", server.path])
        return (code, server.stop())
    }

    @Test(arguments: [
        (["ann"], "/v1/users/ann/sessions"), (["42"], "/v1/sessions/42"), (["--user", "42"], "/v1/users/42/sessions"),
        (["-1x"], ""), (["DOM\\zoë a/b?c%20&d#e;f"], "/v1/users/DOM%5Czo%C3%AB%20a%2Fb%3Fc%2520&d%23e%3Bf/sessions"),
        (["99999999999999999999"], "/v1/users/99999999999999999999/sessions"), ([".."], "/v1/users/../sessions"),
    ])
    func disconnectAsksForTheRightThing(_ arguments: [String], _ path: String) async throws {
        let (code, asked) = try await run(["disconnect"] + arguments, answer: "{\"disconnected\":[7]}")
        if path.isEmpty {
            #expect(code == 64)
            #expect(asked.isEmpty)
        } else {
            #expect(code == 0)
            #expect(asked == ["DELETE \(path) HTTP/1.1"])
        }
    }

    @Test func everyQuestion() async throws {
        let status = """
            {"version":"1","instance":"main","startedAt":"2023-11-14T22:13:20Z","workers":1,"instructionSet":"scalar","controlConnections":0,
            "sessions":0,"openSessions":0,"endedSessions":0,"failedLogins":0,"control":{},"refused":{},"drops":{"gre-late":1},"tunnels":[]}
            """
        let identity = """
            [{"tunnel":"hub","kind":"user","name":"ann","publicKey":"k","addresses":["10.8.0.10"],"generation":1,"createdAt":"2023-11-14T22:13:20Z",
            "lastHandshake":"2023-11-14T22:13:20Z","up":true,"sessions":1}]
            """
        for (arguments, answer, line) in [
            (["sessions"], "[]", "GET /v1/sessions HTTP/1.1"), (["sessions", "--json"], "[]", "GET /v1/sessions HTTP/1.1"),
            (["status"], status, "GET /v1/status HTTP/1.1"), (["status", "--json"], status, "GET /v1/status HTTP/1.1"),
            (["reload"], "{\"applied\":[\"pool\"],\"needRestart\":[]}", "POST /v1/reload HTTP/1.1"),
            (["hub", "identities"], identity, "GET /v1/identities HTTP/1.1"), (["hub", "identities", "--json", "--never"], identity, "GET /v1/identities HTTP/1.1"),
        ] {
            let (code, asked) = try await run(arguments, answer: answer)
            #expect(code == 0, "\(arguments)")
            #expect(asked == [line])
        }
    }

    /// Two looks for the first table, one more for each that follows.
    @Test(arguments: [(["--json"], 2), (["--count", "3"], 4), (["--count", "2", "--json", "--sort", "drops"], 3)])
    func topLooksAgainAndAgain(_ more: [String], _ looks: Int) async throws {
        let (code, asked) = try await run(["top", "--interval", "0.1"] + more, answer: "[]")
        #expect(code == 0)
        #expect(asked == Array(repeating: "GET /v1/sessions HTTP/1.1", count: looks))
    }

    @Test func aRefusalIsExitCodeOne() async throws {
        let no = "{\"error\":{\"message\":\"no\"}}"
        #expect(try await run(["disconnect", "ann"], answer: no, status: "404 Not Found").code == 1)
        #expect(try await run(["reload"], answer: no, status: "422 Unprocessable Content").code == 1)
        #expect(try await run(["sessions"], answer: "rubbish").code == 1)
        #expect(try await run(["top"], answer: no, status: "500 Internal Server Error").code == 1)
        #expect(try await run(["status"], answer: "", status: "500 Internal Server Error").code == 1)
    }

    @Test func nobodyThereIs69() async {
        for command in [["sessions"], ["top"], ["status"], ["reload"], ["disconnect", "ann"], ["hub", "identities"]] {
            #expect(await run(command + ["--socket", "/tmp/cwt-no-such-socket"]) == 69)
        }
    }

    @Test func aWrongConfigurationIs78() async throws {
        let file = "/tmp/cwt-\(UInt32.random(in: .min ... .max)).toml"
        defer { try? FileManager.default.removeItem(atPath: file) }
        #expect(await run(["check", "--config", file]) == 78)
        try Data("nonsense = 1\n".utf8).write(to: URL(fileURLWithPath: file))
        #expect(await run(["check", "--config", file]) == 78)
        #expect(await run(["serve", "--config", file]) == 78)
        for hub in ["config", "provision", "prune"] { #expect(await run(["hub", hub, "--config", file]) == 78) }
        #expect(await run(["hub", "identities", "--offline", "--config", file]) == 78)
    }
}

/// Answers every connection on a Unix socket in the same way and remembers the first line of what was asked.
private final class CannedServer: Sendable {
    let path = "/tmp/cwt-\(UInt32.random(in: .min ... .max)).sock"
    private let descriptor: CInt
    private let asked = Mutex<[String]>([])
    private let ended = DispatchSemaphore(value: 0)

    init(status: String, body: String) throws {
        descriptor = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard bound == 0, listen(descriptor, 8) == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        let answer = Array("HTTP/1.1 \(status)\r\ncontent-length: \(body.utf8.count)\r\nconnection: close\r\n\r\n\(body)".utf8)
        Thread.detachNewThread { [self] in
            while true {
                let connection = accept(descriptor, nil, nil)
                guard connection >= 0 else { break }
                var bytes = [UInt8](repeating: 0, count: 4096)
                let count = recv(connection, &bytes, bytes.count, 0)
                let text = String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
                asked.withLock { $0.append(text.split(separator: "\r\n").first.map(String.init) ?? "") }
                _ = send(connection, answer, answer.count, CInt(MSG_NOSIGNAL))
                close(connection)
            }
            ended.signal()
        }
    }

    /// What was asked.
    func stop() -> [String] {
        shutdown(descriptor, CInt(SHUT_RDWR))
        ended.wait()
        close(descriptor)
        unlink(path)
        return asked.withLock { $0 }
    }
}
