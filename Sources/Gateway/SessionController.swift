import Addresses
import Authentication
import DataPath
import Foundation
import Logging
import NIOCore
import PPP
import PPTP
import SessionMapper
import Settings
import Timers

/// Everything between the wire and the tunnel that is not a packet: control connections, PPP links and log-ins, on one event
/// loop. State machines (PPTP, PPP, mapper) are values that say what to do; this actor does it. Data packets never come here.
///
/// Its files: this one holds the state; `+PPTP` the control connections, `+PPP` the links, `+Uplinks` where they go, `+Native` users who
/// have WireGuard themselves, `+Book` what is written down of them all, `+Diagnosis` why they fail, `+DataPath` what the workers report, `+Operations` what an administrator asks for.
public actor SessionController {
    /// The actor runs on the event loop of its control connections, so that their handlers call it without a hop.
    public nonisolated let eventLoop: any EventLoop
    public nonisolated var unownedExecutor: UnownedSerialExecutor { eventLoop.executor.asUnownedSerialExecutor() }

    var configuration: CausewayConfiguration
    let authenticator: any Authenticator
    let ways: [String: TunnelWay]
    let uplinks: any UplinkProvider
    /// nil: nothing is written down.
    let book: (any SessionBook)?
    let bulletin: Bulletin
    /// Done when all ends of sessions so far are written.
    var endsWritten: Task<Void, Never>?
    /// nil once stopped: its TUN is gone then.
    var engine: Engine?
    var pump: EventPump?
    let logger: Logger
    /// Called once when the gateway cannot go on.
    var failure: (@Sendable (GatewayError) -> Void)?

    var connections: [ConnectionID: ControlConnection] = [:]
    var sessions: [UInt64: LegacySession] = [:]
    /// Sessions that have logged in and not ended, by the user's name.
    var sessionsOfUser: [String: Set<UInt64>] = [:]
    /// Of sessions and control connections.
    private(set) lazy var timers = LoopTimers<TimerOwner>(on: eventLoop) { [weak self] owner, token in
        self?.assumeIsolated { $0.fired(owner, token) }
    }
    var limits: AdmissionLimits
    var callIDs = CallIDAllocator()
    var mapper: SessionMapper
    /// Addresses that identities have for good.
    var identityReservations: [Reservation]
    /// Addresses of users who have WireGuard, whether they are there or not.
    var nativeReservations: [Reservation] = []
    /// Users who connect over WireGuard, by the handle of their session.
    var natives: [UInt64: NativeSession] = [:]
    /// The sessions in `natives` by the user's name.
    var nativesOfUser: [String: Set<UInt64>] = [:]
    /// That their devices connect to.
    var accessIdentity: WireGuardEngine.Identity?
    var nextConnection: UInt64 = 1
    var nextSession: UInt64 = 1
    var isShuttingDown = false
    var controlCounts: [ControlCount: UInt64] = [:]
    /// Connections and calls that a limit refused, by the limit's name.
    var refusedByLimit: [String: UInt64] = [:]
    var endedSessions: UInt64 = 0
    var failedLogins: UInt64 = 0
    var flushTimer: Scheduled<Void>?
    private var isTogether = false
    /// Attempts that failed.
    var attempts = AttemptBook()
    var unknownCalls = UnknownCalls()
    /// Calls to be looked at, in that order, and the timer for the first.
    var slowCalls: [(id: UInt64, at: ContinuousClock.Instant)] = []
    var slowTimer: Scheduled<Void>?
    var trimmedAt: UInt64 = 0
    var trimsAgain = false
    /// By tunnel.
    var handedOver: [String: Set<String>] = [:]
    var endedAtLastLook: UInt64 = 0
    let startedAt = Date()

    /// - Parameters:
    ///   - ways: how each tunnel is reached.
    ///   - uplinks: asked for the identities of tunnels that are not shared.
    ///   - book: where sessions are written down.
    init(
        configuration: CausewayConfiguration, authenticator: any Authenticator, ways: [String: TunnelWay],
        uplinks: any UplinkProvider = NoUplinks(), book: (any SessionBook)? = nil, identityReservations: [Reservation] = [],
        bulletin: Bulletin = Bulletin(), engine: consuming Engine, eventLoop: any EventLoop, logger: Logger
    ) {
        self.configuration = configuration
        self.authenticator = authenticator
        self.ways = ways
        self.uplinks = uplinks
        self.book = book
        self.bulletin = bulletin
        self.identityReservations = identityReservations
        self.engine = consume engine
        self.eventLoop = eventLoop
        self.logger = logger
        limits = AdmissionLimits(configuration: configuration.admission)
        mapper = SessionMapper(
            pools: configuration.addressPools, tunnels: Set(configuration.tunnels.map(\.name)),
            reservations: configuration.reservations + identityReservations)
    }

    /// Starts the workers and listens to them.
    public func start() throws {
        let eventLoop = eventLoop
        guard
            let pump = EventPump(
                watching: engine?.eventDescriptor ?? -1,
                deliver: { [weak self] in
                    let controller = self
                    eventLoop.execute { controller?.assumeIsolated { $0.drainEvents() } }
                }), pump.start()
        else { throw GatewayError("cannot start the thread that waits for the data path: no thread or descriptor left") }
        self.pump = pump
        try engine?.start()
        setSources()
        logger.info("data path started: \(configuration.workerCount) workers, \(engine?.instructionSet ?? "no") kernels")
        for refusal in engine?.greRefusals ?? [] { logger.warning("\(refusal)") }
        logger.info("GRE comes in through \(engine?.gre.description ?? "nothing")")
    }

    public func onFailure(_ handler: @escaping @Sendable (GatewayError) -> Void) { failure = handler }

    /// Ends the workers. Sessions must have been closed before (`shutdown`); what is left loses its keys here.
    public func stop() {
        flushTimer?.cancel()
        slowTimer?.cancel()
        timers.stop()
        pump?.stop()
        pump = nil
        engine?.stop()
        engine = nil
    }

    /// Hands commands to the data path, in order: at once, or at the end of `together`. What its rings cannot take follows in a millisecond.
    func submit(_ commands: Command...) {
        engine?.enqueue(commands)
        if !isTogether { flushCommands() }
    }

    /// The commands of `body` reach the workers at its end, with one wake-up for all. Nothing else that `body` sends may need them there before.
    func together(_ body: () -> Void) {
        guard !isTogether else { return body() }
        isTogether = true
        body()
        isTogether = false
        flushCommands()
    }

    private func flushCommands() {
        do {
            try engine?.flush()
        } catch {
            logger.error("data path: \(error)")
        }
        scheduleFlush()
    }

    func scheduleFlush() {
        guard let waiting = engine?.waiting, waiting > 0, flushTimer == nil else { return }
        flushTimer = eventLoop.scheduleTask(in: .milliseconds(1)) { [weak self] in
            self?.assumeIsolated { controller in
                controller.flushTimer = nil
                do { try controller.engine?.flush() } catch { controller.logger.error("data path: \(error)") }
                controller.scheduleFlush()
            }
        }
    }

    // MARK: Timers

    /// The timer for this deadline; the one before it is spent.
    func timer(_ owner: TimerOwner, at deadline: ContinuousClock.Instant?, insteadOf old: ControlTimer?) -> ControlTimer? {
        guard deadline != old?.deadline else { return old }
        if let old { timers.cancel(old.token) }
        return deadline.map { ControlTimer(deadline: $0, token: timers.schedule(owner, at: $0)) }
    }

    /// Another timer may have fired in the same turn and have moved this one: then the owner's is not spent, and its time comes.
    private func fired(_ owner: TimerOwner, _ token: ControlTimer.Token) {
        switch owner {
        case .session(let id):
            guard let session = sessions[id], session.timer?.token == token else { return }
            session.timer = nil
            step(id) { $0.timer(now: .now) }
        case .connection(let id):
            guard let connection = connections[id], connection.timer?.token == token else { return }
            connection.timer = nil
            perform(id) { $0.timer(now: .now) }
        }
    }
}

/// What went wrong, to whom, and what to do next.
public struct GatewayError: Error, CustomStringConvertible {
    public let description: String
    public init(_ description: String) { self.description = description }
}
