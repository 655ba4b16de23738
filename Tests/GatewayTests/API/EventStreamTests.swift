import Foundation
import Glibc
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import NIOEmbedded
import Synchronization
import Testing

@testable import Gateway

/// Takes a body as it is written.
private final class Page: ResponseBodyWriter, Sendable {
    struct Gone: Error {}
    let text = Mutex("")
    let isGone = Mutex(false)
    func write(_ buffer: ByteBuffer) async throws {
        if isGone.withLock({ $0 }) { throw Gone() }
        text.withLock { $0 += String(buffer: buffer) }
    }
    func finish(_ trailingHeaders: HTTPFields?) async throws {}
    var now: String { text.withLock { $0 } }
}

@Suite(.timeLimit(.minutes(1))) struct EventStreamTests {
    private static let session = Happening.Session(
        id: 7, kind: "pptp", user: "ann", clientAddress: .init("198.51.100.7")!, innerAddress: .init("10.8.0.10")!, tunnel: "hub")

    private func open(_ operations: FakeOperations, _ path: String = "/v1/events", heartbeat: Duration = .seconds(15)) async throws -> Response {
        let router = Router(context: ControlContext.self)
        ControlAPI.addEvents(to: router.group("v1"), operations, heartbeat: heartbeat)
        return try await router.buildResponder().respond(
            to: Request(head: HTTPRequest(method: .get, scheme: "http", authority: "gw", path: path), body: RequestBody(buffer: ByteBuffer())),
            context: ControlContext(source: ApplicationRequestContextSource(channel: EmbeddedChannel(), logger: Logger(label: "test"))))
    }

    @Test func whatHappensIsWritten() async throws {
        let operations = FakeOperations(), page = Page()
        let response = try await open(operations)
        #expect(response.headers[.contentType] == "text/event-stream")
        operations.bulletin.tell(.sessionOpened(Self.session))
        operations.bulletin.tell(.sessionClosed(Self.session, reason: "a line\nand another"))
        operations.bulletin.finish()
        try await response.body.write(page)
        let parts = page.now.components(separatedBy: "\n\n").filter { !$0.isEmpty }
        #expect(parts.count == 3 && parts[0].hasPrefix(":"))
        let lines = parts[1].components(separatedBy: "\n")
        #expect(lines[0] == "id: 1" && lines[1] == "event: session-opened" && lines.count == 3)
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        let view = try decoder.decode(EventView.self, from: Data(lines[2].dropFirst("data: ".count).utf8))
        #expect(view.user == "ann" && view.session == 7 && view.innerAddress?.description == "10.8.0.10" && view.tunnel == "hub")
        // No line break of ours makes two fields of one.
        #expect(parts[2].components(separatedBy: "\n").count == 3)
    }

    @Test func onlyTheKindsThatWereAskedFor() async throws {
        let operations = FakeOperations(), page = Page()
        let response = try await open(operations, "/v1/events?kind=tunnel-up,tunnel-down")
        operations.bulletin.tell(.sessionOpened(Self.session))
        operations.bulletin.tell(.tunnelDown("hub", problem: "gone"))
        operations.bulletin.finish()
        try await response.body.write(page)
        #expect(!page.now.contains("session-opened") && page.now.contains("event: tunnel-down"))
        #expect(try await open(FakeOperations(), "/v1/events?kind=tunnel-sideways").status == .badRequest)
    }

    @Test func whoIsTooSlowIsToldHowMuchWasLost() async throws {
        let operations = FakeOperations(), page = Page()
        let response = try await open(operations)
        for _ in 0..<(ControlAPI.eventBacklog + 5) { operations.bulletin.tell(.tunnelUp("hub")) }
        operations.bulletin.finish()
        try await response.body.write(page)
        #expect(page.now.contains("event: lost\ndata: {\"count\":5}"))
        #expect(page.now.components(separatedBy: "event: tunnel-up").count == ControlAPI.eventBacklog + 1)
    }

    /// Somebody who has gone without a word is noticed by the heartbeat, and the place is free again.
    @Test func aHeartbeatGoesOutAndFreesThePlaceOfWhoIsGone() async throws {
        let operations = FakeOperations(), page = Page()
        let response = try await open(operations, heartbeat: .milliseconds(20))
        let writing = Task { [body = response.body] in try await body.write(page) }
        await eventually("the heart beats") { page.now.components(separatedBy: ":\n\n").count > 3 }
        #expect(operations.bulletin.subscriberCount == 1)
        page.isGone.withLock { $0 = true }
        await #expect(throws: Page.Gone.self) { try await writing.value }
    }

    /// Over a socket; and a gateway that stops does not wait for those who listen.
    @Test func aListenerIsThereUntilTheGatewayStops() async throws {
        let operations = FakeOperations()
        let descriptor = try await ControlClientTests().serving(ControlAPI.router(operations)) { client in
            guard case .socket(let path) = client.place else { return Int32(-1) }
            let descriptor = try await onAThread { try Self.connect(path) }
            let request = Array("GET /v1/events HTTP/1.1\r\nHost: gw\r\n\r\n".utf8)
            #expect(send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count)
            let head = try await onAThread { Self.read(descriptor, until: "from now on") }
            #expect(head.hasPrefix("HTTP/1.1 200") && head.lowercased().contains("text/event-stream"))
            operations.bulletin.tell(.tunnelUp("hub"))
            let event = try await onAThread { Self.read(descriptor, until: "\n\n") }
            #expect(event.contains("event: tunnel-up"))
            #expect(operations.bulletin.subscriberCount == 1)
            return descriptor
        }
        close(descriptor)
        await eventually("the place is free") { operations.bulletin.subscriberCount == 0 }
    }

    private static func connect(_ path: String) throws -> Int32 {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8.prefix($0.count - 1)) }
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { Glibc.connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard result == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        return descriptor
    }

    private static func read(_ descriptor: Int32, until end: String) -> String {
        var text = ""
        var buffer = [UInt8](repeating: 0, count: 4096)
        while !text.contains(end) {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { return text }
            text += String(decoding: buffer.prefix(count), as: UTF8.self)
        }
        return text
    }

    @Test func placesAreLimited() async throws {
        let operations = FakeOperations()
        let first = try await open(operations), second = try await open(operations)
        #expect(first.status == .ok && second.status == .ok)
        #expect(try await open(operations).status == .serviceUnavailable)
        withExtendedLifetime((first, second)) {}
    }

    @Test func everyHappeningHasAKindThatIsListed() {
        let all: [Happening] = [
            .sessionOpened(Self.session), .sessionClosed(Self.session, reason: ""),
            .phaseChanged(user: "ann", .init(from: .legacy, to: .dual, at: 5, mover: .evidence, reason: "")), .firstLegacyLogin(user: "ann"),
            .lastLegacyLogin(user: "ann", at: 5), .loginRefused(user: "ann", source: .init("192.0.2.1")!, reason: ""), .tunnelUp("hub"),
            .tunnelDown("hub", problem: ""),
        ]
        #expect(all.map { EventView(.init(number: 1, at: Date(), happening: $0)).kind } == EventView.kinds)
    }
}
