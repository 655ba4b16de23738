import Authentication
import Foundation
import HTTPTypes
import Hummingbird
import Logging
import Migration
import MigrationTracker
import NIOCore
import ServiceLifecycle
import Settings
import Store
import Synchronization
import Testing
import Webhooks
import WebhooksHTTP

@testable import Gateway
@testable import LegacyClient

/// What a receiver has got, in order.
private final class Received: Sendable {
    struct Message: Sendable {
        var signature: String?
        var body: [UInt8]
        var json: [String: Any] { (try? JSONSerialization.jsonObject(with: Data(body))) as? [String: Any] ?? [:] }
    }
    private let messages = Mutex<[Message]>([])
    func add(_ message: Message) { messages.withLock { $0.append(message) } }
    var all: [Message] { messages.withLock { $0 } }
    var kinds: [String] { all.map { $0.json["event"] as? String ?? "" } }
}

extension GatewayNamespace {
    /// From a device that dials to a message at somebody else's web server: controller, tracker, database, desk, dispatcher, HTTP.
    @Suite(.timeLimit(.minutes(1))) struct WebhookPathTests {
        static let secret = Secret(utf8: "0123456789abcdef")

        /// A web server on a port of the system's choice.
        private func receiving(_ body: (String, Received) async throws -> Void) async throws {
            let received = Received()
            let router = Router()
            router.post("hook") { request, _ in
                let body = try await request.body.collect(upTo: 65536)
                received.add(.init(signature: request.headers[HTTPField.Name(WebhookSignature.header)!], body: Array(body.readableBytesView)))
                return HTTPResponse.Status.noContent
            }
            let (ports, tell) = AsyncStream.makeStream(of: Int.self)
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let application = Application(
                router: router, configuration: .init(address: .hostname("127.0.0.1", port: 0)),
                onServerRunning: { channel in tell.yield(channel.localAddress?.port ?? 0) }, logger: logger)
            let group = ServiceGroup(configuration: .init(services: [.init(service: application)], logger: logger))
            let server = Task { try await group.run() }
            let port = try #require(await ports.first { _ in true })
            do { try await body("http://127.0.0.1:\(port)/hook", received) } catch { Issue.record(error) }
            await group.triggerGracefulShutdown()
            try await server.value
        }

        @Test func aDeviceThatDialsIsHeardOf() async throws {
            let directory = try temporaryDirectory()
            defer { try? FileManager.default.removeItem(atPath: directory) }
            var logger = Logger(label: "test")
            logger.logLevel = .critical
            let bulletin = Bulletin()
            let configuration = try sample("[store]\npath = \"\(directory)/causeway.db\"\n[migration]\nquiet-days = 0\n", secrets: Rig.secrets)
            let desk = try await MigrationDesk.open(configuration, bulletin: bulletin, logger: logger)
            try await receiving { url, received in
                let dispatcher = WebhookDispatcher(instance: "gw-1", transport: { HTTPTransport() }, logger: logger)
                await dispatcher.apply([try WebhookReceiver(url: url, secret: Self.secret)])
                let feed = WebhookFeed(dispatcher: dispatcher, subscription: try #require(bulletin.subscribe(backlog: 100)), logger: logger)
                let feeding = Task { await feed.run() }
                let running = Task { await desk.run() }
                try await Rig.run(book: desk.tracker, bulletin: bulletin) { rig in
                    let client = try await rig.client("ann", "annspw")
                    await eventually("the session is up") { await client.phase() == .up }
                    await eventually("the first log-in is heard of") { received.kinds == ["first-legacy-login"] }
                    await rig.end(client)
                    await eventually("the session's end is written down") {
                        (try? await desk.store.sessions(SessionFilter(openOnly: true), before: nil, limit: 1).elements.isEmpty) == true
                    }
                    // The user's own peer is seen, and there were no quiet days to wait for.
                    await desk.tracker.nativeSeen(["ann"])
                    await desk.tracker.flush()
                    await eventually("the migration is heard of") { received.kinds.count == 3 }
                    _ = try await desk.store.change("ann", by: Actor(name: "root", source: "socket")) { user in
                        user.set(.retired, at: SessionController.unixTime, by: "root", reason: "PPTP is over")
                    }
                    try await desk.tracker.refresh()
                    for _ in 0..<2 {
                        let late = try await rig.client("ann", "annspw")
                        await eventually("it is turned away") { await late.phase() == .failed }
                        await rig.end(late)
                    }
                    await eventually("the refusal is heard of") { received.kinds.count == 4 }
                }
                bulletin.finish()
                await feeding.value
                let counts = try #require(await dispatcher.counts().first)
                #expect(counts.arrived == 4 && counts.waiting == 0 && counts.givenUp == 0 && counts.dropped == 0)
                await dispatcher.stop()
                running.cancel()
                await running.value
                // The second refusal within the hour says nothing new.
                #expect(received.kinds == ["first-legacy-login", "phase-change", "last-legacy-login", "login-refused"])
                let now = SessionController.unixTime
                for message in received.all {
                    #expect(message.json["user"] as? String == "ann")
                    #expect(message.json["instance"] as? String == "gw-1")
                    #expect(WebhookSignature.isValid(message.signature ?? "", of: message.body, secret: Self.secret, at: now))
                }
                #expect(received.all[1].json["to"] as? String == "migrated")
                #expect((received.all[2].json["legacyAt"] as? Int64).map { abs($0 - now) < 60 } == true)
                #expect((received.all[3].json["reason"] as? String)?.contains("retired") == true)
            }
            await desk.stop()
        }
    }
}
