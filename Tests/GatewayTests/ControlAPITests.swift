import Foundation
import Hummingbird
import Logging
import NIOCore
import NIOEmbedded
import Synchronization
import Testing

@testable import Gateway

/// What administrators' scripts rely on: paths, statuses and field names. Requests go to the router without a socket.
@Suite struct ControlAPITests {
    struct Answer {
        var status: Int
        var contentType: String?
        var body: Data

        /// Keys and values as they are on the wire.
        var json: Any? { try? JSONSerialization.jsonObject(with: body) }
        var object: [String: Any] { json as? [String: Any] ?? [:] }
        var list: [[String: Any]] { json as? [[String: Any]] ?? [] }
        var text: String { String(decoding: body, as: UTF8.self) }
        var error: String? { (object["error"] as? [String: Any])?["message"] as? String }
    }

    func ask(
        _ method: HTTPRequest.Method, _ path: String, _ operations: FakeOperations = FakeOperations(), body: String = "", by actor: String? = nil
    ) async throws -> Answer {
        var head = HTTPRequest(method: method, scheme: "http", authority: "causeway", path: path)
        head.headerFields[Doorkeeper.actorField] = actor
        let response = try await ControlAPI.router(operations).buildResponder().respond(
            to: Request(head: head, body: RequestBody(buffer: ByteBuffer(string: body))),
            context: ControlContext(
                source: ApplicationRequestContextSource(channel: EmbeddedChannel(), logger: Logger(label: "test"))))
        let collector = Collector()
        try await response.body.write(collector)
        return Answer(
            status: response.status.code, contentType: response.headers[.contentType], body: Data(collector.bytes.withLock { $0 }))
    }

    // MARK: Names

    static let sessionFields: Set = [
        "id", "kind", "user", "state", "clientAddress", "gatewayAddress", "callID", "peerCallID", "innerAddress", "prefixes", "tunnel",
        "encryption", "mtu", "startedAt", "uptimeSeconds", "clientHostName", "clientVendor", "clientFirmware", "device", "packetsIn", "bytesIn",
        "packetsOut", "bytesOut", "reordered", "lost", "drops",
    ]
    static let tunnelFields: Set = [
        "name", "interface", "backend", "mode", "up", "publicKey", "listenPort", "peers", "hubs", "failovers", "lostPacketsAtMost", "problem",
    ]
    static let identityFields: Set = ["tunnel", "kind", "name", "publicKey", "addresses", "generation", "createdAt", "up", "sessions"]

    @Test func status() async throws {
        let answer = try await ask(.get, "/v1/status")
        #expect(answer.status == 200)
        #expect(answer.contentType == "application/json")
        #expect(
            Set(answer.object.keys) == [
                "version", "instance", "startedAt", "workers", "instructionSet", "gre", "controlConnections", "sessions", "openSessions",
                "endedSessions", "failedLogins", "control", "refused", "drops", "tunnels",
            ])
        #expect(answer.object["startedAt"] as? String == "2023-11-14T22:13:20Z")
        #expect(answer.object["control"] as? [String: Int] == ["bad_magic": 1])
        #expect((answer.object["tunnels"] as? [[String: Any]])?.count == 1)
    }

    @Test func tunnels() async throws {
        let answer = try await ask(.get, "/v1/tunnels")
        #expect(answer.status == 200)
        let tunnel = try #require(answer.list.first)
        #expect(Set(tunnel.keys) == Self.tunnelFields)
        let peer = try #require((tunnel["peers"] as? [[String: Any]])?.first)
        #expect(
            Set(peer.keys) == ["publicKey", "endpoint", "allowedIPs", "lastHandshakeSeconds", "receivedBytes", "sentBytes"])
        #expect(peer["allowedIPs"] as? [String] == ["0.0.0.0/0"])
        let hub = try #require((tunnel["hubs"] as? [[String: Any]])?.first)
        #expect(Set(hub.keys) == ["publicKey", "endpoint", "inUse", "answers"])
        // Slashes of keys stay as they are.
        #expect(!answer.text.contains("\\/"))
    }

    /// One that never completed a handshake has no such time.
    @Test(arguments: [("", ["ann", "bob"]), ("?tunnel=other", ["bob"]), ("?tunnel=none", [])])
    func identities(_ query: String, _ names: [String]) async throws {
        let answer = try await ask(.get, "/v1/identities\(query)")
        #expect(answer.status == 200)
        #expect(answer.list.map { $0["name"] as? String } == names)
        for identity in answer.list {
            #expect(Set(identity.keys) == Self.identityFields)
            #expect(identity["addresses"] as? [String] == ["10.8.0.10"])
        }
        // Whatever an identity is, its private key is nowhere.
        #expect(!answer.text.contains("yAnz5TF+"))
    }

    @Test func identitiesThatCannotBeRead() async throws {
        let answer = try await ask(.get, "/v1/identities", FakeOperations(reloadFails: true))
        #expect(answer.status == 500)
        #expect(answer.error?.isEmpty == false)
    }

    @Test func sessions() async throws {
        let answer = try await ask(.get, "/v1/sessions")
        #expect(answer.status == 200)
        #expect(answer.list.map { $0["id"] as? Int } == [1, 2, 3, 4])
        let first = try #require(answer.list.first)
        #expect(Set(first.keys) == Self.sessionFields)
        #expect(first["clientAddress"] as? String == "198.51.100.7")
        #expect(first["prefixes"] as? [String] == ["192.168.5.0/24"])
        #expect(first["drops"] as? [String: Int] == ["gre-late": 7])
        #expect(first["startedAt"] as? String == "2023-11-14T22:13:20Z")
        // What is not known is left out.
        let stranger = try #require(answer.list.last)
        #expect(Set(stranger.keys) == Self.sessionFields.subtracting(["user", "innerAddress", "tunnel", "mtu", "device"]))
    }

    @Test(arguments: [("ann", [1, 2]), ("bob", []), ("an", []), ("DOM%5Czo%C3%AB%20a%2Fb%3Fc%2520%26d", [3])])
    func sessionsOfAUser(_ query: String, _ ids: [Int]) async throws {
        let answer = try await ask(.get, "/v1/sessions?user=\(query)")
        #expect(answer.status == 200)
        #expect(answer.list.map { $0["id"] as? Int } == ids)
    }

    @Test func oneSession() async throws {
        let answer = try await ask(.get, "/v1/sessions/2")
        #expect(answer.status == 200)
        #expect(answer.object["id"] as? Int == 2)
        #expect(Set(answer.object.keys) == Self.sessionFields)
    }

    // MARK: Changes

    @Test func aSessionIsDisconnectedOnce() async throws {
        let operations = FakeOperations()
        let first = try await ask(.delete, "/v1/sessions/3", operations)
        #expect(first.status == 200)
        #expect(first.object["disconnected"] as? [Int] == [3])
        #expect(first.object.count == 1)
        let second = try await ask(.delete, "/v1/sessions/3", operations)
        #expect(second.status == 404)
        #expect(second.error == "no session 3")
        #expect(await operations.open.map(\.id) == [1, 2, 4])
    }

    @Test func aUserIsDisconnected() async throws {
        let operations = FakeOperations()
        let answer = try await ask(.delete, "/v1/users/ann/sessions", operations)
        #expect(answer.status == 200)
        #expect(answer.object["disconnected"] as? [Int] == [1, 2])
        #expect(await operations.open.map(\.id) == [3, 4])
        let again = try await ask(.delete, "/v1/users/ann/sessions", operations)
        #expect(again.status == 404)
        #expect(again.error == "user \"ann\" has no session")
    }

    /// A name may hold a backslash, a slash, a question mark, a percent sign, blanks and letters outside ASCII.
    @Test func aUserNameIsPercentEncoded() async throws {
        let operations = FakeOperations()
        let answer = try await ask(.delete, "/v1/users/DOM%5Czo%C3%AB%20a%2Fb%3Fc%2520%26d/sessions", operations)
        #expect(answer.object["disconnected"] as? [Int] == [3])
        #expect(await operations.open.map(\.id) == [1, 2, 4])
    }

    @Test func reload() async throws {
        let operations = FakeOperations()
        let answer = try await ask(.post, "/v1/reload", operations)
        #expect(answer.status == 200)
        #expect(answer.object["applied"] as? [String] == ["pool"])
        #expect(answer.object["needRestart"] as? [String] == ["listen"])
        #expect(answer.object.count == 2)
        #expect(await operations.reloads == 1)
    }

    // MARK: Errors

    @Test func aReloadThatFails() async throws {
        let answer = try await ask(.post, "/v1/reload", FakeOperations(reloadFails: true))
        #expect(answer.status == 422)
        #expect(answer.error == "causeway.toml:3: pool.ranges: \"x\" is no range")
        #expect(answer.object.count == 1)
    }

    @Test(arguments: [
        (HTTPRequest.Method.get, "/v1/sessions/99", 404), (.delete, "/v1/sessions/99", 404), (.get, "/v1/sessions/abc", 400),
        (.get, "/v1/sessions/-1", 400), (.delete, "/v1/sessions/18446744073709551616", 400), (.delete, "/v1/users/bob/sessions", 404),
        (.get, "/v1/nothing", 404), (.get, "/", 404), (.get, "/v2/status", 404), (.get, "/v1/reload", 404), (.post, "/v1/status", 404),
        (.delete, "/v1/users/ann", 503), (.get, "/v1/users", 503), (.get, "/v1/migration", 503), (.post, "/v1/waves/w/dance", 404),
        (.get, "/v1/users?phase=x", 400), (.post, "/v1/users", 400),
    ])
    func everyErrorHasAMessage(_ method: HTTPRequest.Method, _ path: String, _ status: Int) async throws {
        let operations = FakeOperations()
        let answer = try await ask(method, path, operations)
        #expect(answer.status == status)
        #expect(answer.contentType?.hasPrefix("application/json") == true)
        #expect(answer.error?.isEmpty == false, "\(answer.text)")
        #expect(await operations.open.count == 4)
        #expect(await operations.reloads == 0)
    }
}

final class Collector: ResponseBodyWriter {
    let bytes = Mutex<[UInt8]>([])
    func write(_ buffer: ByteBuffer) async throws { bytes.withLock { $0.append(contentsOf: buffer.readableBytesView) } }
    func finish(_ trailingHeaders: HTTPFields?) async throws {}
}
