import Addresses
import DataPath
import Foundation
import Logging
import Netlink
import Settings
import WireGuard

/// The WireGuard side: the uplinks of each tunnel, the hubs that they use, the peers' changing addresses, and the rules that let users'
/// packets into their tunnel and nowhere else.
///
/// Its files: this one holds the state and the life of tunnels and uplinks; `+Routing` the kernel's rules; `+Hubs` which hub is used;
/// `+Views` what the data path and operators are told.
actor TunnelManager: UplinkProvider {
    struct Tunnel {
        let index: UInt32
        let kind: BackendKind
        /// Of the embedded backend.
        let port: EmbeddedPort?
        var settings: CausewayConfiguration.Tunnel
        var routes: [HubRoute]
        /// One for each route.
        var selectors: [HubSelector]
        var probe: HubProbe?
        /// Of the hubs in use.
        var tracker: EndpointTracker
        var uplinks: [String: Uplink] = [:]
        /// The identities that the hub is to know, by name; in mode `shared` the tunnel's own.
        var identities: [String: UplinkIdentity]
        /// Wall clock of the last handshake of each identity, in this run.
        var handshakes: [String: Date] = [:]
        var outage: HubOutage?
        var lostPackets: UInt64 = 0
        var failovers: UInt64 = 0
        var problem: String?
        var reported: TunnelState?
    }

    /// By name; the number is the tunnel's index in the data path.
    nonisolated let indexes: [String: UInt32]
    nonisolated let kinds: [String: BackendKind]
    let settings: CausewayConfiguration
    let mark: InstanceMark
    let logger: Logger
    let resolver: any EndpointResolver
    /// nil without embedded tunnels.
    private(set) var engine: WireGuardEngine?
    var tunnels: [String: Tunnel] = [:]
    /// Uplinks that are being made: whoever asks for one meanwhile waits with the first.
    private var beginning: [UplinkName: Task<Void, any Error>] = [:]
    private var servers: [UAPIServer] = []
    /// What `wg show` finds under the interface of a tunnel with many identities.
    private var listed: [String: IdentitiesInterface] = [:]

    var routing: PolicyRouting?
    var routed: CausewayConfiguration?
    /// Inner prefixes of open sessions by tunnel, as of the last time that we were told.
    var live: [String: [IPPrefix]] = [:]
    var warned: Set<String> = []
    var routingProblem: String?
    /// Whether each interface of ours was up when its last event came.
    var wasUp: [String: Bool] = [:]

    private struct UplinkName: Hashable {
        var tunnel: String
        var identity: String
    }

    init(
        configuration: CausewayConfiguration, kinds: [String: BackendKind], logger: Logger, resolver: any EndpointResolver = SystemResolver()
    ) throws {
        guard let mark = InstanceMark(instance: configuration.instance) else {
            throw GatewayError("instance \"\(configuration.instance)\" is not a name")
        }
        settings = configuration
        self.kinds = kinds
        self.mark = mark
        self.logger = logger
        self.resolver = resolver
        indexes = Dictionary(uniqueKeysWithValues: configuration.tunnels.enumerated().map { ($1.name, UInt32($0)) })
    }

    /// Which backend each tunnel gets. `auto` is the kernel's where there is one, unless that would be more interfaces than it may have.
    static func chooseBackends(
        _ configuration: CausewayConfiguration, identities: [String: Int] = [:],
        probe: () throws -> BackendProbe.Result = BackendProbe.kernelWireGuard
    ) throws -> [String: BackendKind] {
        var answer: BackendProbe.Result?
        var kinds: [String: BackendKind] = [:]
        for tunnel in configuration.tunnels {
            let isTooMany = tunnel.mode != .shared && identities[tunnel.name, default: 0] > tunnel.mostIdentities
            if tunnel.backend == .embedded || (tunnel.backend == .auto && isTooMany) {
                kinds[tunnel.name] = .embedded
                continue
            }
            if answer == nil { answer = try probe() }
            switch answer! {
            case .available where isTooMany:
                throw GatewayError(
                    "tunnel \"\(tunnel.name)\": \(identities[tunnel.name, default: 0]) identities would be as many kernel interfaces, and most-identities is \(tunnel.mostIdentities): set backend = \"embedded\""
                )
            case .available: kinds[tunnel.name] = .kernel
            case .unavailable(let reason) where tunnel.backend == .kernel:
                throw GatewayError(
                    "tunnel \"\(tunnel.name)\": the kernel has no WireGuard (\(reason)); load it with: modprobe wireguard; or set backend = \"auto\"")
            case .unavailable: kinds[tunnel.name] = .embedded
            }
        }
        return kinds
    }

    // MARK: Life

    /// Makes every tunnel, and the uplinks of those that have only one. A peer whose name cannot be resolved yet does not stop the gateway.
    func start(engine: WireGuardEngine?, identities: [String: [String: UplinkIdentity]]) async throws {
        self.engine = engine
        removeLeftovers()
        for tunnel in settings.tunnels {
            let kind = kinds[tunnel.name]!
            let routes = try tunnel.routes()
            let timing = tunnel.hubTiming(kind)
            let selectors = routes.map { HubSelector(endpoints: $0.hubs.map(\.endpoints.count), timing: timing, now: .now) }
            let own = try Self.identities(of: tunnel, identities[tunnel.name] ?? [:])
            tunnels[tunnel.name] = Tunnel(
                index: indexes[tunnel.name]!, kind: kind, port: kind == .embedded ? engine.map { EmbeddedPort($0) } : nil, settings: tunnel,
                routes: routes, selectors: selectors,
                tracker: EndpointTracker(zip(routes, selectors).flatMap { $0.peers(at: $1.current) }), identities: own)
            if tunnel.mode == .shared {
                try await begin("", of: tunnel.name)
                logger.info("tunnel \"\(tunnel.name)\": \(tunnel.interface) (\(kind.rawValue)), public key \(own[""]!.publicKey)")
            } else {
                logger.info("tunnel \"\(tunnel.name)\": \(tunnel.interface) (\(kind.rawValue)), \(own.count) identities (\(tunnel.mode.rawValue))")
            }
            if kind == .embedded { serveUAPI(of: tunnel.name) }
        }
    }

    private static func identities(
        of tunnel: CausewayConfiguration.Tunnel, _ others: [String: UplinkIdentity]
    ) throws -> [String: UplinkIdentity] {
        guard tunnel.mode == .shared else { return others }
        return ["": try tunnel.ownIdentity()]
    }

    /// What sessions have to know of each tunnel.
    func ways() -> [String: TunnelWay] {
        tunnels.mapValues { tunnel in
            TunnelWay(
                index: tunnel.index, isShared: tunnel.settings.mode == .shared, identity: tunnel.uplinks[""]?.device.identity)
        }
    }

    /// `wg show` and `wg set` find the tunnel under its interface's name. That they do not is no reason not to carry users.
    private func serveUAPI(of name: String) {
        guard let tunnel = tunnels[name], let engine else { return }
        let interface = tunnel.settings.interface
        do {
            let served: any WireGuardInterface
            if let identity = tunnel.uplinks[""]?.device.identity {
                served = EngineInterface(engine: engine, identity: identity)
            } else {
                let identities = IdentitiesInterface(engine)
                listed[name] = identities
                served = identities
            }
            let server = try UAPIServer(interfaceName: interface, interface: served, logger: logger)
            servers.append(server)
            let settings = tunnel.settings
            listed[name]?.serveEach(on: server, upTo: settings.mostIdentities, logger: logger) { settings.interface(ofIdentity: $0) }
        } catch {
            logger.warning("tunnel \"\(name)\": `wg show` will not find \(interface): \(error)")
        }
    }

    private func listUplinks(of name: String) {
        listed[name]?.replace(tunnels[name]?.uplinks.values.compactMap(\.device.identity) ?? [])
    }

    /// Another interface of the engine's that `wg show` is to find.
    func serveUAPI(_ interface: String, _ identity: WireGuardEngine.Identity) {
        guard let engine else { return }
        do {
            let served = EngineInterface(engine: engine, identity: identity)
            servers.append(try UAPIServer(interfaceName: interface, interface: served, logger: logger))
        } catch {
            logger.warning("`wg show` will not find \(interface): \(error)")
        }
    }

    // MARK: Uplinks

    /// The way out of a session. An identity that is not up yet comes up.
    func acquire(_ request: UplinkRequest, for session: UInt64) async throws -> UplinkGrant {
        guard let tunnel = tunnels[request.tunnel] else { throw GatewayError("tunnel \"\(request.tunnel)\" does not run") }
        let name = tunnel.settings.identityName(of: request)
        guard let identity = tunnel.identities[name] else {
            throw GatewayError("tunnel \"\(request.tunnel)\" has no identity \"\(name)\" for user \"\(request.user)\": reload, so that one is made")
        }
        if tunnel.uplinks[name] == nil { try await begin(name, of: request.tunnel) }
        guard let uplink = tunnels[request.tunnel]?.uplinks[name] else { throw GatewayError("tunnel \"\(request.tunnel)\" is ending") }
        tunnels[request.tunnel]?.uplinks[name]?.holders[session] = []
        tunnels[request.tunnel]?.uplinks[name]?.unusedSince = nil
        return UplinkGrant(identity: uplink.device.identity, address: identity.address)
    }

    func confine(_ prefixes: [IPPrefix], of session: UInt64, to request: UplinkRequest) throws {
        guard let tunnel = tunnels[request.tunnel] else { throw GatewayError("tunnel \"\(request.tunnel)\" is ending") }
        let name = tunnel.settings.identityName(of: request)
        guard tunnel.uplinks[name]?.holders[session] != nil else { return }
        tunnels[request.tunnel]?.uplinks[name]?.holders[session] = prefixes
        try restoreRoutingAfterChange(of: tunnel.kind)
    }

    func release(_ request: UplinkRequest, by session: UInt64) {
        guard let tunnel = tunnels[request.tunnel] else { return }
        let name = tunnel.settings.identityName(of: request)
        guard var uplink = tunnel.uplinks[name], uplink.holders.removeValue(forKey: session) != nil else { return }
        if uplink.holders.isEmpty { uplink.unusedSince = .now }
        tunnels[request.tunnel]?.uplinks[name] = uplink
        if tunnel.settings.mode != .shared, tunnel.kind == .kernel { restoreRouting(live: live) }
    }

    private func begin(_ name: String, of tunnel: String) async throws {
        let key = UplinkName(tunnel: tunnel, identity: name)
        if let task = beginning[key] { return try await task.value }
        let task = Task { try await make(name, of: tunnel) }
        beginning[key] = task
        defer { beginning[key] = nil }
        try await task.value
    }

    private func make(_ name: String, of tunnelName: String) async throws {
        guard let tunnel = tunnels[tunnelName], let identity = tunnel.identities[name] else { return }
        let interface = try interfaceName(for: name, of: tunnel)
        let backend: any TunnelBackend
        switch tunnel.kind {
        case .kernel: backend = KernelBackend(interfaceName: interface, mark: mark)
        case .embedded:
            guard let engine, let port = tunnel.port else { throw GatewayError("the data path has no WireGuard engine") }
            backend = EmbeddedBackend(
                interfaceName: interface, engine: engine, port: port,
                listenPort: tunnel.settings.listenPort == 0 ? nil : tunnel.settings.listenPort, fwmark: tunnel.settings.fwmark)
        }
        do {
            let device = try await backend.create()
            let uplink = Uplink(
                identity: identity, interfaceName: interface, backend: backend, device: device,
                table: tunnel.kind == .kernel ? table(for: name, of: tunnel) : nil,
                // A reload may have come while it was made.
                watches: Array(repeating: HandshakeWatch(), count: tunnels[tunnelName]?.routes.count ?? 0))
            tunnels[tunnelName]?.uplinks[name] = uplink
            listUplinks(of: tunnelName)
            try await configure(name, of: tunnelName)
            if name != "" {
                logger.info("tunnel \"\(tunnelName)\": identity \"\(name)\" is up, public key \(identity.publicKey)")
            }
        } catch {
            tunnels[tunnelName]?.uplinks[name] = nil
            listUplinks(of: tunnelName)
            try? await backend.remove()
            throw error
        }
    }

    /// Tells an uplink's device which peers it has now.
    @discardableResult
    func configure(_ name: String, of tunnelName: String) async throws -> TunnelChange {
        guard let tunnel = tunnels[tunnelName], let uplink = tunnel.uplinks[name] else { return TunnelChange() }
        let key = try (tunnel.identities[name] ?? uplink.identity).privateKey()
        var configuration = tunnel.settings.device(uplink.interfaceName, key, tunnel.kind)
        let probe = tunnel.probe?.uplink == name ? tunnel.probe : nil
        configuration.peers = tunnel.routes.indices.flatMap { route in
            tunnel.routes[route].peers(
                at: tunnel.selectors[route].current, probing: probe?.route == route ? probe?.place : nil)
        }
        let endpoints = tunnel.tracker.endpoints.merging(probe?.tracker.endpoints ?? [:]) { $1 }
        return try await uplink.backend.apply(configuration, endpoints: endpoints)
    }

    /// Lets go of uplinks that nobody has used for a while, so that the hub is not kept busy with them.
    func removeUnused(now: ContinuousClock.Instant = .now) async {
        for tunnelName in tunnels.keys.sorted() {
            for name in (tunnels[tunnelName]?.uplinks ?? [:]).keys.sorted() {
                // Looked at anew each time: while the one before was removed, a session may have taken this one.
                guard let tunnel = tunnels[tunnelName], tunnel.settings.mode != .shared, let uplink = tunnel.uplinks[name],
                    uplink.holders.isEmpty, let since = uplink.unusedSince, now - since >= tunnel.settings.linger
                else { continue }
                await remove(uplink, name, of: tunnelName)
            }
        }
    }

    private func remove(_ uplink: Uplink, _ name: String, of tunnelName: String) async {
        tunnels[tunnelName]?.uplinks[name] = nil
        if tunnels[tunnelName]?.probe?.uplink == name { tunnels[tunnelName]?.probe = nil }
        listUplinks(of: tunnelName)
        do {
            try await uplink.backend.remove()
            if let table = uplink.table { try PolicyRouting.removeRoutes(NetlinkSocket(.route), table: table) }
            logger.info("tunnel \"\(tunnelName)\": identity \"\(name)\" is down: no session for a while")
        } catch {
            logger.error("tunnel \"\(tunnelName)\": identity \"\(name)\" cannot be removed: \(error)")
        }
        if uplink.table != nil { restoreRouting(live: live) }
    }

    // MARK: Reload

    /// Takes a changed configuration: peers, keys, addresses and the prefixes that may enter each tunnel.
    func apply(
        _ configuration: CausewayConfiguration, identities: [String: [String: UplinkIdentity]], live: [String: [IPPrefix]]
    ) async throws {
        // Read and checked as a whole before the first change.
        var changes: [(name: String, settings: CausewayConfiguration.Tunnel, routes: [HubRoute], identities: [String: UplinkIdentity])] = []
        for settings in configuration.tunnels {
            let routes = try settings.routes()
            let own = try Self.identities(of: settings, identities[settings.name] ?? [:])
            for identity in own.values.prefix(1) {
                var whole = try settings.device(settings.interface, identity.privateKey(), kinds[settings.name] ?? .embedded)
                whole.peers = routes.flatMap { $0.peers(at: nil) }
                try whole.validate()
            }
            changes.append((settings.name, settings, routes, own))
        }
        for change in changes { try await apply(change.settings, change.routes, change.identities) }
        try route(configuration, live: live)
    }

    private func apply(
        _ settings: CausewayConfiguration.Tunnel, _ routes: [HubRoute], _ identities: [String: UplinkIdentity]
    ) async throws {
        guard var tunnel = tunnels[settings.name] else { return }
        let timing = settings.hubTiming(tunnel.kind)
        if !routes.elementsEqual(tunnel.routes, by: { $0.hasSameHubs(as: $1) }) || tunnel.selectors.contains(where: { $0.timing != timing }) {
            // Other hubs: from the first one again.
            tunnel.selectors = routes.map { HubSelector(endpoints: $0.hubs.map(\.endpoints.count), timing: timing, now: .now) }
            tunnel.probe = nil
            for name in tunnel.uplinks.keys {
                tunnel.uplinks[name]?.watches = Array(repeating: HandshakeWatch(), count: routes.count)
            }
        }
        tunnel.settings = settings
        tunnel.routes = routes
        tunnel.identities = identities
        tunnel.tracker.update(zip(routes, tunnel.selectors).flatMap { $0.peers(at: $1.current) })
        tunnels[settings.name] = tunnel
        var total = TunnelChange()
        for name in tunnel.uplinks.keys.sorted() {
            let change = try await configure(name, of: settings.name)
            total.peersAdded += change.peersAdded
            total.peersChanged += change.peersChanged
            total.peersRemoved += change.peersRemoved
            total.interfaceChanged = total.interfaceChanged || change.interfaceChanged
        }
        if !total.isEmpty {
            logger.info(
                "tunnel \"\(settings.name)\": \(total.peersAdded) peers added, \(total.peersChanged) changed, \(total.peersRemoved) removed")
        }
    }

    // MARK: The end

    /// The first half of the end: no packet leaves any more, the rules still stand.
    func removeUplinks() async -> [String] {
        for server in servers { server.stop() }
        servers = []
        var leftovers: [String] = []
        for (name, tunnel) in tunnels {
            for uplink in tunnel.uplinks.values {
                do {
                    try await uplink.backend.remove()
                    if let table = uplink.table, tunnel.settings.mode != .shared {
                        try PolicyRouting.removeRoutes(NetlinkSocket(.route), table: table)
                    }
                } catch {
                    leftovers.append("tunnel \"\(name)\" cannot be removed: \(error)")
                }
            }
            await tunnel.port?.close()
        }
        tunnels = [:]
        engine = nil
        return leftovers
    }
}
