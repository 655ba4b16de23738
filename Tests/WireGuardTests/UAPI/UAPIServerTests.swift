import Foundation
import Synchronization
import Testing

@testable import WireGuard

/// Remembers what it was told.
private final class FakeInterface: WireGuardInterface {
    let changes = Mutex<[InterfaceChange]>([])
    let refusal = Mutex<UAPIRefusal?>(nil)
    let peers: Int
    init(peers: Int = 0) { self.peers = peers }

    func list() throws -> InterfaceListing {
        var listing = InterfaceListing()
        listing.listenPort = 7
        listing.peers = (0..<peers).map { number in
            .init(publicKey: PublicKey(bytes: withUnsafeBytes(of: number) { Array($0) } + [UInt8](repeating: 0, count: 24))!)
        }
        return listing
    }

    func apply(_ change: InterfaceChange) throws {
        if let refusal = refusal.withLock({ $0 }) { throw refusal }
        changes.withLock { $0.append(change) }
    }
}

@Suite(.timeLimit(.minutes(1))) struct UAPIServerTests {
    private let directory = "/tmp/cwt-uapi-\(UInt32.random(in: .min ... .max))"

    private func withServer(
        _ interface: any WireGuardInterface = FakeInterface(), removed: (@Sendable () -> Void)? = nil,
        _ body: (UAPIListener, UAPIServer) async throws -> Void
    ) async throws {
        let listener = try UAPIListener(interfaceName: "cwt0", directory: directory)
        let server = try UAPIServer(listener: listener, interface: interface, removed: removed)
        defer {
            server.stop()
            try? FileManager.default.removeItem(atPath: directory)
        }
        try await body(listener, server)
    }

    private func connect() throws -> Int32 { try #require(Client.connect("\(directory)/cwt0.sock")) }

    @Test func requestsAndAnswers() async throws {
        let interface = FakeInterface()
        try await withServer(interface) { _, _ in
            let client = try connect()
            defer { close(client) }
            #expect(Client.ask(client, "get=1\n\n") == "listen_port=7\nerrno=0\n\n")
            #expect(Client.ask(client, "set=1\nfwmark=3\n\n") == "errno=0\n\n")
            #expect(Client.ask(client, "set=1\nfwmark=x\n") == "errno=-22\n\n")
            #expect(Client.ask(client, "\nset=1\nfwmark\n\n") == "errno=-71\n\n")
            interface.refusal.withLock { $0 = .portInUse }
            #expect(Client.ask(client, "set=1\nlisten_port=1\n\n") == "errno=-98\n\n")
            #expect(interface.changes.withLock { $0.map(\.fwmark) } == [3])
        }
    }

    /// What `causeway observe` does on a hub; the answer comes in many pieces.
    @Test func ourOwnClientReadsIt() async throws {
        try await withServer(FakeInterface(peers: 20_000)) { _, _ in
            let peers = try UAPIClient.peers(of: "cwt0", directory: directory), nobody = try UAPIClient.peers(of: "cwt9", directory: directory)
            #expect(peers?.count == 20_000 && nobody == nil)
        }
        let gone = try UAPIClient.peers(of: "cwt0", directory: directory)
        #expect(gone == nil)
        #expect(throws: (any Error).self) { _ = try UAPIClient.peers(of: "../cwt0", directory: directory) }
    }

    @Test func severalAtOnceAreAnsweredInOrder() async throws {
        try await withServer { _, _ in
            let client = try connect()
            defer { close(client) }
            #expect(Client.send(client, "get=1\n\nset=1\n\nget=1\n\nnonsense=1\n"))
            #expect(Client.readToEnd(client) == "listen_port=7\nerrno=0\n\nerrno=0\n\nlisten_port=7\nerrno=0\n\n")
        }
    }

    /// An answer that is larger than any buffer, to somebody who reads it late, while others are served.
    @Test func aSlowReaderHoldsNobodyUp() async throws {
        try await withServer(FakeInterface(peers: 20_000)) { _, _ in
            let slow = try connect()
            defer { close(slow) }
            #expect(Client.send(slow, "get=1\n\nset=1\n\nx\n"))
            let other = try connect()
            defer { close(other) }
            #expect(Client.ask(other, "set=1\n\n") == "errno=0\n\n")
            let answer = Client.readToEnd(slow)
            #expect(answer.count { $0 == "\n" } == 20_000 * 8 + 5)
            #expect(answer.hasSuffix("errno=0\n\nerrno=0\n\n"))
        }
    }

    @Test func whoComesTooManyWaits() async throws {
        try await withServer { _, _ in
            let clients = try (0..<UAPIServer.mostConnections).map { _ in try connect() }
            for client in clients { #expect(Client.ask(client, "set=1\n\n") == "errno=0\n\n") }
            let late = try connect()
            #expect(Client.send(late, "set=1\n\n"))
            #expect(!Client.isReadable(late, milliseconds: 200))
            close(clients[0])
            #expect(Client.read(late) == "errno=0\n\n")
            for client in clients.dropFirst() + [late] { close(client) }
        }
    }

    /// Each socket is its own interface's; one that is withdrawn takes its connections along and leaves the others.
    @Test func severalSocketsOfOneServer() async throws {
        let (first, second) = (FakeInterface(), FakeInterface())
        try await withServer(first) { _, server in
            server.serve(try UAPIListener(interfaceName: "cwt1", directory: directory), second)
            let clients = try ["cwt0", "cwt1"].map { try #require(Client.connect("\(directory)/\($0).sock")) }
            defer { for client in clients { close(client) } }
            #expect(Client.ask(clients[1], "set=1\nfwmark=2\n\n") == "errno=0\n\n")
            #expect(Client.ask(clients[0], "set=1\nfwmark=1\n\n") == "errno=0\n\n")
            #expect(first.changes.withLock { $0.map(\.fwmark) } == [1] && second.changes.withLock { $0.map(\.fwmark) } == [2])
            server.withdraw("cwt1")
            #expect(Client.connect("\(directory)/cwt1.sock") == nil && access("\(directory)/cwt1.sock", F_OK) != 0)
            #expect(Client.readToEnd(clients[1]).isEmpty)
            #expect(Client.ask(clients[0], "set=1\n\n") == "errno=0\n\n")
            // The name is free again.
            server.serve(try UAPIListener(interfaceName: "cwt1", directory: directory), second)
            let again = try #require(Client.connect("\(directory)/cwt1.sock"))
            defer { close(again) }
            #expect(Client.ask(again, "set=1\n\n") == "errno=0\n\n")
            server.stop()
            #expect(access("\(directory)/cwt0.sock", F_OK) != 0 && access("\(directory)/cwt1.sock", F_OK) != 0)
        }
    }

    @Test func whatAKilledProcessLeftIsCleared() throws {
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        close(try #require(Client.bind("\(directory)/cwt-1.sock")))
        let alive = try UAPIListener(interfaceName: "cwt-2", directory: directory)
        #expect(FileManager.default.createFile(atPath: "\(directory)/cwt-3.sock", contents: nil))
        for number in 1...4 { UAPIListener.clearLeftover("cwt-\(number)", directory: directory) }
        #expect(access("\(directory)/cwt-1.sock", F_OK) != 0)
        #expect(alive.isInPlace)
        // Not a socket, so not ours.
        #expect(access("\(directory)/cwt-3.sock", F_OK) == 0)
    }

    /// Half a request, and an answer that is not taken: each has its time, however slowly it goes on. Between requests there is more.
    @Test func whoTakesTooLongIsCutOff() async throws {
        let listener = try UAPIListener(interfaceName: "cwt0", directory: directory)
        let server = try UAPIServer(
            listener: listener, interface: FakeInterface(peers: 2_000), requestPatience: .milliseconds(400), idlePatience: .seconds(5))
        defer {
            server.stop()
            try? FileManager.default.removeItem(atPath: directory)
        }
        let (writer, reader, idle) = (try connect(), try connect(), try connect())
        #expect(Client.send(reader, "get=1\n\n") && Client.isReadable(reader, milliseconds: 5000))
        let began = ContinuousClock.now
        var sent = 0
        for byte in "set=1\n" + String(repeating: "listen_port=1\n", count: 20) {
            guard Client.send(writer, String(byte)) else { break }
            sent += 1
            usleep(50_000)
        }
        #expect((2...60).contains(sent))
        #expect(ContinuousClock.now - began >= .milliseconds(400))
        #expect(Client.read(writer).isEmpty)
        #expect(!Client.readToEnd(reader).hasSuffix("errno=0\n\n"))
        #expect(Client.ask(idle, "set=1\n\n") == "errno=0\n\n")
        #expect(Client.isReadable(idle, milliseconds: 10_000))
        #expect(Client.readToEnd(idle).isEmpty)
        for client in [writer, reader, idle] { close(client) }
    }

    @Test func theFileIsPrivateAndGoesWithTheServer() async throws {
        var status = stat()
        try await withServer { listener, server in
            #expect(lstat(listener.path, &status) == 0 && status.st_mode & 0o777 == 0o600)
            #expect(lstat(directory, &status) == 0 && status.st_mode & 0o777 == 0o700)
            server.stop()
            #expect(lstat(listener.path, &status) == -1)
            #expect(Client.connect(listener.path) == nil)
        }
    }

    @Test func aLiveSocketIsNotTakenAndADeadOneIs() async throws {
        try await withServer { listener, _ in
            #expect(throws: TunnelError.self) { try UAPIListener(interfaceName: "cwt0", directory: directory) }
            #expect(throws: TunnelError.self) { try UAPIListener(interfaceName: "a/b", directory: directory) }
        }
        // A file that nobody answers is what a killed process leaves.
        do { _ = try UAPIListener(interfaceName: "cwt0", directory: directory) }
        try await withServer { _, _ in
            let client = try connect()
            #expect(Client.ask(client, "set=1\n\n") == "errno=0\n\n")
            close(client)
        }
    }

    @Test func aFileThatIsTakenAwayIsNoticed() async throws {
        let noticed = DispatchSemaphore(value: 0)
        try await withServer(removed: { noticed.signal() }) { listener, server in
            // Others' files in the directory are of no interest.
            let other = "\(directory)/other.sock"
            #expect(FileManager.default.createFile(atPath: other, contents: nil))
            unlink(other)
            #expect(noticed.wait(timeout: .now() + 0.2) == .timedOut)
            unlink(listener.path)
            #expect(noticed.wait(timeout: .now() + 5) == .success)
            // What somebody put in its place stays there.
            #expect(FileManager.default.createFile(atPath: listener.path, contents: nil))
            server.stop()
            #expect(FileManager.default.fileExists(atPath: listener.path))
        }
    }

    @Test func aBoundSocketIsAdopted() async throws {
        try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let bound = try #require(Client.bind("\(directory)/cwt0.sock"))
        let server = try UAPIServer(listener: UAPIListener(interfaceName: "cwt0", adopting: bound), interface: FakeInterface())
        let client = try connect()
        #expect(Client.ask(client, "set=1\n\n") == "errno=0\n\n")
        close(client)
        server.stop()
        #expect(throws: TunnelError.self) { try UAPIListener(interfaceName: "cwt0", adopting: STDIN_FILENO) }
    }
}

/// The other end, blocking, with a time-out.
private enum Client {
    private static func withAddress<Result>(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Result) -> Result {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        return withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
    }

    static func connect(_ path: String) -> Int32? {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var limit = timeval(tv_sec: 10, tv_usec: 0)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        guard withAddress(path, { Glibc.connect(descriptor, $0, $1) }) == 0 else {
            close(descriptor)
            return nil
        }
        return descriptor
    }

    static func bind(_ path: String) -> Int32? {
        let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        return withAddress(path, { Glibc.bind(descriptor, $0, $1) }) == 0 ? descriptor : nil
    }

    static func send(_ descriptor: Int32, _ text: String) -> Bool {
        let bytes = Array(text.utf8)
        return Glibc.send(descriptor, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count
    }

    static func isReadable(_ descriptor: Int32, milliseconds: Int32) -> Bool {
        var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
        return poll(&waiting, 1, milliseconds) == 1
    }

    /// Up to the end of one answer, or nothing more.
    static func read(_ descriptor: Int32) -> String { read(descriptor) { $0.suffix(2) == [0x0A, 0x0A] } }
    static func readToEnd(_ descriptor: Int32) -> String { read(descriptor) { _ in false } }

    private static func read(_ descriptor: Int32, until isComplete: ([UInt8]) -> Bool) -> String {
        var answer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        while !isComplete(answer) {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            guard count > 0 else { break }
            answer += chunk.prefix(count)
        }
        return String(decoding: answer, as: UTF8.self)
    }

    static func ask(_ descriptor: Int32, _ text: String) -> String { send(descriptor, text) ? read(descriptor) : "" }
}
