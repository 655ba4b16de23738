import Addresses
import Authentication
import CLinux
import DataPath
import Foundation
import Hummingbird
import Logging
import NIOCore
import NIOPosix
import ServiceLifecycle
import Settings
import UnixSignals

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// The composition root: everything is made here, in order, and taken down in reverse.
///
///     tunnels -> data path (TUN) -> policy routing -> sessions -> listeners -> control API -> ready
///
/// The order is what makes it fail closed: no packet can leave the data path before the rules stand that confine it to its tunnel,
/// and no client is answered before there is a tunnel to carry it.
public actor GatewayService: Service, Operations {
    private let configurationPath: String
    private let version: String
    private let logger: Logger
    private let group: MultiThreadedEventLoopGroup
    private let authenticator: LocalAuthenticator
    private let tunnelManager: TunnelManager
    private let notification = ServiceNotification()
    private var configuration: CausewayConfiguration
    private var controller: SessionController?
    private var listeners: [PPTPListener] = []
    private var monitor: HostMonitor?
    private let failures: AsyncStream<GatewayError>
    private let failed: AsyncStream<GatewayError>.Continuation

    public init(configuration: CausewayConfiguration, path: String, version: String, logger: Logger) throws {
        self.configuration = configuration
        configurationPath = path
        self.version = version
        self.logger = logger
        group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        authenticator = LocalAuthenticator(directory: configuration.users, limits: configuration.loginLimits)
        tunnelManager = try TunnelManager(configuration: configuration, logger: logger)
        (failures, failed) = AsyncStream.makeStream(of: GatewayError.self)
    }

    /// Runs the gateway until SIGTERM or SIGINT (or a failure that it cannot live with), then takes everything down.
    public static func serve(configuration: CausewayConfiguration, path: String, version: String, logger: Logger) async throws {
        let gateway = try GatewayService(configuration: configuration, path: path, version: version, logger: logger)
        do {
            try await gateway.start()
        } catch {
            await gateway.stop()
            throw error
        }
        let api = Application(
            router: ControlAPI.router(gateway),
            configuration: .init(address: .unixDomainSocket(path: configuration.controlSocket), serverName: "causeway"),
            onServerRunning: { _ in await gateway.ready() }, logger: logger.quieter)
        let services = ServiceGroup(
            configuration: .init(
                services: [
                    .init(
                        service: gateway, successTerminationBehavior: .gracefullyShutdownGroup,
                        failureTerminationBehavior: .gracefullyShutdownGroup),
                    .init(service: api, failureTerminationBehavior: .gracefullyShutdownGroup),
                    .init(service: ReloadOnHangup(gateway: gateway)),
                ],
                gracefulShutdownSignals: [.sigterm, .sigint], logger: logger.quieter))
        try await services.run()
    }

    // MARK: Start

    private func start() async throws {
        try removeStaleSocket()
        try await tunnelManager.start()
        let engine = try Engine(configuration.engine)
        let controller = SessionController(
            configuration: configuration, authenticator: authenticator, tunnels: tunnelManager.indexes, engine: engine,
            eventLoop: group.next(), logger: logger)
        self.controller = controller
        let monitor = try HostMonitor()
        self.monitor = monitor
        try await tunnelManager.route(configuration)
        await controller.onFailure { [failed] in failed.yield($0) }
        try await controller.start()
        await controller.setLocalAddresses(try localAddresses())
        for state in await tunnelManager.states() { await controller.setTunnel(state.index, mtu: state.mtu, up: state.up) }
        let sockets = Privileges.adoptedSockets()
        for listener in configuration.listeners {
            let descriptor = sockets[Endpoint(listener.address, listener.port)]
            listeners.append(try await PPTPListener.open(listener, descriptor: descriptor, controller: controller, group: group))
            logger.info("listening on TCP \(Endpoint(listener.address, listener.port)) for tunnel \"\(listener.tunnel)\"")
        }
    }

    /// A socket file that nobody answers on is what a killed gateway left.
    private func removeStaleSocket() throws {
        let path = configuration.controlSocket
        guard access(path, F_OK) == 0 else { return }
        if UnixSocket.isAnswered(path) {
            throw GatewayError("a gateway is running already on \(path): stop it first, or give this one another control.socket and instance")
        }
        guard unlink(path) == 0 else { throw GatewayError("cannot remove the stale socket \(path): \(String(cString: strerror(errno)))") }
    }

    /// The host's own addresses, and our end of every link: users do not reach the gateway.
    private func localAddresses() throws -> [IPAddress] {
        Array(try HostMonitor.addresses().union(configuration.pools.map(\.gateway)))
    }

    private func ready() {
        chmod(configuration.controlSocket, 0o600)
        logger.info("ready: \(configuration.listeners.count) listening addresses, control socket \(configuration.controlSocket)")
        notification.ready("Serving")
    }

    // MARK: Run

    public func run() async throws {
        var failure: GatewayError?
        await withTaskGroup(of: GatewayError?.self) { group in
            group.addTask {
                try? await gracefulShutdown()
                return nil
            }
            group.addTask { [failures] in await failures.first { _ in true } }
            group.addTask {
                await self.watchHost()
                return nil
            }
            group.addTask {
                await self.superviseTunnels()
                return nil
            }
            // The watchers end with the gateway only; whichever of the first two ends first decides.
            failure = await group.next() ?? nil
            group.cancelAll()
            monitor?.stop()
            failed.finish()
        }
        notification.stopping()
        await stop()
        if let failure { throw failure }
    }

    private func watchHost() async {
        guard let monitor, let controller else { return }
        for await event in monitor.events {
            switch event {
            case .addressAdded, .addressRemoved, .overrun:
                if let addresses = try? localAddresses() { await controller.setLocalAddresses(addresses) }
            case .linkChanged(let link): await tunnelManager.linkChanged(link.name, up: link.isUp)
            case .linkRemoved(let link): await tunnelManager.linkChanged(link.name, up: false)
            }
            await reportTunnels()
        }
        await untilCancelled()
    }

    private func superviseTunnels() async {
        while !Task.isCancelled {
            try? await Task.sleep(for: .seconds(5))
            guard !Task.isCancelled else { return }
            await tunnelManager.maintain()
            await reportTunnels()
            await controller?.giveBackMemory()
        }
    }

    private func reportTunnels() async {
        guard let controller else { return }
        for state in await tunnelManager.changedStates() { await controller.setTunnel(state.index, mtu: state.mtu, up: state.up) }
    }

    private func untilCancelled() async {
        while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
    }

    // MARK: Stop

    private func stop() async {
        for listener in listeners { try? await listener.channel.close() }
        listeners = []
        if let controller {
            await controller.shutdown()
            await controller.stop()
        }
        controller = nil
        monitor?.stop()
        await tunnelManager.removeInterfaces()
        await tunnelManager.removeRouting()
        try? await group.shutdownGracefully()
        unlink(configuration.controlSocket)
        logger.info("stopped; nothing is left behind")
    }

    // MARK: Operations

    func status() async -> StatusView {
        let tunnels = await tunnelManager.views()
        return await controller!.status(version: version, tunnels: tunnels)
    }
    func sessions() async -> [SessionView] { await controller?.list() ?? [] }
    func tunnels() async -> [TunnelView] { await tunnelManager.views() }
    func disconnect(session id: UInt64) async -> Bool { await controller?.disconnect(session: id) ?? false }
    func disconnect(user: String) async -> [UInt64] { await controller?.disconnect(user: user) ?? [] }

    /// Reads the configuration again and takes what can change without dropping a session. An error changes nothing.
    func reload() async throws -> ReloadView {
        notification.reloading()
        defer { notification.ready("Serving") }
        let read: CausewayConfiguration
        do {
            read = try CausewayConfiguration.load(path: configurationPath)
        } catch {
            logger.error("reload: the configuration is wrong, nothing was changed:\n\(error)")
            throw error
        }
        let diff = CausewayConfiguration.diff(configuration, read)
        let new = read.keepingStartOnly(of: configuration)
        do {
            try await tunnelManager.apply(new)
        } catch {
            logger.error("reload: \(error)")
            throw error
        }
        configuration = new
        authenticator.replace(directory: new.users)
        authenticator.replace(limits: new.loginLimits)
        await controller?.adopt(new)
        if let addresses = try? localAddresses() { await controller?.setLocalAddresses(addresses) }
        await reportTunnels()
        logger.notice("reloaded: \(diff.live.isEmpty ? "nothing has changed" : "in force now: " + diff.live.joined(separator: ", "))")
        if !diff.needsRestart.isEmpty { logger.warning("waits for a restart: \(diff.needsRestart.joined(separator: ", "))") }
        return ReloadView(applied: diff.live, needRestart: diff.needsRestart)
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
        let path = running.dataPath
        new.dataPath = path
        new.dataPath.allowAddressChange = dataPath.allowAddressChange
        // Same sockets; where their users go may have changed.
        new.listeners = running.listeners.map { old in
            listeners.first { $0.address == old.address && $0.port == old.port } ?? old
        }
        new.tunnels = running.tunnels.map { old in
            guard var changed = tunnel(named: old.name) else { return old }
            changed.interface = old.interface
            changed.backend = old.backend
            changed.table = old.table
            return changed
        }
        return new
    }
}
