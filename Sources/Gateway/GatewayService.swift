import Addresses
import Authentication
import CLinux
import DataPath
import Foundation
import Hub
import Hummingbird
import Identities
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import Settings
import Store
import Tokens
import UnixSignals
import Webhooks
import WebhooksHTTP
import WireGuard

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// The composition root: everything is made here, in order, and taken down in reverse.
///
///     identities -> data path (TUN, WireGuard engine) -> tunnels -> policy routing -> sessions -> access -> listeners -> control API -> ready
///
/// The order is what makes it fail closed: the data path's workers start once the rules stand that confine packets to their tunnel,
/// and no client is answered before there is a tunnel to carry it.
public actor GatewayService: Service, Operations, InvitationPlace {
    private let configurationPath: String
    private let version: String
    let logger: Logger
    private let group: MultiThreadedEventLoopGroup
    private let authenticator: LocalAuthenticator
    let identityStore: any IdentityStore
    let registry: IdentityRegistry
    private let hook: HubHook
    private let bulletin = Bulletin()
    private let webhooks: WebhookDispatcher
    nonisolated let tokens: TokenFile
    /// Until the bulletin is over.
    private var webhookFeed: Task<Void, Never>?
    /// nil: the control API is on its Unix socket only.
    private var certificate: APICertificate?
    private var downTunnels: Set<String> = []
    var tunnelManager: TunnelManager?
    var accessListener: AccessListener?
    /// nil: nothing is written down.
    var desk: MigrationDesk?
    var known = IdentityRegistry.Known()
    private var lastChange: Task<Void, Never>?
    private let notification = ServiceNotification()
    var configuration: CausewayConfiguration
    var controller: SessionController?
    private var listeners: [PPTPListener] = []
    private var monitor: HostMonitor?
    private let threshold: LogThreshold
    private var instanceLock: CInt?
    /// The control socket is bound by us.
    private var ownsSocket = false
    private let failures: AsyncStream<GatewayError>
    private let failed: AsyncStream<GatewayError>.Continuation

    public init(
        configuration: CausewayConfiguration, path: String, version: String, logger: Logger, threshold: LogThreshold
    ) throws {
        self.configuration = configuration
        configurationPath = path
        self.version = version
        self.logger = logger
        self.threshold = threshold
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        authenticator = LocalAuthenticator(directory: configuration.users, limits: configuration.loginLimits)
        identityStore = FileIdentityStore(directory: configuration.stateDirectory)
        tokens = TokenFile(directory: configuration.stateDirectory)
        registry = IdentityRegistry(store: identityStore, logger: logger)
        hook = HubHook(logger: logger)
        webhooks = WebhookDispatcher(instance: configuration.instance, transport: { HTTPTransport() }, logger: logger)
        (failures, failed) = AsyncStream.makeStream(of: GatewayError.self)
    }

    /// Runs the gateway until SIGTERM or SIGINT (or a failure that it cannot live with), then takes everything down.
    public static func serve(
        configuration: CausewayConfiguration, path: String, version: String, logger: Logger, threshold: LogThreshold
    ) async throws {
        let gateway = try GatewayService(
            configuration: configuration, path: path, version: version, logger: logger, threshold: threshold)
        // Everything is made inside the group, so that a signal during the start is waited for and nothing is left behind.
        let services = ServiceGroup(
            configuration: .init(
                services: [
                    .init(
                        service: gateway, successTerminationBehavior: .gracefullyShutdownGroup,
                        failureTerminationBehavior: .gracefullyShutdownGroup),
                    .init(service: ReloadOnHangup(gateway: gateway)),
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger.quieter))
        try await services.run()
    }

    // MARK: Start

    private func start() async throws {
        guard let held = UnixSocket.holdInstance(configuration.instance) else {
            throw GatewayError(
                "a gateway with instance \"\(configuration.instance)\" is running already on this host: stop it first, or give this one another instance"
            )
        }
        instanceLock = held
        try removeStaleSocket()
        if let api = configuration.api { certificate = try APICertificate(api) }
        await startWebhooks()
        if configuration.store.enabled { desk = try await MigrationDesk.open(configuration, bulletin: bulletin, logger: logger) }
        known = try await registry.prepare(configuration)
        let kinds = try TunnelManager.chooseBackends(configuration, identities: known.identities.mapValues(\.count))
        var parts = configuration.engine(kinds)
        parts.gre = configuration.greReception(host: try HostMonitor.interfaceAddresses())
        let engine = try Engine(parts)
        let wireGuard = engine.wireGuard
        if wireGuard != nil { logger.info("WireGuard engine: ChaCha20-Poly1305 with \(InstructionSet.cipherKernels) kernels") }
        let tunnelManager = try TunnelManager(configuration: configuration, kinds: kinds, logger: logger)
        self.tunnelManager = tunnelManager
        try await tunnelManager.start(engine: wireGuard, identities: known.identities)
        let controller = SessionController(
            configuration: configuration, authenticator: authenticator, ways: await tunnelManager.ways(), uplinks: tunnelManager,
            book: desk?.tracker, identityReservations: known.reservations, bulletin: bulletin, engine: engine, eventLoop: group.next(), logger: logger)
        self.controller = controller
        await controller.setHandedOver(known.handedOver)
        await desk?.serve(controller, at: self)
        await desk?.speaks(for: IdentityRegistry.links(known, configuration))
        let monitor = try HostMonitor()
        self.monitor = monitor
        try await tunnelManager.route(configuration, live: [:])
        await controller.onFailure { [failed] in failed.yield($0) }
        try await controller.start()
        await controller.setLocalAddresses(try localAddresses())
        for state in await tunnelManager.states() { await controller.setTunnel(state.index, mtu: state.mtu, up: state.up) }
        try await startAccess(tunnelManager, controller, wireGuard)
        await tellHubs()
        var sockets = Privileges.adoptedSockets()
        for listener in configuration.listeners {
            let endpoint = Endpoint(listener.address, listener.port)
            let descriptor = sockets.removeValue(forKey: endpoint)
            listeners.append(try await PPTPListener.open(listener, descriptor: descriptor, controller: controller, group: group))
            logger.info("listening on TCP \(endpoint) for tunnel \"\(listener.tunnel)\"")
        }
        for (endpoint, descriptor) in sockets {
            logger.warning("the socket for TCP \(endpoint) that was handed over is in no [[listen]] table; closed")
            close(descriptor)
        }
    }

    /// Users who have WireGuard themselves.
    private func startAccess(_ tunnels: TunnelManager, _ controller: SessionController, _ engine: WireGuardEngine?) async throws {
        guard let settings = configuration.access, let engine else { return }
        let users = try await nativeUsers(configuration, known)
        let listener = AccessListener(settings, engine: engine, logger: logger)
        accessListener = listener
        let identity = try await listener.start()
        try await listener.apply(settings, users: users)
        await controller.setNatives(users, on: identity)
        await tunnels.serveUAPI(settings.interface, identity)
    }

    private func startWebhooks() async {
        await webhooks.apply(configuration.webhooks.map(\.receiver))
        guard let subscription = bulletin.subscribe(backlog: WebhookFeed.backlog) else { return }
        let feed = WebhookFeed(dispatcher: webhooks, subscription: subscription, logger: logger)
        webhookFeed = Task { await feed.run() }
    }

    /// What each hub has to know, for the administrator's programs.
    func tellHubs() async {
        var calls: [HubHook.Call] = []
        do {
            for tunnel in configuration.tunnels {
                guard let program = tunnel.hubHook else { continue }
                let identities = tunnel.mode == .shared ? [] : try await identityStore.identities()
                let text = try configuration.hubPeers(of: tunnel, identities: identities).sections
                calls.append(HubHook.Call(tunnel: tunnel.name, program: program, text: text))
            }
        } catch {
            logger.error("hub-hook: \(error); hubs are told with the next reload")
            return
        }
        await hook.tell(calls)
    }

    /// A socket file that nobody answers on is what a killed gateway left.
    private func removeStaleSocket() throws {
        let path = configuration.controlSocket
        guard access(path, F_OK) == 0 else { return }
        if UnixSocket.isAnswered(path) {
            throw GatewayError("a gateway is running already on \(path): stop it first, or give this one another control.socket")
        }
        guard unlink(path) == 0 else { throw GatewayError("cannot remove the stale socket \(path): \(String(cString: strerror(errno)))") }
    }

    /// The host's own addresses, and our end of every link: users do not reach the gateway.
    private func localAddresses() throws -> [IPAddress] {
        let addresses = try HostMonitor.addresses().union(configuration.pools.map(\.gateway))
        guard addresses.count <= Engine.mostLocalAddresses else {
            throw GatewayError(
                "this host has \(addresses.count) addresses and broadcast addresses; the data path can keep users off \(Engine.mostLocalAddresses)")
        }
        return Array(addresses)
    }

    private func ready() {
        ownsSocket = true
        chmod(configuration.controlSocket, 0o600)
        logger.info("ready: \(configuration.listeners.count) listening addresses, control socket \(configuration.controlSocket)")
        notification.ready("Serving")
    }

    // MARK: Run

    public func run() async throws {
        do {
            try await start()
        } catch {
            await stop()
            throw error
        }
        // Each tunnel has a task of its own: one whose device hangs does not keep the others from changing hubs.
        let watchers = [Task { await self.watchHost() }, Task { await self.supervise() }, Task { await self.watchNatives() }]
            + (desk.map { desk in [Task { await desk.run() }] } ?? [])
            + configuration.tunnels.map { tunnel in Task { await self.watchTunnel(tunnel.name) } }
        let api = Application(
            router: ControlAPI.router(self),
            configuration: .init(address: .unixDomainSocket(path: configuration.controlSocket), serverName: "causeway"),
            onServerRunning: { _ in await self.ready() }, logger: logger.quieter)
        let remote = remoteAPI()
        var failure: (any Error)?
        await withTaskGroup(of: (any Error)?.self) { group in
            // Ends by itself when the group shuts down.
            group.addTask { await Self.caught { try await api.run() } }
            if let remote { group.addTask { await Self.caught { try await remote.run() } } }
            group.addTask {
                try? await gracefulShutdown()
                return nil
            }
            group.addTask { [failures] in await failures.first { _ in true } }
            failure = await group.next() ?? nil
            // Told to stop, the API ends its connections by itself; only after a failure is it cut off.
            failed.finish()
            if failure != nil { group.cancelAll() }
        }
        notification.stopping()
        await controller?.shutdown()
        monitor?.stop()
        for watcher in watchers { watcher.cancel() }
        for watcher in watchers { await watcher.value }
        let leftovers = await stop()
        if let failure { throw failure }
        if !leftovers.isEmpty { throw GatewayError("not everything could be removed: " + leftovers.joined(separator: "; ")) }
    }

    /// The same routes over TLS.
    private func remoteAPI() -> APIServer? {
        guard let api = configuration.api, let certificate else { return nil }
        let router = ControlAPI.router(self, door: .tokens(TokenGuard(tokens)))
        return APIServer(api.listen, certificate, router: router, logger: logger)
    }

    private static func caught(_ body: @Sendable () async throws -> Void) async -> (any Error)? {
        do {
            try await body()
            return nil
        } catch is CancellationError {
            return nil
        } catch {
            return error
        }
    }

    /// Follows the host's interfaces and addresses, and rules of ours that somebody takes away: every one of these could open a way out.
    private func watchHost() async {
        guard let monitor, let tunnelManager else { return }
        for await event in monitor.events {
            guard let controller else { return }
            switch event {
            case .linkChanged(let link): await tunnelManager.linkChanged(link.name, up: link.isUp, live: await controller.livePrefixes())
            case .linkRemoved(let link): await tunnelManager.linkChanged(link.name, up: false, live: await controller.livePrefixes())
            case .ruleRemoved, .routeRemoved: await tunnelManager.restoreRouting(live: await controller.livePrefixes())
            case .addressAdded, .addressRemoved: await followAddresses(controller)
            case .overrun:
                await tunnelManager.restoreRouting(live: await controller.livePrefixes())
                await followAddresses(controller)
            }
            await reportTunnels()
        }
    }

    private func followAddresses(_ controller: SessionController) async {
        do {
            await controller.setLocalAddresses(try localAddresses())
        } catch {
            logger.error("\(error); the data path keeps the addresses that it knows")
        }
    }

    /// What concerns all tunnels.
    private func supervise() async {
        var rounds = 0
        while !Task.isCancelled, let tunnelManager {
            if let controller { await tunnelManager.restoreRouting(live: await controller.livePrefixes()) }
            await controller?.giveBackMemory()
            rounds += 1
            if rounds % 12 == 0 { await registry.record(await tunnelManager.handshakes(), configuration) }
            try? await Task.sleep(for: .seconds(5))
        }
    }

    /// Every second whether its hub answers, every five what is left to do.
    private func watchTunnel(_ name: String) async {
        var rounds = 0
        while !Task.isCancelled, let tunnelManager {
            await tunnelManager.watchHubs(of: name)
            if rounds % 5 == 0 {
                await tunnelManager.resolveNames(of: name)
                await tunnelManager.maintain(name)
                await reportTunnel(name)
            }
            rounds += 1
            try? await Task.sleep(for: .seconds(1))
        }
    }

    /// Every second: which native users are there.
    private func watchNatives() async {
        while !Task.isCancelled, let accessListener, let controller {
            let wallClock = Duration.seconds(Date().timeIntervalSince1970)
            await controller.observeNatives(await accessListener.peers(), wallClock: wallClock)
            try? await Task.sleep(for: .seconds(1))
        }
    }

    private func reportTunnels() async {
        for tunnel in configuration.tunnels { await reportTunnel(tunnel.name) }
    }

    private func reportTunnel(_ name: String) async {
        guard let tunnelManager, let state = await tunnelManager.changedState(of: name) else { return }
        await controller?.setTunnel(state.index, mtu: state.mtu, up: state.up)
        if state.up {
            if downTunnels.remove(name) != nil { bulletin.tell(.tunnelUp(name)) }
        } else if downTunnels.insert(name).inserted {
            let problem = await tunnelManager.problem(of: name) ?? ""
            bulletin.tell(.tunnelDown(name, problem: problem))
        }
    }

    // MARK: Stop

    /// Takes everything down that was made. Returns what could not be removed.
    @discardableResult
    private func stop() async -> [String] {
        for listener in listeners { try? await listener.channel.close() }
        listeners = []
        if let controller {
            await controller.shutdown()
            await controller.stop()
        }
        controller = nil
        await desk?.stop()
        desk = nil
        bulletin.finish()
        await webhookFeed?.value
        await webhooks.stop()
        monitor?.stop()
        await hook.stop()
        var leftovers: [String] = []
        do { try await accessListener?.remove() } catch { leftovers.append("the access listener cannot be removed: \(error)") }
        accessListener = nil
        if let tunnelManager {
            await registry.record(await tunnelManager.handshakes(), configuration)
            leftovers += await tunnelManager.removeUplinks()
            leftovers += await tunnelManager.removeRouting()
        }
        tunnelManager = nil
        try? await group.shutdownGracefully()
        // The socket of another gateway is not ours to remove.
        if ownsSocket { unlink(configuration.controlSocket) }
        if let instanceLock { close(instanceLock) }
        instanceLock = nil
        for leftover in leftovers { logger.error("\(leftover)") }
        logger.info(leftovers.isEmpty ? "stopped; nothing is left behind" : "stopped; not everything could be removed")
        return leftovers
    }

    // MARK: Operations

    func status() async -> StatusView? {
        guard let tunnelManager else { return nil }
        let tunnels = await tunnelManager.views()
        let access = await accessListener?.view(wallClock: .seconds(Date().timeIntervalSince1970))
        var view = await controller?.status(version: version, tunnels: tunnels, wireGuard: await tunnelManager.engineView(), access: access)
        if !configuration.webhooks.isEmpty { view?.webhooks = await webhooks.counts().map(WebhookView.init) }
        view?.store = await desk?.tracker.view()
        return view
    }
    func sessions() async -> [SessionView] { await controller?.list() ?? [] }
    func diagnosis(of subject: DiagnosisSubject) async -> [DiagnosisView] {
        await controller?.diagnosis(of: subject, tunnels: await tunnels()) ?? []
    }
    func tunnels() async -> [TunnelView] { await tunnelManager?.views() ?? [] }
    func identities() async throws -> [IdentityView] { try await registry.views(await tunnelManager?.runningIdentities() ?? [:]) }
    func disconnect(session id: UInt64) async -> Bool { await controller?.disconnect(session: id) ?? false }
    func subscribe(backlog: Int) -> Bulletin.Subscription? { bulletin.subscribe(backlog: backlog) }

    func audit(_ event: NewEvent) async {
        logger.notice("control API: \(event.actor.name.isEmpty ? "somebody" : "\"\(event.actor.name)\"") (\(event.actor.source)): \(event.text)")
        guard let desk else { return }
        do throws(StoreError) { try await desk.store.record([event]) } catch { logger.error("control API: the last line is not in the history: \(error)") }
    }

    func note(_ text: String, isAlarm: Bool) { logger.log(level: isAlarm ? .warning : .info, "\(text)") }

    func disconnect(user: String) async -> [UInt64] { await controller?.disconnect(user: user) ?? [] }

    /// Reads the configuration again and takes what can change without dropping a session. An error changes nothing: what was done
    /// before it is taken back, or the error says what could not be.
    func reload() async throws -> ReloadView {
        try await inTurn { try await self.reloadNow() }
    }

    /// Changes one after the other: each begins with what the one before it has left.
    func inTurn<Value: Sendable>(_ body: @escaping @Sendable () async throws -> Value) async throws -> Value {
        let before = lastChange
        let task = Task {
            await before?.value
            return try await body()
        }
        lastChange = Task { _ = await task.result }
        return try await task.value
    }

    private func reloadNow() async throws -> ReloadView {
        guard let controller, let tunnelManager else { throw GatewayError("the gateway is starting or stopping; try again") }
        notification.reloading()
        defer { notification.ready("Serving") }
        let read: CausewayConfiguration
        do {
            read = try CausewayConfiguration.load(path: configurationPath)
        } catch {
            logger.error("reload: the configuration is wrong, nothing was changed:\n\(error)")
            throw error
        }
        var diff = CausewayConfiguration.diff(configuration, read)
        let new = read.keepingStartOnly(of: configuration)
        let shown: APICertificate.Shown?, taken: Taken
        do {
            // Renewed by somebody else's program, as a rule.
            shown = try certificate == nil ? nil : new.api.map(APICertificate.read)
            taken = try await take(new, tunnelManager, live: await controller.livePrefixes())
        } catch {
            logger.error("reload: \(error)")
            throw error
        }
        known = taken.known
        configuration = new
        authenticator.replace(directory: new.users)
        authenticator.replace(limits: new.loginLimits)
        threshold.level = LogThreshold(new).level
        await controller.adopt(new, identityReservations: known.reservations)
        await controller.setHandedOver(known.handedOver)
        await desk?.adopt(new)
        await desk?.speaks(for: IdentityRegistry.links(known, new))
        await webhooks.apply(new.webhooks.map(\.receiver))
        if let shown, certificate?.show(shown) == true { diff.live.append("api.certificate-file") }
        if accessListener != nil { await controller.setNatives(taken.natives) }
        await controller.end(taken.endings)
        await followAddresses(controller)
        await reportTunnels()
        await tellHubs()
        logger.notice("reloaded: \(diff.live.isEmpty ? "nothing has changed" : "in force now: " + diff.live.joined(separator: ", "))")
        if !diff.needsRestart.isEmpty { logger.warning("waits for a restart: \(diff.needsRestart.joined(separator: ", "))") }
        return ReloadView(applied: diff.live, needRestart: diff.needsRestart)
    }

    private struct Taken {
        var known: IdentityRegistry.Known
        var natives: [NativeUser]
        /// Sessions that cannot go on, and why.
        var endings: [UInt64: String]
    }

    /// Everything of a new configuration that can fail. What has been done by then is undone in reverse.
    private func take(_ new: CausewayConfiguration, _ tunnels: TunnelManager, live: [String: [IPPrefix]]) async throws -> Taken {
        var undo: [() async throws -> Void] = []
        do {
            let known = try await registry.prepare(new)
            undo.append { [registry] in try await registry.undo(known) }
            let natives = try await nativeUsers(new, known)
            if let settings = new.access, let accessListener, let old = configuration.access {
                let before = try await nativeUsers(configuration, self.known)
                undo.append(try await accessListener.replace(old, users: before, with: settings, users: natives))
            }
            return Taken(known: known, natives: natives, endings: try await tunnels.apply(new, identities: known.identities, live: live))
        } catch {
            var problems: [String] = []
            for step in undo.reversed() {
                do { try await step() } catch { problems.append("\(error)") }
            }
            guard problems.isEmpty else {
                throw GatewayError("\(error); what was changed by then could not be taken back: \(problems.joined(separator: "; "))")
            }
            throw GatewayError("\(error); nothing was changed")
        }
    }
}

/// SIGHUP.
private struct ReloadOnHangup: Service {
    let gateway: GatewayService

    func run() async throws {
        for await _ in await UnixSignalsSequence(trapping: .sighup).cancelOnGracefulShutdown() {
            _ = try? await gateway.reload()
        }
    }
}

extension Logger {
    /// Libraries' own chatter (server started, service finished) is for debugging.
    fileprivate var quieter: Logger {
        var logger = self
        logger.logLevel = max(logLevel, .warning)
        return logger
    }
}

extension CausewayConfiguration {
    var loginLimits: LoginLimiter.Limits {
        LoginLimiter.Limits(failures: authentication.lockoutFailures, lockTime: authentication.lockoutTime)
    }

    /// This configuration with the values of `running` where only a start can change them.
    func keepingStartOnly(of running: CausewayConfiguration) -> CausewayConfiguration {
        var new = self
        new.instance = running.instance
        new.user = running.user
        new.logFormat = running.logFormat
        new.controlSocket = running.controlSocket
        new.stateDirectory = running.stateDirectory
        if new.api == nil || running.api == nil { new.api = running.api } else { new.api?.listen = running.api!.listen }
        (new.store.enabled, new.store.path) = (running.store.enabled, running.store.path)
        let path = running.dataPath
        new.dataPath = path
        new.dataPath.allowAddressChange = dataPath.allowAddressChange
        // Same sockets; where their users go may have changed.
        // A tunnel that does not run yet cannot take anybody.
        new.listeners = running.listeners.map { old in
            guard let changed = listeners.first(where: { $0.address == old.address && $0.port == old.port }),
                running.tunnel(named: changed.tunnel) != nil
            else { return old }
            return changed
        }
        new.tunnels = running.tunnels.map { old in
            guard var changed = tunnel(named: old.name) else { return old }
            changed.interface = old.interface
            changed.backend = old.backend
            changed.table = old.table
            changed.defaultGroup = old.defaultGroup
            if changed.mode != old.mode {
                changed.mode = old.mode
                // Only one of the two modes has a key in the file.
                (changed.privateKeyFile, changed.privateKey) = (old.privateKeyFile, old.privateKey)
            }
            return changed
        }
        // A listener is opened, and its interface named, at a start only.
        if new.access == nil || running.access == nil { new.access = running.access } else { new.access?.interface = running.access!.interface }
        return new
    }
}
