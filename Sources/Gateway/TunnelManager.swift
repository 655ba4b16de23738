import Addresses
import Authentication
import Foundation
import Logging
import Netlink
import Settings
import WireGuard

/// The WireGuard side: one backend for each tunnel, the peers' changing addresses, and the rules that let users' packets into
/// their tunnel and nowhere else.
actor TunnelManager {
    /// What the data path has to know of a tunnel.
    struct State: Equatable, Sendable {
        var index: UInt32
        var mtu: UInt16
        var up: Bool
    }

    private struct Tunnel {
        let index: UInt32
        let backend: any TunnelBackend
        let kind: String
        var configuration: TunnelConfiguration
        var interfaceIndex: UInt32 = 0
        var tracker: EndpointTracker
        var problem: String?
        var reported: State?
    }

    /// By name; the number is the tunnel's index in the data path.
    nonisolated let indexes: [String: UInt32]
    private let settings: CausewayConfiguration
    private let mark: InstanceMark
    private let logger: Logger
    private let resolver: any EndpointResolver
    private var tunnels: [String: Tunnel] = [:]
    private var routing: PolicyRouting?
    private var routed: CausewayConfiguration?
    private var warned: Set<String> = []
    private var routingProblem: String?
    /// Whether each interface of ours was up when its last event came.
    private var wasUp: [String: Bool] = [:]

    init(configuration: CausewayConfiguration, logger: Logger, resolver: any EndpointResolver = SystemResolver()) throws {
        guard let mark = InstanceMark(instance: configuration.instance) else {
            throw GatewayError("instance \"\(configuration.instance)\" is not a name")
        }
        settings = configuration
        self.mark = mark
        self.logger = logger
        self.resolver = resolver
        indexes = Dictionary(uniqueKeysWithValues: configuration.tunnels.enumerated().map { ($1.name, UInt32($0)) })
    }

    // MARK: Life

    /// Makes every interface and configures it. A peer whose name cannot be resolved yet does not stop the gateway.
    func start() async throws {
        for tunnel in settings.tunnels {
            let (backend, kind) = try await makeBackend(for: tunnel)
            let configuration = try tunnel.wireGuard()
            var entry = Tunnel(
                index: indexes[tunnel.name]!, backend: backend, kind: kind, configuration: configuration,
                tracker: EndpointTracker(configuration.peers))
            entry.interfaceIndex = try await backend.create()
            tunnels[tunnel.name] = entry
            // Names are looked up once everything stands (`maintain`): a name server that is silent must not keep the gateway down.
            _ = try await backend.apply(configuration, endpoints: tunnels[tunnel.name]!.tracker.endpoints)
            logger.info("tunnel \"\(tunnel.name)\": \(tunnel.interface) (\(kind)), public key \(configuration.privateKey.publicKey)")
        }
    }

    private func makeBackend(for tunnel: CausewayConfiguration.Tunnel) async throws -> (any TunnelBackend, String) {
        let kernel: BackendProbe.Result = tunnel.backend == .embedded ? .unavailable(reason: "") : try BackendProbe.kernelWireGuard()
        if kernel == .available { return (KernelBackend(interfaceName: tunnel.interface, mark: mark), "kernel") }
        if case .unavailable(let reason) = kernel, tunnel.backend == .kernel {
            throw GatewayError(
                "tunnel \"\(tunnel.name)\": the kernel has no WireGuard (\(reason)); load it with: modprobe wireguard; or set backend = \"auto\"")
        }
        guard let path = DeviceProgram.find() else {
            throw GatewayError(
                "tunnel \"\(tunnel.name)\": the kernel has no WireGuard and there is no wireguard-go in PATH; install it: apt install wireguard-go")
        }
        let program = try await DeviceProgram.probe(path: path)
        return (UserspaceBackend(interfaceName: tunnel.interface, mark: mark, program: program, logger: logger), "userspace")
    }

    /// Rules, tables and interface switches that confine users' packets. The TUN must exist.
    /// - Parameter live: prefixes of open sessions by tunnel; they stay routed even if the configuration does not have them any more.
    func route(_ configuration: CausewayConfiguration, live: [String: [IPPrefix]]) throws {
        let socket = try NetlinkSocket(.route)
        let tun = configuration.dataPath.interface
        guard let link = try socket.link(named: tun) else { throw GatewayError("the TUN interface \(tun) is gone: restart the gateway") }
        if link.alias != mark.alias || !link.isUp {
            try socket.perform(LinkRequest.change(index: link.index, name: tun, LinkChange(up: true, alias: mark.alias)))
        }
        let routing = try PolicyRouting(
            tunName: tun, tunIndex: link.index,
            tunnels: configuration.tunnels.map { tunnel in
                PolicyRouting.Tunnel(
                    interfaceName: tunnel.interface, interfaceIndex: tunnels[tunnel.name]?.interfaceIndex ?? 0, table: tunnel.table,
                    prefixes: configuration.innerPrefixes(ofTunnel: tunnel.name) + (live[tunnel.name] ?? []))
            }, returnTable: configuration.dataPath.returnTable, basePriority: configuration.dataPath.rulePriority)
        // Set first: what a failure half way has made is removed at the end all the same.
        self.routing = routing
        routed = configuration
        let change = try routing.apply(socket)
        for warning in change.warnings where !warned.contains(warning) {
            logger.warning("policy routing: \(warning)")
            warned.insert(warning)
        }
        if change.added + change.removed > 0 {
            logger.info("policy routing: \(change.added) rules and routes added, \(change.removed) removed")
        }
    }

    /// An interface appeared, went, or changed. The kernel drops the routes of one that goes down; when it is back they are set again.
    /// (Only a change between up and down counts: applying the rules is itself a link event.)
    func linkChanged(_ name: String, up: Bool, live: [String: [IPPrefix]]) {
        guard let routed, name == routed.dataPath.interface || routed.tunnels.contains(where: { $0.interface == name }) else { return }
        guard wasUp.updateValue(up, forKey: name) != up else { return }
        restoreRouting(live: live)
    }

    /// Sets whatever rule or route of ours is missing, and removes what is not needed any more.
    func restoreRouting(live: [String: [IPPrefix]]) {
        guard let routed else { return }
        do {
            try route(routed, live: live)
            routingProblem = nil
        } catch {
            if routingProblem != "\(error)" { logger.error("policy routing: \(error)") }
            routingProblem = "\(error)"
        }
    }

    /// Makes an interface anew that somebody deleted.
    private func recreateIfGone(_ name: String) async {
        guard let tunnel = tunnels[name] else { return }
        do {
            guard try NetlinkSocket(.route).link(named: tunnel.configuration.interfaceName) == nil else { return }
        } catch {
            return logger.error("tunnel \"\(name)\" cannot be looked at: \(error)")
        }
        logger.warning("tunnel \"\(name)\": interface \(tunnel.configuration.interfaceName) was deleted; making it again")
        do {
            try await tunnel.backend.remove()
            tunnels[name]?.interfaceIndex = try await tunnel.backend.create()
            _ = try await tunnel.backend.apply(tunnel.configuration, endpoints: tunnel.tracker.endpoints)
        } catch {
            logger.error("tunnel \"\(name)\" cannot be made again: \(error)")
        }
    }

    /// Takes a changed configuration: peers, keys, addresses and the prefixes that may enter each tunnel.
    func apply(_ configuration: CausewayConfiguration, live: [String: [IPPrefix]]) async throws {
        // Read and checked as a whole before the first change.
        let wanted = try Dictionary(uniqueKeysWithValues: configuration.tunnels.map { ($0.name, try $0.wireGuard()) })
        for wanted in wanted.values { try wanted.validate() }
        for (name, wanted) in wanted.sorted(by: { $0.key < $1.key }) {
            guard tunnels[name] != nil else { continue }
            tunnels[name]!.configuration = wanted
            tunnels[name]!.tracker.update(wanted.peers)
            await resolveNames(of: name)
            guard let tunnel = tunnels[name] else { continue }
            let change = try await tunnel.backend.apply(wanted, endpoints: tunnel.tracker.endpoints)
            if !change.isEmpty {
                logger.info(
                    "tunnel \"\(name)\": \(change.peersAdded) peers added, \(change.peersChanged) changed, \(change.peersRemoved) removed")
            }
        }
        try route(configuration, live: live)
    }

    /// The first half of the end: no packet leaves any more, the rules still stand.
    func removeInterfaces() async -> [String] {
        var leftovers: [String] = []
        for (name, tunnel) in tunnels {
            do { try await tunnel.backend.remove() } catch { leftovers.append("tunnel \"\(name)\" cannot be removed: \(error)") }
        }
        tunnels = [:]
        return leftovers
    }

    /// The second half, once the TUN is gone too: nothing is left that the rules could guard.
    func removeRouting() -> [String] {
        defer {
            routing = nil
            routed = nil
        }
        do {
            try routing?.remove(NetlinkSocket(.route))
            return []
        } catch {
            return ["the policy rules cannot be removed: \(error)"]
        }
    }

    // MARK: Watching

    /// Names that are due for another look, and devices that came back.
    func maintain() async {
        for name in tunnels.keys.sorted() {
            await recreateIfGone(name)
            if let status = try? await tunnels[name]?.backend.status() {
                tunnels[name]?.tracker.observe(status, wallClock: .seconds(Date().timeIntervalSince1970))
            }
            for (peer, endpoint) in await resolveNames(of: name) {
                do {
                    try await tunnels[name]?.backend.setEndpoint(endpoint, of: peer)
                    logger.info("tunnel \"\(name)\": peer \(peer) is at \(endpoint) now")
                } catch {
                    logger.warning("tunnel \"\(name)\": peer \(peer) cannot be sent to \(endpoint): \(error)")
                }
            }
        }
    }

    @discardableResult
    private func resolveNames(of name: String) async -> [PublicKey: Endpoint] {
        var moves: [PublicKey: Endpoint] = [:]
        for query in tunnels[name]?.tracker.due(.now) ?? [] {
            do {
                let addresses = try await resolver.resolve(query.name, port: query.port)
                moves.merge(tunnels[name]?.tracker.resolved(query, addresses) ?? [:]) { $1 }
            } catch {
                logger.warning("tunnel \"\(name)\": \(error); trying again")
            }
        }
        return moves
    }

    func states() async -> [State] {
        for name in tunnels.keys { await readState(of: name) }
        return tunnels.values.compactMap(\.reported).sorted { $0.index < $1.index }
    }

    /// Those that differ from what was reported last.
    func changedStates() async -> [State] {
        var changed: [State] = []
        for name in tunnels.keys.sorted() {
            let before = tunnels[name]?.reported
            await readState(of: name)
            if let now = tunnels[name]?.reported, now != before {
                changed.append(now)
                let text = now.up ? "up, MTU \(now.mtu)" : "DOWN: its users' packets are dropped (\(tunnels[name]?.problem ?? ""))"
                logger.log(level: now.up ? .notice : .error, "tunnel \"\(name)\" is \(text)")
            }
        }
        return changed
    }

    private func readState(of name: String) async {
        guard let tunnel = tunnels[name] else { return }
        // A question that fails (no descriptor left, a device too busy to answer) says nothing about the tunnel: it stays as it was.
        var up = tunnel.reported?.up ?? false
        var problem: String?
        do {
            switch try await tunnel.backend.status().health {
            case .running: up = true
            case .restarting(let reason, let attempt):
                up = false
                problem = "the device ended (\(reason)); start \(attempt)"
            case .broken(let reason):
                up = false
                problem = reason
            }
        } catch {
            problem = "\(error)"
        }
        tunnels[name]?.problem = problem
        tunnels[name]?.reported = State(index: tunnel.index, mtu: UInt16(clamping: tunnel.configuration.mtu), up: up)
    }

    func views() async -> [TunnelView] {
        var views: [TunnelView] = []
        for (name, tunnel) in tunnels.sorted(by: { $0.value.index < $1.value.index }) {
            let status = try? await tunnel.backend.status()
            let now = Date().timeIntervalSince1970
            views.append(
                TunnelView(
                    name: name, interface: tunnel.configuration.interfaceName, backend: tunnel.kind,
                    up: status.map { $0.health == .running } ?? false, publicKey: "\(tunnel.configuration.privateKey.publicKey)",
                    listenPort: status?.listenPort,
                    peers: status?.peers.map { peer in
                        PeerView(
                            publicKey: "\(peer.publicKey)", endpoint: peer.endpoint?.description, allowedIPs: peer.allowedIPs.sorted(),
                            lastHandshakeSeconds: peer.latestHandshake.map { max(0, Int(now - $0.seconds)) },
                            receivedBytes: peer.receivedBytes, sentBytes: peer.sentBytes)
                    } ?? [], problem: tunnel.problem))
        }
        return views
    }
}

extension CausewayConfiguration.Tunnel {
    /// As the WireGuard module wants it.
    func wireGuard() throws -> TunnelConfiguration {
        func fail(_ what: String) -> GatewayError { GatewayError("tunnel \"\(name)\": \(what)") }
        guard let key = privateKey?.withUnsafeBytes({ PrivateKey(bytes: $0) }) else { throw fail("the private key has not 32 bytes") }
        return TunnelConfiguration(
            interfaceName: interface, privateKey: key, listenPort: listenPort == 0 ? nil : listenPort, fwmark: fwmark, mtu: UInt32(mtu),
            addresses: addresses.map { TunnelAddress($0.address, prefixLength: $0.length) },
            peers: try peers.map { peer in
                let hub = peer.primary
                guard let publicKey = PublicKey(hub.publicKey) else { throw fail("peer key \(hub.publicKey) is not base64 of 32 bytes") }
                return PeerConfiguration(
                    publicKey: publicKey, endpoint: hub.endpoints.first.flatMap { PeerEndpoint($0.description) },
                    allowedIPs: Set(peer.allowedIPs),
                    presharedKey: hub.presharedKey?.withUnsafeBytes { PresharedKey(bytes: $0) },
                    keepalive: peer.persistentKeepalive)
            })
    }
}
