import Addresses
import Authentication
import Foundation
import Glibc
import Logging
import NIOCore
import ServiceLifecycle
import Settings
import Testing
import Tokens

@testable import Gateway

/// The API over real TLS connections, with the client that the subcommands use.
@Suite(.timeLimit(.minutes(1))) struct APIServerTests {
    /// A certificate for 127.0.0.1 and "gateway.test" that is its own authority.
    private static func makeCertificate(_ directory: String, _ name: String, for subject: String = "IP:127.0.0.1,DNS:gateway.test") async throws {
        try await onAThread {
            let process = Process()
            process.executableURL = URL(fileURLWithPath: "/usr/bin/openssl")
            process.arguments = [
                "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj", "/CN=\(name)",
                "-addext", "subjectAltName=\(subject)", "-keyout", "\(directory)/\(name).key", "-out", "\(directory)/\(name).pem",
            ]
            process.standardError = FileHandle.nullDevice
            try process.run()
            process.waitUntilExit()
            guard process.terminationStatus == 0 else { throw GatewayError("openssl cannot make a certificate") }
        }
    }

    private static func settings(_ directory: String, _ name: String, key: String? = nil) throws -> CausewayConfiguration.API {
        let keyFile = "\(directory)/\(key ?? name).key"
        return .init(
            listen: Endpoint("127.0.0.1:0")!, certificateFile: "\(directory)/\(name).pem", privateKeyFile: keyFile,
            privateKey: Secret(Array(try Data(contentsOf: URL(fileURLWithPath: keyFile)))))
    }

    /// A server with an administrator's token.
    private func serving(_ body: @Sendable @escaping (String, UInt16, String, APICertificate) async throws -> Void) async throws {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try await Self.makeCertificate(directory, "first")
        let operations = FakeOperations(tokens: TokenFile(directory: directory + "/state"))
        let token = try await operations.tokens.create("ann", .admin).text
        let certificate = try APICertificate(try Self.settings(directory, "first"))
        var logger = Logger(label: "test")
        logger.logLevel = .critical
        let (ports, tell) = AsyncStream.makeStream(of: Int.self)
        let server = APIServer(
            Endpoint("127.0.0.1:0")!, certificate, router: ControlAPI.router(operations, door: .tokens(TokenGuard(operations.tokens))), logger: logger,
            onRunning: { tell.yield($0.localAddress?.port ?? 0) })
        let group = ServiceGroup(configuration: .init(services: [.init(service: Served(server: server))], logger: logger))
        let running = Task { try await group.run() }
        let port = try #require(await ports.first { _ in true })
        do { try await body(directory, UInt16(port), token, certificate) } catch { Issue.record(error) }
        await group.triggerGracefulShutdown()
        try await running.value
    }

    private struct Served: Service {
        let server: APIServer
        func run() async throws { try await server.run() }
    }

    private func client(_ host: String, _ port: UInt16, _ token: String, _ authorities: String?) throws -> ControlClient {
        ControlClient(try #require(ControlPlace.network("https://\(host):\(port)", token: token, authorities: authorities)))
    }

    @Test func aTokenIsAllThatIsNeeded() async throws {
        try await serving { directory, port, token, _ in
            let ann = try client("127.0.0.1", port, token, "\(directory)/first.pem")
            #expect(try await ann.get("/v1/status", as: StatusView.self) == .sample)
            #expect(try await ann.delete("/v1/sessions/3", as: [String: [UInt64]].self) == ["disconnected": [3]])
            let made = try await ann.send(.post, "/v1/tokens", NewToken(name: "bob", scope: .read, days: nil), as: TokenCreatedView.self)
            let other = try self.client("127.0.0.1", port, made.text, "\(directory)/first.pem")
            #expect(try await other.get("/v1/sessions", as: [SessionView].self).count == 3)
            do {
                _ = try await other.post("/v1/reload", as: ReloadView.self)
                Issue.record("a reader has reloaded")
            } catch ControlError.failed(let text) { #expect(text.contains("scope operate")) }
            for wrong in ["", "cwt_0", token + "0"] {
                do {
                    _ = try await self.client("127.0.0.1", port, wrong, "\(directory)/first.pem").get("/v1/status", as: StatusView.self)
                    Issue.record("\(wrong) got in")
                } catch ControlError.failed(let text) { #expect(text.contains("a valid token is needed")) }
            }
        }
    }

    /// Nobody's token goes to a server that is not the one that was meant.
    @Test func aCertificateOfAnotherIsRefused() async throws {
        try await serving { directory, port, token, certificate in
            try await Self.makeCertificate(directory, "stranger")
            try await expectRefusal(try client("127.0.0.1", port, token, "\(directory)/stranger.pem"))
            // The host's own authorities do not know it.
            try await expectRefusal(try client("127.0.0.1", port, token, nil))
            // The right authority, for another name.
            try await Self.makeCertificate(directory, "elsewhere", for: "DNS:elsewhere.test,IP:192.0.2.1")
            certificate.show(try APICertificate.read(try Self.settings(directory, "elsewhere")))
            try await expectRefusal(try client("127.0.0.1", port, token, "\(directory)/elsewhere.pem"))
        }
    }

    private func expectRefusal(_ client: ControlClient) async throws {
        let error = await #expect(throws: ControlError.self) { _ = try await client.get("/v1/status", as: StatusView.self) }
        #expect("\(error!)".contains("certificate") && "\(error!)".contains("--ca-file"))
    }

    @Test func aRenewedCertificateIsShownAtOnceAndABadOneIsNot() async throws {
        try await serving { directory, port, token, certificate in
            try await Self.makeCertificate(directory, "second")
            let first = try APICertificate.read(try Self.settings(directory, "first")), second = try APICertificate.read(try Self.settings(directory, "second"))
            #expect(!certificate.show(first) && certificate.show(second) && !certificate.show(second))
            #expect(try await client("127.0.0.1", port, token, "\(directory)/second.pem").get("/v1/status", as: StatusView.self) == .sample)
            try await expectRefusal(try client("127.0.0.1", port, token, "\(directory)/first.pem"))
            // Of two pairs one half each, and no certificate at all.
            for bad in [("first", "second"), ("second", "first")] {
                let settings = try Self.settings(directory, bad.0, key: bad.1)
                #expect(throws: GatewayError.self) { _ = try APICertificate.read(settings) }
            }
            var none = try Self.settings(directory, "first")
            none.certificateFile = "\(directory)/none.pem"
            #expect(throws: GatewayError.self) { _ = try APICertificate.read(none) }
            none = try Self.settings(directory, "first")
            none.privateKey = Secret(utf8: "no key")
            #expect(throws: GatewayError.self) { _ = try APICertificate.read(none) }
            #expect(try await client("127.0.0.1", port, token, "\(directory)/second.pem").get("/v1/status", as: StatusView.self) == .sample)
        }
    }

    /// What speaks no TLS, or nothing at all, gets no answer and keeps nobody else out.
    @Test func strangersAtTheDoor() async throws {
        try await serving { directory, port, token, _ in
            let mute = try await onAThread { try Self.connect(port) }
            defer { close(mute) }
            let answer = try await onAThread {
                let plain = try Self.connect(port)
                defer { close(plain) }
                let request = Array("GET /v1/status HTTP/1.1\r\nHost: gw\r\n\r\n".utf8)
                _ = send(plain, request, request.count, Int32(MSG_NOSIGNAL))
                var buffer = [UInt8](repeating: 0, count: 4096)
                let count = recv(plain, &buffer, buffer.count, 0)
                return String(decoding: buffer.prefix(max(0, count)), as: UTF8.self)
            }
            #expect(!answer.contains("HTTP/1.1"))
            #expect(try await client("127.0.0.1", port, token, "\(directory)/first.pem").get("/v1/status", as: StatusView.self) == .sample)
        }
    }

    private static func connect(_ port: UInt16) throws -> Int32 {
        let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_port = port.bigEndian
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
        }
        guard result == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        return descriptor
    }
}
