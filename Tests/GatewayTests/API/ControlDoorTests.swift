import Authentication
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOEmbedded
import Store
import Testing
import Tokens

@testable import Gateway

/// Who gets in with which token, and what is written down about it. Requests go to the router without a socket.
@Suite(.timeLimit(.minutes(1))) struct ControlDoorTests {
    final class Gate: Sendable {
        let operations: FakeOperations
        let guardian: TokenGuard
        let texts: [TokenScope: String]

        init(_ directory: String, failures: Int = 10) async throws {
            let tokens = TokenFile(directory: directory + "/state")
            var texts: [TokenScope: String] = [:]
            for scope in TokenScope.allCases { texts[scope] = try await tokens.create("a-\(scope.rawValue)", scope).text }
            self.texts = texts
            operations = FakeOperations(tokens: tokens)
            guardian = TokenGuard(tokens, limits: .init(failures: failures, lockTime: .seconds(60)))
        }

        func ask(
            _ method: HTTPRequest.Method, _ path: String, _ authorization: String?, from source: String = "192.0.2.7", body: String = ""
        ) async throws -> (status: Int, headers: HTTPFields, body: String) {
            let channel = EmbeddedChannel()
            channel.remoteAddress = try SocketAddress(ipAddress: source, port: 40000)
            var head = HTTPRequest(method: method, scheme: "https", authority: "gw", path: path)
            head.headerFields[.authorization] = authorization
            head.headerFields[Doorkeeper.actorField] = "root"
            let response = try await ControlAPI.router(operations, door: .tokens(guardian)).buildResponder().respond(
                to: Request(head: head, body: RequestBody(buffer: ByteBuffer(string: body))),
                context: ControlContext(source: ApplicationRequestContextSource(channel: channel, logger: Logger(label: "test"))))
            let collector = Collector()
            try await response.body.write(collector)
            return (response.status.code, response.headers, String(decoding: collector.bytes.withLock { $0 }, as: UTF8.self))
        }
        func ask(_ method: HTTPRequest.Method, _ path: String, as scope: TokenScope, body: String = "") async throws -> Int {
            try await ask(method, path, "Bearer \(texts[scope]!)", body: body).status
        }
    }

    private func withGate(failures: Int = 10, _ body: (Gate) async throws -> Void) async throws {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        try await body(try await Gate(directory, failures: failures))
    }

    @Test func everyScopeMayDoItsOwnAndTheLesserOnes() async throws {
        let routes: [(HTTPRequest.Method, String, String, TokenScope)] = [
            (.get, "/v1/status", "", .read), (.get, "/v1/sessions", "", .read), (.get, "/v1/nothing", "", .read),
            (.delete, "/v1/sessions/99", "", .operate), (.delete, "/v1/users/nobody/sessions", "", .operate), (.post, "/v1/reload", "", .operate),
            (.get, "/v1/tokens", "", .admin), (.post, "/v1/tokens", "{}", .admin), (.delete, "/v1/tokens/none", "", .admin),
            // Whatever is not named needs most.
            (.post, "/v1/nothing", "", .admin), (.put, "/v1/status", "", .admin),
        ]
        try await withGate { gate in
            for (method, path, body, needed) in routes {
                for scope in TokenScope.allCases {
                    let status = try await gate.ask(method, path, as: scope, body: body)
                    #expect((status == 403) == (scope < needed), "\(method) \(path) as \(scope): \(status)")
                    #expect(status != 401)
                }
            }
        }
    }

    @Test func whoShowsNoTokenHearsNothing() async throws {
        try await withGate(failures: 100) { gate in
            let good = gate.texts[.admin]!
            for authorization in [nil, "", "Bearer", "Bearer ", "Basic \(good)", good, "Bearer \(good)0", "Bearer \(good) x", "Bearer " + String(repeating: "x", count: 600)] {
                for path in ["/v1/status", "/v1/nothing", "/"] {
                    let answer = try await gate.ask(.get, path, authorization)
                    #expect(answer.status == 401)
                    #expect(answer.headers[.wwwAuthenticate] == "Bearer")
                    #expect(!answer.body.contains("instance"))
                }
            }
            #expect(try await gate.ask(.get, "/v1/status", "bEARER  \(good)").status == 200)
            #expect(await gate.operations.audited.isEmpty)
            // What was shown is in no log line.
            #expect(await gate.operations.notes.allSatisfy { !$0.contains("cwt_") && $0.contains("192.0.2.7") })
        }
    }

    @Test func guessingIsSlowedDownAndLocksNobodyElseOut() async throws {
        try await withGate(failures: 3) { gate in
            for _ in 0..<3 { #expect(try await gate.ask(.get, "/v1/status", "Bearer x").status == 401) }
            let late = try await gate.ask(.get, "/v1/status", "Bearer \(gate.texts[.admin]!)")
            #expect(late.status == 429)
            #expect(late.headers[.retryAfter] == "60")
            #expect(try await gate.ask(.get, "/v1/status", "Bearer \(gate.texts[.admin]!)", from: "192.0.2.8").status == 200)
            // Locked attempts are not worth a line each.
            #expect(await gate.operations.notes.count == 3)
            let later = ContinuousClock.now + .seconds(61)
            #expect(try await gate.guardian.verdict(on: gate.texts[.read], from: .init("192.0.2.7")!, now: later) != .tooManyFailures)
        }
    }

    @Test(arguments: [("::ffff:192.0.2.1", "192.0.2.1"), ("::FFFF:192.0.2.1", "192.0.2.1"), ("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "2001:db8::1")])
    func addressesOfBothFamilies(text: String, address: String) { #expect(ControlContext.address(text)?.description == address) }

    @Test func everyChangeIsWrittenDownWithItsBearerWhateverTheClientSays() async throws {
        try await withGate { gate in
            _ = try await gate.ask(.get, "/v1/sessions", as: .read)
            _ = try await gate.ask(.delete, "/v1/sessions/1", as: .operate)
            _ = try await gate.ask(.delete, "/v1/sessions/99", as: .operate)
            _ = try await gate.ask(.delete, "/v1/sessions/2", as: .read)
            let events = await gate.operations.audited
            #expect(events.map(\.text) == ["DELETE /v1/sessions/1: 200", "DELETE /v1/sessions/99: 404"])
            #expect(events.allSatisfy { $0.actor == Actor(name: "a-operate", source: "192.0.2.7") && $0.kind == "api" })
            #expect(await gate.operations.open.map(\.id) == [2, 3, 4])
        }
    }

    @Test func aRevokedTokenIsOverAtOnce() async throws {
        try await withGate { gate in
            let revoked = try await gate.ask(.delete, "/v1/tokens/a-operate", as: .admin)
            let its = try await gate.ask(.get, "/v1/status", as: .operate), another = try await gate.ask(.get, "/v1/status", as: .read)
            #expect(revoked == 200 && its == 401 && another == 200)
        }
    }

    @Test func tokensAreMadeListedAndTakenAway() async throws {
        try await withGate { gate in
            let admin = "Bearer \(gate.texts[.admin]!)"
            let made = try await gate.ask(.post, "/v1/tokens", admin, body: #"{"name":"new","scope":"read","days":1}"#)
            #expect(made.status == 200)
            let view = try decoder.decode(TokenCreatedView.self, from: Data(made.body.utf8))
            #expect(view.token.name == "new" && view.token.scope == .read && view.token.expiresAt != nil && !view.token.expired)
            #expect(try await gate.ask(.get, "/v1/status", "Bearer \(view.text)").status == 200)
            let list = try await gate.ask(.get, "/v1/tokens", admin).body
            #expect(!list.contains("cwt_") && !list.contains("hash"))
            #expect(try decoder.decode([TokenView].self, from: Data(list.utf8)).map(\.name) == ["a-admin", "a-operate", "a-read", "new"])
            for (body, status) in [
                (#"{"name":"new","scope":"read"}"#, 409), (#"{"name":"a b","scope":"read"}"#, 400), (#"{"name":"x","scope":"root"}"#, 400),
                (#"{"name":"x","scope":"read","days":0}"#, 400), (#"{"scope":"read"}"#, 400), ("x", 400), ("", 400),
            ] { #expect(try await gate.ask(.post, "/v1/tokens", admin, body: body).status == status, "\(body)") }
            #expect(try await gate.ask(.delete, "/v1/tokens/none", admin).status == 404)
        }
    }

    /// A file that anybody could have written lets nobody in, and does not say why to strangers.
    @Test func tokensThatCannotBeTrusted() async throws {
        let directory = try temporaryDirectory()
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let gate = try await Gate(directory)
        try Data("{}".utf8).write(to: URL(fileURLWithPath: directory + "/state/tokens.json"))
        chmod(directory + "/state/tokens.json", 0o666)
        let answer = try await gate.ask(.get, "/v1/status", "Bearer \(gate.texts[.admin]!)")
        #expect(answer.status == 503)
        #expect(!answer.body.contains("tokens.json"))
        #expect(await gate.operations.notes.contains { $0.contains("tokens.json") })
    }

    private var decoder: JSONDecoder {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        return decoder
    }
}
