import Addresses
import Netlink

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// The kernel's own WireGuard, configured over netlink.
public actor KernelBackend: TunnelBackend {
    public nonisolated let interfaceName: String
    private let mark: InstanceMark
    private var sockets: Sockets?
    private var appliedEndpoints: [PublicKey: Endpoint] = [:]

    private struct Sockets {
        let route: NetlinkSocket
        let generic: NetlinkSocket
        let family: UInt16
    }

    public init(interfaceName: String, mark: InstanceMark) {
        self.interfaceName = interfaceName
        self.mark = mark
    }

    public func create() async throws -> TunnelDevice {
        try InterfaceName.validate(interfaceName)
        let route = try NetlinkSocket(.route)
        let generic = try NetlinkSocket(.generic)
        if let link = try route.link(named: interfaceName) {
            guard link.kind == "wireguard", mark.isOn(link) else {
                throw TunnelError.foreignInterface(interfaceName, kind: link.kind)
            }
        } else {
            try route.perform(LinkRequest.create(interfaceName, kind: "wireguard", alias: mark.alias))
        }
        guard let link = try route.link(named: interfaceName) else { throw TunnelError.notCreated(interfaceName) }
        // Some kernels drop the alias given at creation.
        if !mark.isOn(link) {
            try route.perform(LinkRequest.change(index: link.index, name: interfaceName, LinkChange(alias: mark.alias)))
        }
        route.disableAutomaticIPv6(link)
        // The module is there by now: creating the link loaded it.
        guard let family = try generic.familyID(WireGuardFamily.name) else {
            throw NetlinkError(
                operation: "configure WireGuard interface \(interfaceName)", code: EOPNOTSUPP,
                message: "no generic netlink family")
        }
        sockets = Sockets(route: route, generic: generic, family: family)
        return .interface(link.index)
    }

    public func apply(_ configuration: TunnelConfiguration, endpoints: [PublicKey: Endpoint]) async throws -> TunnelChange {
        guard configuration.interfaceName == interfaceName else {
            throw TunnelError.configuration(
                interface: interfaceName, reason: "this is the configuration of \(configuration.interfaceName)")
        }
        try configuration.validate()
        let (sockets, link) = try device()
        let state = try read(sockets, link)
        let update = DeviceUpdate(from: state, to: configuration, endpoints: endpoints, appliedEndpoints: appliedEndpoints)
        try send(update, sockets, link)
        appliedEndpoints = endpoints
        var change = update.change
        if try sockets.route.configureInterface(link, for: configuration) { change.interfaceChanged = true }
        return change
    }

    public func setEndpoint(_ endpoint: Endpoint, of peer: PublicKey) async throws {
        let (sockets, link) = try device()
        try send(DeviceUpdate(peers: [.init(publicKey: peer, kind: .change, endpoint: endpoint)]), sockets, link)
        appliedEndpoints[peer] = endpoint
    }

    public func status() async throws -> TunnelStatus {
        let (sockets, link) = try device()
        let health: TunnelStatus.Health = link.isUp ? .running : .broken(reason: "the interface was taken down")
        return try read(sockets, link).status(interfaceName: interfaceName, health: health)
    }

    public func glance(at peer: PublicKey) async throws -> PeerStatus? {
        try await status().peers.first { $0.publicKey == peer }
    }

    public func forget(_ peer: PublicKey) async throws {
        let (sockets, link) = try device()
        try send(DeviceUpdate(peers: [.init(publicKey: peer, kind: .remove)]), sockets, link)
        appliedEndpoints[peer] = nil
    }

    public func remove() async throws {
        let route = try sockets?.route ?? NetlinkSocket(.route)
        sockets = nil
        appliedEndpoints = [:]
        guard let link = try route.link(named: interfaceName), mark.isOn(link), link.kind == "wireguard" else { return }
        try route.delete(LinkRequest.delete(index: link.index, name: interfaceName))
    }

    private func device() throws -> (Sockets, Link) {
        guard let sockets else { throw TunnelError.notCreated(interfaceName) }
        guard let link = try sockets.route.link(named: interfaceName) else {
            throw TunnelError.device(interface: interfaceName, reason: "the interface is gone; somebody deleted it")
        }
        guard mark.isOn(link) else { throw TunnelError.foreignInterface(interfaceName, kind: link.kind) }
        return (sockets, link)
    }

    private func read(_ sockets: Sockets, _ link: Link) throws -> DeviceState {
        let request = WireGuardMessages.get(family: sockets.family, index: link.index, name: interfaceName)
        return try DeviceState(dump: sockets.generic.dump(request))
    }

    private func send(_ update: DeviceUpdate, _ sockets: Sockets, _ link: Link) throws {
        for var request in WireGuardMessages.set(family: sockets.family, index: link.index, name: interfaceName, update) {
            defer { request.payload.wipe() }
            try sockets.generic.perform(request)
        }
    }
}
