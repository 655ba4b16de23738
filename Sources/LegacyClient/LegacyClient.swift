import Addresses
import DataPath
import Logging
import NIOCore
import NIOPosix
import PPTP
import Timers

/// Many legacy sessions at once, as their devices would open them: TCP control connections, PPP over GRE, MPPE, and one TUN
/// interface that carries the sessions' addresses. Everything but the packets runs on one event loop.
///
/// A session has its turn (at most `concurrency` are being set up), connects, negotiates, is up, and ends; each step is told through
/// `events`. Every session that was dialled ends with exactly one `failed` or `closed`.
public actor LegacyClient {
    public struct Configuration: Sendable {
        public var server: SocketAddress
        public var profile: LegacyProfile
        /// Name of the TUN interface, at most 15 bytes.
        public var interface: String
        public var workers = 1
        public var sessionCapacity = 1
        /// Sessions being set up at the same time.
        public var concurrency = 32
        /// Calls that share one control connection.
        public var callsPerConnection = 1
        /// Sent through the sessions; a socket chooses its session by its own address.
        public var routes: [IPPrefix] = []
        /// Whether sessions' addresses are added to the interface. Without them nothing is sent through the sessions; the kernel's work for
        /// each address grows with the number that it has.
        public var addsAddresses = true
        /// Of the path to the server, outside.
        public var pathMTU: UInt16 = 1500
        public var connectTimeout = Duration.seconds(10)
        /// From a session's turn to its network.
        public var setupTimeout = Duration.seconds(60)

        public init(server: SocketAddress, profile: LegacyProfile, interface: String) {
            self.server = server
            self.profile = profile
            self.interface = interface
        }
    }

    public nonisolated let configuration: Configuration
    public nonisolated let events: AsyncStream<SessionEvent>
    nonisolated let eventLoop: any EventLoop
    nonisolated let logger: Logger
    let tell: AsyncStream<SessionEvent>.Continuation

    var engine: Engine
    var network: ClientNetwork
    private var pump: EventPump?
    private var flushing = false

    /// By number, from 1; the number is also the session's handle in the data path.
    var sessions: [Session] = []
    var lines: [Int: ControlLine] = [:]
    private lazy var timers = LoopTimers<ClientTimerOwner>(on: eventLoop) { [weak self] owner, _ in
        self?.assumeIsolated { $0.fired(owner) }
    }
    /// The one that still takes calls, when they share connections.
    var openLine: Int?
    var nextLine = 1
    /// Index of the first session that has not had its turn.
    var nextTurn = 0
    var beingSetUp = 0
    var callIDs = CallIDAllocator(quarantine: .seconds(5))
    var isStopping = false
    var hasVanished = false
    private var stopped: [CheckedContinuation<Void, Never>] = []

    public nonisolated var unownedExecutor: UnownedSerialExecutor { eventLoop.executor.asUnownedSerialExecutor() }

    /// Creates the interface; needs CAP_NET_ADMIN and CAP_NET_RAW.
    public init(_ configuration: Configuration, on eventLoop: any EventLoop, logger: Logger) throws {
        self.configuration = configuration
        self.eventLoop = eventLoop
        self.logger = logger
        (events, tell) = AsyncStream.makeStream()
        var engineConfiguration = EngineConfiguration(role: .client, interface: configuration.interface)
        engineConfiguration.workers = configuration.workers
        engineConfiguration.sessionCapacity = max(1, configuration.sessionCapacity)
        engineConfiguration.allowUserToUser = true
        engineConfiguration.allowLocalDestinations = true
        engine = try Engine(engineConfiguration)
        network = try ClientNetwork(interface: configuration.interface)
    }

    /// Starts the data path and brings the interface up.
    public func start() throws {
        let pump = EventPump(watching: engine.eventDescriptor) { [eventLoop] in
            eventLoop.execute { self.assumeIsolated { $0.drain() } }
        }
        guard let pump, pump.start() else { throw SessionFailure.local("cannot start the thread that waits for the data path") }
        self.pump = pump
        try engine.start()
        // There is one "tunnel" here, the TUN itself, and it takes whatever a peer may send.
        try engine.submit(Command(0, .tunnel(index: 0, mtu: configuration.pathMTU, up: true)))
        try network.start(mtu: configuration.pathMTU - LegacyCall.overhead, routes: configuration.routes)
    }

    /// Queues sessions; returns their numbers.
    public func dial(_ accounts: [LegacyAccount]) -> ClosedRange<Int>? {
        guard !accounts.isEmpty else { return nil }
        let first = sessions.count + 1
        for account in accounts { sessions.append(Session(number: sessions.count + 1, account: account)) }
        giveTurns()
        return first...sessions.count
    }

    public func statuses() -> [SessionStatus] {
        let open = sessions.filter(\.isOpen).map { UInt64($0.number) }
        var counters: [UInt64: Counters] = [:]
        for (handle, read) in zip(open, engine.counters(of: open)) { counters[handle] = read }
        return sessions.map { session in
            var status = session.status
            status.counters = counters[UInt64(session.number)] ?? status.counters
            return status
        }
    }

    /// Packets that belong to no session.
    public func strayCounters() -> Counters { engine.totals() }

    /// The first address of each session that is up.
    public func addresses() -> [Int: IPAddress] {
        var addresses: [Int: IPAddress] = [:]
        for session in sessions where session.status.phase == .up { addresses[session.number] = session.status.network?.address }
        return addresses
    }

    /// Ends every session the way its profile does it, and returns when all are gone or `limit` has passed.
    public func hangUp(within limit: Duration = .seconds(10)) async {
        guard !hasVanished else { return }
        isStopping = true
        while nextTurn < sessions.count {
            nextTurn += 1
            end(nextTurn, nil)
        }
        for number in sessions.indices.map({ $0 + 1 }) { hangUp(number) }
        for line in lines.keys.sorted() { stopIfUnused(line) }
        guard !lines.isEmpty else { return }
        let deadline = eventLoop.scheduleTask(in: TimeAmount(limit)) { self.assumeIsolated { $0.breakLines() } }
        await withCheckedContinuation { stopped.append($0) }
        deadline.cancel()
    }

    /// Stops answering, as a device does whose plug has been pulled: no farewell in PPP or PPTP, and no FIN, not even when this
    /// process ends. The sessions count as closed.
    public func vanish() {
        hasVanished = true
        isStopping = true
        for line in lines.values {
            cancel(line.timer)
            line.channel?.fallSilent()
        }
        for number in sessions.indices.map({ $0 + 1 }) where !sessions[number - 1].isOver { end(number, nil) }
    }

    /// Ends the data path and removes the interface's traffic; the interface itself goes with the last reference to this client.
    public func close() {
        breakLines()
        pump?.stop()
        pump = nil
        timers.stop()
        engine.stop()
        tell.finish()
    }

    func lineIsGone() {
        guard lines.isEmpty else { return }
        for continuation in stopped { continuation.resume() }
        stopped = []
    }

    private func breakLines() {
        for number in sessions.indices.map({ $0 + 1 }) where !sessions[number - 1].isOver { end(number, nil) }
        let channels = lines.values.compactMap(\.channel)
        for line in lines.values { cancel(line.timer) }
        lines = [:]
        for channel in channels { channel.close(promise: nil) }
        lineIsGone()
    }

    // ---- timers ----

    /// A timer for `deadline`, or nil if `old` serves: one that fires too early does no harm, it looks and is set again.
    func timer(_ owner: ClientTimerOwner, at deadline: ContinuousClock.Instant?, insteadOf old: ClientTimer?) -> ClientTimer? {
        guard let deadline, old.map({ $0.at > deadline }) ?? true else { return nil }
        cancel(old)
        return ClientTimer(at: deadline, token: timers.schedule(owner, at: deadline))
    }

    func cancel(_ timer: ClientTimer?) {
        if let timer { timers.cancel(timer.token) }
    }

    private func fired(_ owner: ClientTimerOwner) {
        switch owner {
        case .session(let number): timer(ofSession: number)
        case .line(let line): timer(ofLine: line)
        }
    }

    // ---- the data path ----

    /// An error means that the command is outside what the data path takes.
    func submit(_ number: Int, _ kind: Command.Kind) {
        do {
            try engine.submit(Command(UInt64(number), kind))
        } catch {
            dataPathRefused(number, error.description)
        }
        flushLater()
    }

    /// Commands that found no room wait until the workers have made some.
    private func flushLater() {
        guard engine.waiting > 0, !flushing else { return }
        flushing = true
        eventLoop.scheduleTask(in: .milliseconds(1)) {
            self.assumeIsolated { client in
                client.flushing = false
                do { try client.engine.flush() } catch { client.logger.error("\(error)") }
                client.flushLater()
            }
        }
    }

    /// Batches taken before other work of the event loop gets its turn.
    private static let batchesAtOnce = 16

    private func drain() {
        for _ in 0..<Self.batchesAtOnce {
            let batch = engine.poll()
            for event in batch { handle(event) }
            guard !batch.isEmpty else {
                pump?.drained()
                return
            }
        }
        eventLoop.execute { self.assumeIsolated { $0.drain() } }
    }

    private func handle(_ event: Event) {
        switch event {
        case .control(let handle, let number, let payload): received(Int(handle), protocol: number, payload)
        case .decryptionLost(let handle): decryptionLost(Int(handle))
        case .closed(let handle, let counters):
            guard sessions.indices.contains(Int(handle) - 1) else { return }
            sessions[Int(handle) - 1].status.counters = counters
        case .refused(let handle, let command, let reason): dataPathRefused(Int(handle), "command \(command): \(reason)")
        case .workerFailed(let worker, let code):
            for number in sessions.indices.map({ $0 + 1 }) where sessions[number - 1].isOpen {
                dataPathRefused(number, "worker \(worker) of the data path failed with errno \(code)")
            }
        case .addressChanged, .exported, .unknownCall: break
        }
    }
}
