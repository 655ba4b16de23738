import Addresses
import DataPath
import Foundation
import Logging
import Settings
import WireGuard

/// The WireGuard side: the uplinks of each tunnel, the hubs that they use, the peers' changing addresses, and the rules that let users'
/// packets into their tunnel and nowhere else.
///
/// Its files: this one holds the state and the life of tunnels; `+Uplinks` identities that come and go; `+Reload` another configuration;
/// `+Devices` what they are told; `+Routing` the kernel's rules; `+Hubs` which hub is used; `+Names` where they are; `+Views` what the data path and operators are told.
actor TunnelManager: UplinkProvider {
    struct Tunnel {
        let index: UInt32
        let kind: BackendKind
        let devices: any UplinkDevices
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
        var failovers: UInt64 = 0
        /// At most; nil: the backend does not tell.
        var lostPackets: UInt64?
        var problem: String?
        var reported: TunnelState?
    }

    /// By name; the number is the tunnel's index in the data path.
    nonisolated let indexes: [String: UInt32]
    nonisolated let kinds: [String: BackendKind]
    let settings: CausewayConfiguration
    let mark: InstanceMark
    let logger: Logger
    let resolver: BoundedResolver
    let host: any HostRouting
    let now: @Sendable () -> ContinuousClock.Instant
    private let devices: (@Sendable (CausewayConfiguration.Tunnel) -> any UplinkDevices)?
    /// nil without embedded tunnels.
    private(set) var engine: WireGuardEngine?
    var tunnels: [String: Tunnel] = [:]
    var isEnding = false
    /// One thing at a time for each uplink: the last of those that make it, remove it, or make it anew.
    var turns: [UplinkName: Task<Void, Never>] = [:]
    /// Of the last one, until it is fetched.
    var lastChange: [UplinkName: TunnelChange] = [:]
    /// Of uplinks that are being made, or removed.
    var occupied: [UplinkName: Occupied] = [:]
    var lookups: [Lookup: Task<Void, Never>] = [:]
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

    struct UplinkName: Hashable {
        var tunnel: String
        var identity: String
    }

    /// An interface's name and table that nobody else may have now.
    struct Occupied {
        var interfaceName: String
        var table: UInt32?
        var isLeaving = false
    }

    struct Lookup: Hashable {
        var tunnel: String
        var query: EndpointTracker.Query
    }

    /// How long name servers may take. Nobody waits for them but the hub that is named.
    static let lookupTime = Duration.seconds(15)

    init(
        configuration: CausewayConfiguration, kinds: [String: BackendKind], logger: Logger, _ surroundings: TunnelSurroundings = TunnelSurroundings()
    ) throws {
        guard let mark = InstanceMark(instance: configuration.instance) else {
            throw GatewayError("instance \"\(configuration.instance)\" is not a name")
        }
        settings = configuration
        self.kinds = kinds
        self.mark = mark
        self.logger = logger
        resolver = BoundedResolver(surroundings.resolver, limit: Self.lookupTime)
        host = surroundings.routing
        now = surroundings.now
        devices = surroundings.devices
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
            let selectors = routes.map { HubSelector(endpoints: $0.hubs.map(\.endpoints.count), timing: timing, now: now()) }
            let own = try Self.identities(of: tunnel, identities[tunnel.name] ?? [:])
            tunnels[tunnel.name] = Tunnel(
                index: indexes[tunnel.name]!, kind: kind, devices: try devices(of: tunnel, kind, engine), settings: tunnel,
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

    private func devices(
        of tunnel: CausewayConfiguration.Tunnel, _ kind: BackendKind, _ engine: WireGuardEngine?
    ) throws -> any UplinkDevices {
        if let devices { return devices(tunnel) }
        guard kind == .embedded else { return KernelDevices(mark: mark) }
        guard let engine else { throw GatewayError("the data path has no WireGuard engine") }
        return EmbeddedDevices(engine)
    }

    static func identities(
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

    /// `wg show` is told what came and what went.
    func list(_ uplink: Uplink, of name: String) {
        if let identity = uplink.device.identity { listed[name]?.add(identity) }
    }

    func unlist(_ uplink: Uplink, of name: String) {
        if let identity = uplink.device.identity { listed[name]?.remove(identity) }
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

    // MARK: The end

    /// The first half of the end: no packet leaves any more, the rules still stand.
    func removeUplinks() async -> [String] {
        isEnding = true
        for server in servers { server.stop() }
        servers = []
        for lookup in lookups.values { lookup.cancel() }
        for lookup in lookups.values { await lookup.value }
        // Nobody makes an uplink any more; those that are half made or half removed come to their end.
        for turn in turns.values { await turn.value }
        var leftovers: [String] = []
        for (name, tunnel) in tunnels {
            for uplink in tunnel.uplinks.values {
                do {
                    try await uplink.backend.remove()
                    if let table = uplink.table, tunnel.settings.mode != .shared { try host.removeRoutes(ofTables: [table]) }
                } catch {
                    leftovers.append("tunnel \"\(name)\" cannot be removed: \(error)")
                }
            }
            await tunnel.devices.close()
        }
        tunnels = [:]
        engine = nil
        return leftovers
    }
}
