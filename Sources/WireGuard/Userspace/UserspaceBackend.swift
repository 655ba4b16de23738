import Addresses
import CLinux
import Dispatch
import Logging
import Netlink

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// WireGuard in a process of its own (wireguard-go), for kernels without it. The TUN is ours: it stays, and with it the
/// routes into it, while a device that died is started again; packets are dropped meanwhile and take no other way.
///
/// Timers: a device that ended is started again after 0.2 s, doubling up to 30 s; the count starts anew once a device ran for 60 s.
public actor UserspaceBackend: TunnelBackend {
    public nonisolated let interfaceName: String
    private let mark: InstanceMark
    private let program: DeviceProgram
    private let logger: Logger
    private var device: Device?
    private var appliedEndpoints: [PublicKey: Endpoint] = [:]
    private var lastApplied: TunnelConfiguration?

    private struct Device {
        let route: NetlinkSocket
        let index: UInt32
        let tun: Int32
        var state: State
        var attempt = 0
    }

    private enum State {
        case running(DeviceProcess, exit: any DispatchSourceRead, since: ContinuousClock.Instant)
        case waiting(reason: String, restart: Task<Void, Never>)
    }

    private static let startPatience = Duration.seconds(5)
    private static let firstBackOff = Duration.milliseconds(200)
    private static let longestBackOff = Duration.seconds(30)
    private static let steadyAfter = Duration.seconds(60)

    public init(interfaceName: String, mark: InstanceMark, program: DeviceProgram, logger: Logger) {
        self.interfaceName = interfaceName
        self.mark = mark
        self.program = program
        var logger = logger
        logger[metadataKey: "tunnel"] = "\(interfaceName)"
        self.logger = logger
    }

    // ---- TunnelBackend ----

    public func create() async throws -> UInt32 {
        try InterfaceName.validate(interfaceName)
        if let device { return device.index }
        try DeviceProgram.prepareSocketDirectory()
        let route = try NetlinkSocket(.route)
        try await clearLeftover(route)

        let tun = clinux_tun_open(interfaceName, program.tunOptions)
        guard tun >= 0 else {
            let hint = tun == -EPERM ? " (this needs CAP_NET_ADMIN)" : ""
            throw TunnelError.device(
                interface: interfaceName, reason: "cannot make a TUN: \(String(cString: strerror(-tun)))\(hint)")
        }
        var started: DeviceProcess?
        do {
            guard let link = try route.link(named: interfaceName) else { throw TunnelError.notCreated(interfaceName) }
            try route.perform(LinkRequest.change(index: link.index, name: interfaceName, LinkChange(alias: mark.alias)))
            route.disableAutomaticIPv6(link)
            let process = try startProcess(tun)
            started = process
            try await waitUntilReady(process)
            device = Device(route: route, index: link.index, tun: tun, state: running(process))
            return link.index
        } catch {
            if let started, started.reap() == nil { await started.end() }
            close(tun)
            unlink(DeviceProgram.socketPath(interfaceName))
            throw error
        }
    }

    public func apply(_ configuration: TunnelConfiguration, endpoints: [PublicKey: Endpoint]) async throws -> TunnelChange {
        guard configuration.interfaceName == interfaceName else {
            throw TunnelError.configuration(
                interface: interfaceName, reason: "this is the configuration of \(configuration.interfaceName)")
        }
        try configuration.validate()
        let device = try runningDevice()
        let update = DeviceUpdate(
            from: try readState(), to: configuration, endpoints: endpoints, appliedEndpoints: appliedEndpoints)
        try send(update)
        appliedEndpoints = endpoints
        lastApplied = configuration
        var change = update.change
        if try device.route.configureInterface(try link(device), for: configuration) { change.interfaceChanged = true }
        return change
    }

    public func setEndpoint(_ endpoint: Endpoint, of peer: PublicKey) async throws {
        _ = try runningDevice()
        try send(DeviceUpdate(peers: [.init(publicKey: peer, kind: .change, endpoint: endpoint)]))
        appliedEndpoints[peer] = endpoint
    }

    public func status() async throws -> TunnelStatus {
        guard let device else { throw TunnelError.notCreated(interfaceName) }
        switch device.state {
        case .waiting(let reason, _):
            return silent(device, .restarting(reason: reason, attempt: device.attempt))
        case .running:
            guard let link = try device.route.link(index: device.index) else {
                return silent(device, .broken(reason: "the interface is gone; somebody deleted it"))
            }
            guard link.isUp else { return silent(device, .broken(reason: "the interface is down")) }
            do {
                return try readState().status(interfaceName: interfaceName, index: device.index, health: .running)
            } catch {
                // It may have ended a moment ago.
                return silent(device, .broken(reason: "\(error)"))
            }
        }
    }

    /// What is known of a device that cannot be asked.
    private func silent(_ device: Device, _ health: TunnelStatus.Health) -> TunnelStatus {
        DeviceState().status(interfaceName: interfaceName, index: device.index, health: health)
    }

    public func remove() async throws {
        guard let device else { return }
        self.device = nil
        appliedEndpoints = [:]
        lastApplied = nil
        switch device.state {
        case .running(let process, let exit, _):
            exit.cancel()
            await process.end()
        case .waiting(_, let restart):
            restart.cancel()
        }
        close(device.tun)
        unlink(DeviceProgram.socketPath(interfaceName))
        // Closing the TUN unregisters the interface; a caller may want to use the name again.
        for _ in 0..<100 {
            guard try device.route.link(index: device.index) != nil else { return }
            await pause(.milliseconds(10))
        }
        throw TunnelError.device(
            interface: interfaceName, reason: "the TUN interface does not go away: another process has it open")
    }

    // ---- Start ----

    /// A TUN of ours that exists before we open it is held by a device that outlived an earlier run.
    private func clearLeftover(_ route: NetlinkSocket) async throws {
        guard let link = try route.link(named: interfaceName) else { return }
        guard link.kind == "tun", mark.isOn(link) else { throw TunnelError.foreignInterface(interfaceName, kind: link.kind) }
        logger.notice("ending the device that an earlier run left behind")
        try await DeviceProcess.endLeftover(interface: interfaceName)
        unlink(DeviceProgram.socketPath(interfaceName))
        for _ in 0..<200 {
            guard let present = try route.link(named: interfaceName), present.index == link.index else { return }
            await pause(.milliseconds(10))
        }
        throw TunnelError.device(
            interface: interfaceName,
            reason: "an earlier run's interface is still held by some process; find it in /proc/*/fdinfo (iff: \(interfaceName))")
    }

    private func startProcess(_ tun: Int32) throws -> DeviceProcess {
        let listener = try UAPISocket.listen(interfaceName)
        defer { close(listener) }
        return try DeviceProcess.start(program.path, interface: interfaceName, tun: tun, listener: listener)
    }

    private func waitUntilReady(_ process: DeviceProcess) async throws {
        let deadline = ContinuousClock.now + Self.startPatience
        while true {
            do {
                _ = try readState()
                return
            } catch {
                if let reason = process.reap() {
                    throw TunnelError.device(
                        interface: interfaceName, reason: "\(program.path) ended at once (\(reason)); its log says why")
                }
                guard ContinuousClock.now < deadline else { throw error }
                await pause(.milliseconds(20))
            }
        }
    }

    // ---- Supervision ----

    private func running(_ process: DeviceProcess) -> State {
        let source = DispatchSource.makeReadSource(fileDescriptor: process.descriptor, queue: .global())
        source.setEventHandler { [weak self] in
            source.cancel()
            Task { await self?.processEnded(process.id) }
        }
        source.resume()
        return .running(process, exit: source, since: .now)
    }

    private func processEnded(_ id: pid_t) {
        guard case .running(let process, _, let since)? = device?.state, process.id == id, let reason = process.reap() else {
            return
        }
        if ContinuousClock.now - since > Self.steadyAfter { device?.attempt = 0 }
        logger.error("the WireGuard device ended", metadata: ["reason": "\(reason)"])
        scheduleRestart(reason)
    }

    private func scheduleRestart(_ reason: String) {
        guard var device else { return }
        let delay = min(Self.firstBackOff * (1 << min(device.attempt, 10)), Self.longestBackOff)
        device.attempt += 1
        device.state = .waiting(
            reason: reason,
            restart: Task { [weak self] in
                guard (try? await Task.sleep(for: delay)) != nil else { return }
                await self?.restart()
            })
        self.device = device
    }

    private func restart() async {
        guard let device, case .waiting = device.state else { return }
        let process: DeviceProcess
        do {
            process = try startProcess(device.tun)
        } catch {
            logger.error("the WireGuard device cannot be started again", metadata: ["reason": "\(error)"])
            return scheduleRestart("\(error)")
        }
        // Running from here on, so that a removal during the wait finds the process.
        self.device?.state = running(process)
        do {
            while true {
                guard case .running(let current, _, _)? = self.device?.state, current.id == process.id else { return }
                if (try? readState()) != nil { break }
                await pause(.milliseconds(20))
            }
            if let configuration = lastApplied {
                let endpoints = appliedEndpoints
                _ = try await apply(configuration, endpoints: endpoints)
            }
            logger.notice("the WireGuard device runs again")
        } catch {
            logger.error("the restarted WireGuard device cannot be configured", metadata: ["reason": "\(error)"])
        }
    }

    // ---- Talking to it ----

    private func runningDevice() throws -> Device {
        guard let device else { throw TunnelError.notCreated(interfaceName) }
        if case .waiting(let reason, _) = device.state {
            throw TunnelError.device(
                interface: interfaceName, reason: "the device ended (\(reason)) and is about to be started again")
        }
        return device
    }

    private func link(_ device: Device) throws -> Link {
        guard let link = try device.route.link(index: device.index) else {
            throw TunnelError.device(interface: interfaceName, reason: "the interface is gone; somebody deleted it")
        }
        return link
    }

    private func readState() throws -> DeviceState {
        var answer = try UAPISocket.exchange(interfaceName, UAPIText.get)
        defer { answer.wipe() }
        return try inWords { try UAPIText.parseDevice(answer) }
    }

    private func send(_ update: DeviceUpdate) throws {
        guard !update.isEmpty else { return }
        var request = UAPIText.set(update)
        defer { request.wipe() }
        let answer = try UAPISocket.exchange(interfaceName, request)
        try inWords { try UAPIText.parseResult(answer) }
    }

    private func inWords<Result>(_ body: () throws -> Result) throws -> Result {
        do {
            return try body()
        } catch UAPIText.Failure.refused(let code) {
            throw TunnelError.device(interface: interfaceName, reason: "the device refused: \(String(cString: strerror(code)))")
        } catch UAPIText.Failure.malformed(let what) {
            throw TunnelError.device(interface: interfaceName, reason: "the device sent something malformed: \(what)")
        }
    }
}
