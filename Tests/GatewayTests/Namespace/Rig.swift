import Addresses
import Authentication
import DataPath
import Foundation
import Logging
import NIOCore
import NIOPosix
import Testing
import WireGuard

@testable import Gateway
@testable import LegacyClient
@testable import PPTP
@testable import Settings

/// A gateway without its tunnels: controller, data path and listener on 127.0.0.2, for clients at 127.0.0.1.
final class Rig: Sendable {
    static let secrets = "ann * annspw *\nbob * bobspw *\ntill * tillspw 10.8.0.77\neve * evespw 10.8.0.9\n"

    let configuration: CausewayConfiguration
    let controller: SessionController
    let tap: Tap
    private let listener: PPTPListener
    private let group: MultiThreadedEventLoopGroup
    private let addressCount: Int

    /// - Parameter uplinks: if there are any, the tunnel is one whose identities they bring up.
    private init(_ configuration: CausewayConfiguration, _ uplinks: (any UplinkProvider)?, _ book: (any SessionBook)?, _ bulletin: Bulletin) async throws {
        self.configuration = configuration
        tap = try Tap()
        // One thread as in the gateway: connections are accepted on the controller's loop.
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        var logger = Logger(label: "rig")
        logger.logLevel = .critical
        let engine = try Engine(configuration.engine(["hub": .kernel]))
        let wireGuard = engine.wireGuard
        controller = SessionController(
            configuration: configuration,
            authenticator: LocalAuthenticator(directory: configuration.users, limits: configuration.loginLimits), ways: ["hub": TunnelWay(index: 0, isShared: uplinks == nil)],
            uplinks: uplinks ?? NoUplinks(), book: book, bulletin: bulletin,
            engine: engine, eventLoop: group.next(), logger: logger)
        try await controller.start()
        await controller.setTunnel(0, mtu: 1420, up: true)
        if let wireGuard, configuration.access != nil {
            let identity = try wireGuard.addIdentity(on: wireGuard.openPort(), privateKey: PrivateKey().engineKey)
            await controller.setNatives(try configuration.nativeUsers([:]), on: identity)
        }
        listener = try await PPTPListener.open(configuration.listeners[0], descriptor: nil, controller: controller, group: group)
        addressCount = configuration.addressPools.reduce(0) { $0 + $1.freeCount }
    }

    /// Runs `body` with a gateway of this configuration, then sees to it that nothing is left.
    static func run(
        _ text: String = "", authentication: String = "", uplinks: (any UplinkProvider)? = nil, book: (any SessionBook)? = nil,
        bulletin: Bulletin = Bulletin(), _ body: (Rig) async throws -> Void
    ) async throws {
        let text = "[pptp]\nstop-timeout = \"1s\"\n" + text
        let rig = try await Rig(try sample(text, authentication: authentication, secrets: secrets), uplinks, book, bulletin)
        do { try await body(rig) } catch { Issue.record(error) }
        await rig.controller.endNatives()
        await rig.expectNothingLeft()
        try await rig.listener.channel.close()
        await rig.controller.shutdown()
        await rig.controller.stop()
        #expect(if_nametoindex(rig.configuration.dataPath.interface) == 0, "the TUN is still there")
        try await rig.group.shutdownGracefully()
    }

    /// A client with an interface of its own.
    func client(
        _ user: String, _ password: String, calls: Int = 1, _ profile: LegacyProfile = .windows
    ) async throws -> LegacyClient {
        var profile = profile
        profile.control.delayBeforeCall = .zero
        var configuration = LegacyClient.Configuration(
            server: try SocketAddress(ipAddress: "127.0.0.2", port: 1723), profile: profile,
            interface: "cwt\(UInt32.random(in: 0...99_999_999))")
        configuration.sessionCapacity = calls
        configuration.callsPerConnection = calls
        var logger = Logger(label: "client")
        logger.logLevel = .critical
        let client = try LegacyClient(configuration, on: MultiThreadedEventLoopGroup.singleton.next(), logger: logger)
        try await client.start()
        _ = await client.dial(
            Array(repeating: LegacyAccount(user: user, password: Password(Secret(utf8: password))), count: calls))
        return client
    }

    /// Hangs up and removes the interface.
    func end(_ client: LegacyClient) async {
        await client.hangUp(within: .seconds(3))
        await client.close()
    }

    // MARK: What must be given back

    struct Holdings: Equatable {
        var sessions = 0
        var connections = 0
        var callIDs = 0
        var usage = AdmissionLimits.Usage()
        var sources = 0
        var assignments = 0
        var addressesTaken = 0
    }

    func holdings() async -> Holdings { await controller.holdings(of: addressCount) }

    func expectNothingLeft(_ location: SourceLocation = #_sourceLocation) async {
        var holdings = await holdings()
        let deadline = ContinuousClock.now + .seconds(15)
        while holdings != Holdings(), ContinuousClock.now < deadline {
            try? await Task.sleep(for: .milliseconds(10))
            holdings = await self.holdings()
        }
        #expect(holdings == Holdings(), sourceLocation: location)
    }
}

extension SessionController {
    fileprivate func holdings(of addressCount: Int) -> Rig.Holdings {
        Rig.Holdings(
            sessions: sessions.count, connections: connections.count, callIDs: callIDs.usedCount, usage: limits.total,
            sources: limits.memory.sources, assignments: mapper.sessionCount,
            addressesTaken: addressCount - configuration.pools.reduce(0) { $0 + (mapper.freeAddresses(in: $1.name) ?? 0) })
    }
}

/// Polls until it holds; a failure otherwise.
func eventually(
    _ what: Comment, within limit: Duration = .seconds(20), _ location: SourceLocation = #_sourceLocation,
    _ holds: () async throws -> Bool
) async rethrows {
    let deadline = ContinuousClock.now + limit
    while ContinuousClock.now < deadline {
        if try await holds() { return }
        try? await Task.sleep(for: .milliseconds(10))
    }
    Issue.record("not within \(limit): \(what)", sourceLocation: location)
}

extension LegacyClient {
    func phase(_ number: Int = 1) -> SessionPhase { statuses()[number - 1].phase }
    func failure(_ number: Int = 1) -> SessionFailure? { statuses()[number - 1].failure }
}

/// Everything between client and gateway as it is on the wire.
final class Tap: Sendable {
    enum Seen: Equatable, Sendable {
        /// PPP control protocol and code.
        case ppp(UInt16, UInt8)
        case pptp(ControlType)
        case fin
    }

    struct Record: Sendable {
        var fromGateway: Bool
        /// The GRE key, or the client's TCP port.
        var key: UInt16
        var seen: Seen
        /// Of a Call-Disconnect-Notify: the gateway's.
        var callID: UInt16?
    }

    private let descriptor: Int32

    init() throws {
        // ETH_P_IP; IP packets without a link header.
        descriptor = socket(AF_PACKET, CInt(SOCK_DGRAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue) | CInt(SOCK_NONBLOCK.rawValue), CInt(UInt16(0x0800).bigEndian))
        guard descriptor >= 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        var size: CInt = 8 << 20
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &size, socklen_t(MemoryLayout<CInt>.size))
    }

    deinit { close(descriptor) }

    /// What has passed since the last call.
    func records() -> [Record] {
        var records: [Record] = []
        var segments: Set<UInt64> = []
        var buffer = [UInt8](repeating: 0, count: 65536)
        while true {
            var from = sockaddr_storage()
            var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
            let count = withUnsafeMutablePointer(to: &from) { pointer in
                pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { recvfrom(descriptor, &buffer, buffer.count, 0, $0, &length) }
            }
            guard count > 0 else { return records }
            // The loopback interface shows each packet on its way out as well: sll_pkttype of packet(7) is PACKET_OUTGOING then.
            if withUnsafeBytes(of: from, { $0[10] }) != 4 { records += Self.parse(buffer[..<count], &segments) }
        }
    }

    /// - Parameter segments: TCP segments seen, for a busy machine's kernel sends some of them twice.
    private static func parse(_ packet: ArraySlice<UInt8>, _ segments: inout Set<UInt64>) -> [Record] {
        let bytes = Array(packet)
        guard bytes.count >= 20 else { return [] }
        let fromGateway = Array(bytes[12..<16]) == [127, 0, 0, 2]
        let body = Array(bytes.dropFirst(Int(bytes[0] & 15) * 4))
        func u16(_ bytes: [UInt8], _ at: Int) -> UInt16 { UInt16(bytes[at]) << 8 | UInt16(bytes[at + 1]) }
        switch bytes[9] {
        case 47:
            guard body.count > 8, body[0] & 0x10 != 0 else { return [] }
            var ppp = Array(body.dropFirst(12 + (body[1] & 0x80 != 0 ? 4 : 0)))
            if ppp.starts(with: [0xFF, 0x03]) { ppp.removeFirst(2) }
            guard ppp.count > 2, ppp[0] & 1 == 0, ppp[0] >= 0x80 else { return [] }
            return [Record(fromGateway: fromGateway, key: u16(body, 6), seen: .ppp(u16(ppp, 0), ppp[2]))]
        case 6:
            let port = fromGateway ? u16(body, 2) : u16(body, 0)
            var payload = Array(body.dropFirst(Int(body[12] >> 4) * 4))
            let segment = (0..<4).reduce(UInt64(fromGateway ? 1 : 0) << 16 | UInt64(port)) { $0 << 8 | UInt64(body[4 + $1]) }
            guard payload.isEmpty || segments.insert(segment).inserted else { return [] }
            var records: [Record] = []
            while payload.count >= 12, let type = ControlType(rawValue: u16(payload, 8)) {
                let callID = type == .callDisconnectNotify ? u16(payload, 12) : nil
                records.append(Record(fromGateway: fromGateway, key: port, seen: .pptp(type), callID: callID))
                payload = Array(payload.dropFirst(Int(u16(payload, 0))))
            }
            if body[13] & 1 != 0 { records.append(Record(fromGateway: fromGateway, key: port, seen: .fin)) }
            return records
        default: return []
        }
    }
}

/// A control connection by hand.
final class RawLine {
    private let descriptor: Int32
    private var framer = MessageFramer()
    private(set) var received: [Message] = []
    private(set) var isClosed = false

    init(from source: String = "127.0.0.1") throws {
        descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        func call(_ address: String, _ port: UInt16, _ body: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Int32) throws {
            var native = sockaddr_in()
            native.sin_family = sa_family_t(AF_INET)
            native.sin_port = port.bigEndian
            native.sin_addr.s_addr = inet_addr(address)
            let result = withUnsafePointer(to: &native) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
            }
            guard result == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        }
        try call(source, 0) { bind($0, $1, $2) }
        try call("127.0.0.2", 1723) { connect($0, $1, $2) }
    }

    deinit { Glibc.close(descriptor) }

    func send(_ bytes: [UInt8]) { _ = Glibc.send(descriptor, bytes, bytes.count, CInt(MSG_NOSIGNAL)) }
    func send(_ message: Message) { send(message.encoded()) }

    /// No more from us: FIN.
    func finish() { _ = shutdown(descriptor, CInt(SHUT_WR)) }

    /// Takes what has come.
    func read() {
        var buffer = [UInt8](repeating: 0, count: 4096)
        while !isClosed {
            let count = recv(descriptor, &buffer, buffer.count, CInt(MSG_DONTWAIT))
            if count == 0 || (count < 0 && errno == ECONNRESET) { isClosed = true }
            guard count > 0 else { return }
            for case .success(let message) in framer.feed(buffer[..<count]) { received.append(message) }
        }
    }

    func types() -> [ControlType] {
        read()
        return received.map(\.type)
    }
    func hasEnded() -> Bool {
        read()
        return isClosed
    }

    func start() async {
        send(
            .startRequest(
                StartRequest(
                    framing: .either, bearer: .either, maximumChannels: 0, firmware: 7, hostName: FixedText("raw", width: 64),
                    vendor: FixedText("by hand", width: 64))))
        await eventually("a Start-Control-Connection-Reply") { types().contains(.startReply) }
    }

    /// Asks for a call and returns the reply.
    func call(_ callID: UInt16) async throws -> OutgoingCallReply {
        let before = types().count { $0 == .outgoingCallReply }
        send(
            .outgoingCallRequest(
                OutgoingCallRequest(
                    callID: callID, serial: callID, minimumBPS: 300, maximumBPS: 100_000_000, bearer: .either, framing: .either,
                    receiveWindow: 64, processingDelay: 0, phoneNumberLength: 0, phoneNumber: FixedText("", width: 64),
                    subaddress: FixedText("", width: 64))))
        await eventually("an Outgoing-Call-Reply") { types().count { $0 == .outgoingCallReply } > before }
        let replies = received.compactMap { if case .outgoingCallReply(let reply) = $0 { reply } else { nil } }
        return try #require(replies.last)
    }
}
