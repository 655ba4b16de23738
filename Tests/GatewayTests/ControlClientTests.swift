import Foundation
import Hummingbird
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import Testing

@testable import Gateway

/// The client that the subcommands use, against the API on a real Unix socket.
@Suite(.timeLimit(.minutes(1))) struct ControlClientTests {
    /// Runs `body` while `router` is served on a socket in a directory of its own.
    func serving<R: Sendable>(
        _ router: Router<ControlContext>, _ body: @Sendable @escaping (ControlClient) async throws -> R
    ) async throws -> R {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/causeway.sock"
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let (ready, isReady) = AsyncStream.makeStream(of: Void.self)
        let application = Application(
            router: router, configuration: .init(address: .unixDomainSocket(path: path), serverName: "causeway"),
            onServerRunning: { _ in isReady.yield() }, logger: logger)
        let group = ServiceGroup(configuration: .init(services: [.init(service: application)], logger: logger))
        return try await withThrowingTaskGroup(of: Void.self) { tasks in
            tasks.addTask { try await group.run() }
            _ = await ready.first { _ in true }
            let result: Result<R, any Error>
            do { result = .success(try await body(ControlClient(socketPath: path))) } catch { result = .failure(error) }
            await group.triggerGracefulShutdown()
            try await tasks.waitForAll()
            return try result.get()
        }
    }

    func served<R: Sendable>(_ body: @Sendable @escaping (ControlClient) async throws -> R) async throws -> R {
        try await serving(ControlAPI.router(FakeOperations()), body)
    }

    @Test func answersAreDecoded() async throws {
        try await served { client in
            #expect(try await client.get("/v1/status", as: StatusView.self) == .sample)
            #expect(try await client.get("/v1/tunnels", as: [TunnelView].self) == [.sample])
            let sessions = try await client.get("/v1/sessions", as: [SessionView].self)
            #expect(sessions == [.sample(1, user: "ann"), .sample(2, user: "ann"), .sample(3, user: FakeOperations.oddName), .sample(4, user: nil)])
            #expect(try await client.get("/v1/sessions/4", as: SessionView.self) == .sample(4, user: nil))
            #expect(try await client.post("/v1/reload", as: ReloadView.self) == ReloadView(applied: ["pool"], needRestart: ["listen"]))
            #expect(try await client.delete("/v1/users/ann/sessions", as: [String: [UInt64]].self) == ["disconnected": [1, 2]])
            #expect(try await client.delete("/v1/sessions/3", as: [String: [UInt64]].self) == ["disconnected": [3]])
        }
    }

    @Test func whatIsNotThereIsSaid() async throws {
        try await served { client in
            for (path, words) in [
                ("/v1/sessions/77", "no session 77"), ("/v1/users/bob/sessions", "user \"bob\" has no session"),
            ] {
                do {
                    _ = try await client.delete(path, as: [String: [UInt64]].self)
                    Issue.record("\(path) was found")
                } catch ControlError.notFound(let text) {
                    #expect(text == words)
                }
            }
        }
    }

    @Test func aRefusalKeepsTheGatewaysWords() async throws {
        try await serving(ControlAPI.router(FakeOperations(reloadFails: true))) { client in
            do {
                _ = try await client.post("/v1/reload", as: ReloadView.self)
                Issue.record("it was reloaded")
            } catch ControlError.failed(let text) {
                #expect(text == "causeway.toml:3: pool.ranges: \"x\" is no range")
            }
        }
    }

    @Test func anAnswerOfAnotherVersionIsSaid() async throws {
        try await served { client in
            do {
                _ = try await client.get("/v1/status", as: ReloadView.self)
                Issue.record("a status passed for a reload")
            } catch ControlError.failed(let text) {
                #expect(text.hasPrefix("the gateway's answer cannot be read (is it another version?)"))
            }
        }
    }

    /// An error that comes without our words, from a proxy for example.
    @Test func anErrorWithoutABodyIsItsStatus() async throws {
        let router = Router(context: ControlContext.self)
        router.get("bare") { _, _ in Response(status: .badGateway) }
        try await serving(router) { client in
            do {
                _ = try await client.get("/bare", as: ReloadView.self)
                Issue.record("502 passed")
            } catch ControlError.failed(let text) {
                #expect(text.contains("502"))
            }
        }
    }

    @Test func manyAskAtOnce() async throws {
        try await served { client in
            try await withThrowingTaskGroup(of: Int.self) { group in
                for _ in 0..<50 { group.addTask { try await client.get("/v1/sessions", as: [SessionView].self).count } }
                for try await count in group { #expect(count == 4) }
            }
        }
    }

    // MARK: Nobody there

    @Test func noSocket() async throws {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        await expectUnreachable(directory + "/none.sock")
        #expect(!UnixSocket.isAnswered(directory + "/none.sock"))
    }

    /// What a killed gateway leaves: the file, and nobody behind it.
    @Test func aStaleSocket() async throws {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/stale.sock"
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton).bind(unixDomainSocketPath: path).get()
        #expect(UnixSocket.isAnswered(path))
        // A link keeps the file, which the server removes when it closes.
        try FileManager.default.linkItem(atPath: path, toPath: path + "2")
        try await server.close()
        // A program that another test starts holds a copy of the socket until its exec.
        await eventually("nobody holds the socket") { !UnixSocket.isAnswered(path + "2") }
        await expectUnreachable(path + "2")
    }

    @Test func aPathThatIsTooLong() async {
        let path = "/tmp/" + String(repeating: "x", count: 200)
        #expect(!UnixSocket.isAnswered(path))
        await expectUnreachable(path)
    }

    func expectUnreachable(_ path: String) async {
        do {
            _ = try await ControlClient(socketPath: path).get("/v1/status", as: StatusView.self)
            Issue.record("\(path) answered")
        } catch let error as ControlError {
            guard case .unreachable(let named, _) = error else {
                Issue.record("\(error)")
                return
            }
            #expect(named == .socket(path))
            #expect("\(error)".contains("cannot reach the gateway at \(path)"))
        } catch {
            Issue.record("\(error) is not for an administrator")
        }
    }

    /// A server that takes the connection and hangs up.
    @Test func aServerThatSaysNothing() async throws {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let path = directory + "/mute.sock"
        let server = try await ServerBootstrap(group: MultiThreadedEventLoopGroup.singleton)
            .childChannelInitializer { $0.close() }
            .bind(unixDomainSocketPath: path).get()
        do {
            _ = try await ControlClient(socketPath: path).get("/v1/status", as: StatusView.self)
            Issue.record("it answered")
        } catch let error as ControlError {
            guard case .failed = error else {
                Issue.record("\(error)")
                try await server.close()
                return
            }
        }
        try await server.close()
    }
}

/// Short enough for a socket's path.
func temporaryDirectory() throws -> String {
    let path = "/tmp/cwt-" + String(UInt32.random(in: .min ... .max), radix: 36)
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false, attributes: [.posixPermissions: 0o700])
    return path
}
