import Authentication
import Logging
import Migration
import Synchronization
import Testing

@testable import Webhooks

/// Answers by the address, and keeps what it got.
private final class FakeTransport: WebhookTransport {
    struct Down: Error {}
    let sent = Mutex<[(url: String, body: String)]>([])
    let shutdowns = Mutex(0)

    func send(_ request: WebhookRequest) async throws -> WebhookResponse {
        if request.url.hasSuffix("/down") { throw Down() }
        if request.url.hasSuffix("/hangs") { try await Task.sleep(for: .seconds(60)) }
        sent.withLock { $0.append((request.url, String(decoding: request.body, as: UTF8.self))) }
        return WebhookResponse(status: 200)
    }
    func shutdown() { shutdowns.withLock { $0 += 1 } }
    func users(at url: String) -> Int { sent.withLock { $0.count { $0.url == url } } }
}

@Suite(.timeLimit(.minutes(1))) final class WebhookDispatcherTests: Sendable {
    private let secret = Secret(utf8: "a secret of the receiver")
    private let time = Mutex<UnixTime>(1_700_000_000)

    private func dispatcher(_ transport: FakeTransport) -> WebhookDispatcher {
        WebhookDispatcher(
            instance: "gw-1", transport: { transport }, clock: { self.time.withLock { $0 } },
            logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
    }
    private func receiver(_ name: String, events: Set<String> = []) throws -> WebhookReceiver {
        try WebhookReceiver(url: "https://\(name)", secret: secret, events: events)
    }
    private func until(_ what: Comment, _ isSo: () async -> Bool) async throws {
        for _ in 0..<2000 {
            if await isSo() { return }
            try await Task.sleep(for: .milliseconds(5))
        }
        Issue.record(what)
    }

    @Test func `a receiver that is away keeps nobody else waiting, and the counts say so`() async throws {
        let transport = FakeTransport(), dispatcher = dispatcher(transport)
        await dispatcher.apply([try receiver("a/down"), try receiver("b/hook"), try receiver("c/hook", events: ["phase-change"])])
        for user in ["ann", "bob"] { await dispatcher.post(.firstLegacyLogin, user: user) }
        try await until("both arrive at b") { transport.users(at: "https://b/hook") == 2 }
        try await until("they are counted") { await dispatcher.counts()[1].arrived == 2 }
        #expect(
            await dispatcher.counts() == [
                .init(url: "https://a/down", waiting: 2, arrived: 0, givenUp: 0, dropped: 0),
                .init(url: "https://b/hook", waiting: 0, arrived: 2, givenUp: 0, dropped: 0),
                .init(url: "https://c/hook", waiting: 0, arrived: 0, givenUp: 0, dropped: 0),
            ])
        await dispatcher.stop()
        #expect(transport.shutdowns.withLock { $0 } == 1)
    }

    @Test func `what waits for a receiver that stays survives a change of the others`() async throws {
        let transport = FakeTransport(), dispatcher = dispatcher(transport)
        let stays = try receiver("a/down"), goes = try receiver("b/down")
        await dispatcher.apply([stays, goes])
        await dispatcher.post(.firstLegacyLogin, user: "ann")
        await dispatcher.apply([try receiver("c/hook"), stays])
        #expect(await dispatcher.counts().map(\.waiting) == [0, 1])
        // Another secret is another receiver.
        await dispatcher.apply([try WebhookReceiver(url: stays.url, secret: Secret(utf8: "another secret of it"))])
        #expect(await dispatcher.counts().map(\.waiting) == [0])
        await dispatcher.stop()
    }

    @Test func `a user who is refused again and again is one message an hour`() async throws {
        let transport = FakeTransport(), dispatcher = dispatcher(transport)
        await dispatcher.apply([try receiver("a/hook")])
        for _ in 0..<5 { await dispatcher.post(.loginRefused(reason: "retired"), user: "ann") }
        await dispatcher.post(.loginRefused(reason: "retired"), user: "bob")
        time.withLock { $0 += 3599 }
        await dispatcher.post(.loginRefused(reason: "retired"), user: "ann")
        time.withLock { $0 += 1 }
        await dispatcher.post(.loginRefused(reason: "retired"), user: "ann")
        try await until("three arrive") { await dispatcher.counts()[0].arrived == 3 }
        await dispatcher.stop()
        #expect(transport.users(at: "https://a/hook") == 3)
    }

    @Test func `the end delivers what can be delivered, and waits for no one else`() async throws {
        let transport = FakeTransport(), dispatcher = dispatcher(transport)
        await dispatcher.apply([try receiver("a/down"), try receiver("b/hangs"), try receiver("c/hook")])
        for number in 0..<50 { await dispatcher.post(.firstLegacyLogin, user: "u\(number)") }
        let began = ContinuousClock.now
        await dispatcher.stop(patience: .seconds(3))
        // The one that hangs does so for a minute; threads of a busy machine may be late as well.
        #expect(ContinuousClock.now - began < .seconds(45))
        #expect(transport.users(at: "https://c/hook") == 50)
    }

    @Test func `nobody listens`() async {
        let transport = FakeTransport(), dispatcher = dispatcher(transport)
        await dispatcher.post(.firstLegacyLogin, user: "ann")
        await dispatcher.stop()
        #expect(transport.shutdowns.withLock { $0 } == 0)
    }

    @Test func `the memory of refusals is bounded`() {
        var filter = RepeatFilter()
        let count = RepeatFilter.capacity * 2 + 1
        let new = (0..<count).count { filter.isNew("u\($0)", at: 0) }
        #expect(new == count)
        let again = filter.isNew("u\(count - 1)", at: 1)
        #expect(!again)
    }
}
