import Netlink

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// Reads a WireGuard interface of the kernel that is somebody else's: a hub's. It changes nothing and needs CAP_NET_ADMIN.
public struct InterfaceReader {
    public let interfaceName: String
    private let route: NetlinkSocket
    private let generic: NetlinkSocket
    private let family: UInt16

    /// Throws where the kernel has no WireGuard.
    public init(interfaceName: String) throws {
        try InterfaceName.validate(interfaceName)
        self.interfaceName = interfaceName
        route = try NetlinkSocket(.route)
        generic = try NetlinkSocket(.generic)
        guard let family = try generic.familyID(WireGuardFamily.name) else {
            throw NetlinkError(operation: "read WireGuard interface \(interfaceName)", code: EOPNOTSUPP, message: "no generic netlink family")
        }
        self.family = family
    }

    /// In the order of the keys. Throws while there is no such interface; it may come back with the same name.
    public func peers() throws -> [PeerStatus] {
        guard let link = try route.link(named: interfaceName) else {
            throw TunnelError.device(interface: interfaceName, reason: "there is no such interface")
        }
        guard link.kind == "wireguard" else { throw TunnelError.foreignInterface(interfaceName, kind: link.kind) }
        let request = WireGuardMessages.get(family: family, index: link.index, name: interfaceName)
        return try DeviceState(dump: generic.dump(request)).status(interfaceName: interfaceName, health: .running).peers
    }
}
