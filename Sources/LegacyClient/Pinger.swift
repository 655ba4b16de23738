import Addresses
import DataPath
import NIOCore

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// Sends ICMP echo requests from the sessions' addresses through the client's interface, and counts the replies. One raw socket
/// serves all sessions; it is bound to the interface, so no route to the destination is needed.
public actor Pinger {
    private nonisolated let eventLoop: any EventLoop
    private let destination: IPAddress
    private let identifier = UInt16.random(in: 1...UInt16.max)
    private let descriptor: Int32
    private var pump: EventPump?
    private var schedule: PingSchedule
    private var timer: Scheduled<Void>?
    private var finished: [CheckedContinuation<Void, Never>] = []
    private var isOver = false

    public nonisolated var unownedExecutor: UnownedSerialExecutor { eventLoop.executor.asUnownedSerialExecutor() }

    /// Needs CAP_NET_RAW. IPv4 only.
    public init(destination: IPAddress, interface: String, schedule: PingSchedule, on eventLoop: any EventLoop) throws {
        self.eventLoop = eventLoop
        self.destination = destination
        self.schedule = schedule
        descriptor = try Self.openSocket(interface: interface)
    }

    deinit { close(descriptor) }

    /// Returns when every request has been answered or given up, or after `stop`.
    public func run() async throws {
        let pump = EventPump(watching: descriptor) { [eventLoop] in eventLoop.execute { self.assumeIsolated { $0.receive() } } }
        guard let pump, pump.start() else { throw SessionFailure.local("cannot start the thread that waits for replies") }
        self.pump = pump
        tick()
        if !isOver { await withCheckedContinuation { finished.append($0) } }
    }

    public func stop() {
        schedule.stop(now: .now)
        finish()
    }

    /// The session with this address has ended.
    public func remove(_ address: IPAddress) {
        schedule.remove(address)
        tick()
    }

    public func results() -> [IPAddress: PingSchedule.Target] { schedule.targets }

    private func tick() {
        guard !isOver else { return }
        timer?.cancel()
        let now = ContinuousClock.now
        for request in schedule.due(now: now) { send(request) }
        guard !schedule.isFinished(now: now), let deadline = schedule.deadline else {
            finish()
            return
        }
        // A thousand sessions make up to a thousand turns a second and more: a few milliseconds of them go out together.
        let pause = max(TimeAmount.milliseconds(2), TimeAmount(until: deadline, now: now))
        timer = eventLoop.scheduleTask(in: pause) { self.assumeIsolated { $0.tick() } }
    }

    private func finish() {
        guard !isOver else { return }
        isOver = true
        timer?.cancel()
        pump?.stop()
        pump = nil
        for continuation in finished { continuation.resume() }
        finished = []
    }

    // ---- the socket ----

    private static func openSocket(interface: String) throws -> Int32 {
        let kind = Int32(SOCK_RAW.rawValue) | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue)
        let descriptor = socket(AF_INET, kind, Int32(IPPROTO_ICMP))
        guard descriptor >= 0 else { throw failure("open a raw socket for pings (CAP_NET_RAW is needed)") }
        var on: Int32 = 1
        var room: Int32 = 4 << 20
        let size = socklen_t(MemoryLayout<Int32>.size)
        // A smaller receive buffer than wanted only matters to very many sessions.
        if setsockopt(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, &room, size) != 0 {
            setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &room, size)
        }
        guard setsockopt(descriptor, Int32(IPPROTO_IP), IP_HDRINCL, &on, size) == 0,
            setsockopt(descriptor, SOL_SOCKET, SO_BINDTODEVICE, interface, socklen_t(interface.utf8.count)) == 0
        else {
            let failure = failure("bind the socket for pings to \(interface)")
            close(descriptor)
            throw failure
        }
        return descriptor
    }

    private static func failure(_ operation: String) -> SessionFailure {
        .local("cannot \(operation): \(String(cString: strerror(errno)))")
    }

    /// What cannot be sent counts as lost.
    private func send(_ request: PingSchedule.Request) {
        let packet = EchoPacket(
            source: request.source, destination: destination, identifier: identifier, sequence: request.sequence)
        guard let v4 = destination.v4 else { return }
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = v4.bigEndian
        let bytes = packet.requestBytes
        _ = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(descriptor, bytes, bytes.count, 0, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
            }
        }
    }

    private func receive() {
        guard !isOver else { return }
        var buffer = [UInt8](repeating: 0, count: 2048)
        while true {
            let count = recv(descriptor, &buffer, buffer.count, 0)
            guard count > 0 else { break }
            guard let reply = EchoPacket(reply: buffer.prefix(count)), reply.source == destination, reply.identifier == identifier
            else { continue }
            schedule.received(by: reply.destination, sequence: reply.sequence, now: .now)
        }
        pump?.drained()
        if schedule.isFinished(now: .now) { finish() }
    }
}
