import Netlink

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// Reads a WireGuard interface that is somebody else's: a hub's. The kernel's over netlink, a userspace device's over its socket, as `wg`
/// does. It changes nothing and needs CAP_NET_ADMIN, or to be root.
public struct InterfaceReader {
    public let interfaceName: String
    private let route: NetlinkSocket
    private let generic: NetlinkSocket

    public init(interfaceName: String) throws {
        try InterfaceName.validate(interfaceName)
        self.interfaceName = interfaceName
        route = try NetlinkSocket(.route)
        generic = try NetlinkSocket(.generic)
    }

    /// In the order of the keys. Throws while there is no such interface; it may come back with the same name.
    public func peers() throws -> [PeerStatus] {
        if let peers = try UAPIClient.peers(of: interfaceName) { return peers }
        guard let link = try route.link(named: interfaceName) else {
            throw TunnelError.device(interface: interfaceName, reason: "there is no such interface")
        }
        guard link.kind == "wireguard" else { throw TunnelError.foreignInterface(interfaceName, kind: link.kind) }
        guard let family = try generic.familyID(WireGuardFamily.name) else {
            throw NetlinkError(operation: "read WireGuard interface \(interfaceName)", code: EOPNOTSUPP, message: "no generic netlink family")
        }
        let request = WireGuardMessages.get(family: family, index: link.index, name: interfaceName)
        return try DeviceState(dump: generic.dump(request)).status(interfaceName: interfaceName, health: .running).peers
    }
}
