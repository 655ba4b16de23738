import DataPath
import Netlink
import Settings
import WireGuard

/// What tunnels stand on. Tests put something else in its place.
struct TunnelSurroundings: Sendable {
    var resolver: any EndpointResolver = SystemResolver()
    var routing: any HostRouting = NetlinkRouting()
    var now: @Sendable () -> ContinuousClock.Instant = { .now }
    /// The devices of one tunnel; nil: those of its backend.
    var devices: (@Sendable (CausewayConfiguration.Tunnel) -> any UplinkDevices)?
}

/// What makes the devices of one tunnel's uplinks.
protocol UplinkDevices: Sendable {
    func backend(_ interfaceName: String, _ settings: CausewayConfiguration.Tunnel) -> any TunnelBackend

    /// Opens what changed settings ask for, before any uplink takes them; throws if it cannot be had. Returns how to take it back.
    func prepare(_ settings: CausewayConfiguration.Tunnel) async throws -> @Sendable () async throws -> Void

    /// After the last uplink.
    func close() async
}

struct KernelDevices: UplinkDevices {
    let mark: InstanceMark

    func backend(_ interfaceName: String, _ settings: CausewayConfiguration.Tunnel) -> any TunnelBackend {
        KernelBackend(interfaceName: interfaceName, mark: mark)
    }

    /// The kernel opens a port when the interface gets its number, not before.
    func prepare(_ settings: CausewayConfiguration.Tunnel) -> @Sendable () async throws -> Void { {} }

    func close() {}
}

/// Identities of the data path's own engine, which share one UDP port.
struct EmbeddedDevices: UplinkDevices {
    let engine: WireGuardEngine
    let port: EmbeddedPort

    init(_ engine: WireGuardEngine) {
        self.engine = engine
        port = EmbeddedPort(engine)
    }

    func backend(_ interfaceName: String, _ settings: CausewayConfiguration.Tunnel) -> any TunnelBackend {
        EmbeddedBackend(
            interfaceName: interfaceName, engine: engine, port: port, listenPort: Self.number(settings), fwmark: settings.fwmark)
    }

    func prepare(_ settings: CausewayConfiguration.Tunnel) async throws -> @Sendable () async throws -> Void {
        let place = try await port.prepare(Self.number(settings), fwmark: settings.fwmark)
        return { try await port.goBack(to: place) }
    }

    func close() async { await port.close() }

    private static func number(_ settings: CausewayConfiguration.Tunnel) -> UInt16? { settings.listenPort == 0 ? nil : settings.listenPort }
}

/// The kernel's interfaces, rules and routes, as far as tunnels need them.
protocol HostRouting: Sendable {
    func link(named name: String) throws -> Link?
    /// Up, and ours.
    func raise(_ link: Link, mark: InstanceMark) throws
    func apply(_ routing: PolicyRouting) throws -> PolicyRoutingChange
    func remove(_ routing: PolicyRouting) throws
    func removeRoutes(ofTables tables: [UInt32]) throws
    /// WireGuard interfaces with our mark but for `adopted`. Returns their names.
    func removeLeftovers(_ mark: InstanceMark, adopted: Set<String>) throws -> [String]
    func removeLeftoverRules(tables: Set<UInt32>, basePriority: UInt32) throws
}

struct NetlinkRouting: HostRouting {
    func link(named name: String) throws -> Link? { try NetlinkSocket(.route).link(named: name) }

    func raise(_ link: Link, mark: InstanceMark) throws {
        guard link.alias != mark.alias || !link.isUp else { return }
        try NetlinkSocket(.route).perform(LinkRequest.change(index: link.index, name: link.name, LinkChange(up: true, alias: mark.alias)))
    }

    func apply(_ routing: PolicyRouting) throws -> PolicyRoutingChange { try routing.apply(NetlinkSocket(.route)) }
    func remove(_ routing: PolicyRouting) throws { try routing.remove(NetlinkSocket(.route)) }

    func removeRoutes(ofTables tables: [UInt32]) throws {
        let socket = try NetlinkSocket(.route)
        for table in tables { try PolicyRouting.removeRoutes(socket, table: table) }
    }

    func removeLeftovers(_ mark: InstanceMark, adopted: Set<String>) throws -> [String] {
        let socket = try NetlinkSocket(.route)
        let leftovers = try socket.links().filter { mark.isOn($0) && $0.kind == "wireguard" && !adopted.contains($0.name) }
        for link in leftovers { try socket.delete(LinkRequest.delete(index: link.index, name: link.name)) }
        return leftovers.map(\.name)
    }

    func removeLeftoverRules(tables: Set<UInt32>, basePriority: UInt32) throws {
        try PolicyRouting.removeLeftovers(NetlinkSocket(.route), tables: tables, basePriority: basePriority)
    }
}
