import Netlink

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// Whether the kernel has WireGuard: found out by asking for it, since it may be built in, a module that loads on
/// demand, or missing, and no version number tells.
public enum BackendProbe {
    public enum Result: Equatable, Sendable {
        case available
        case unavailable(reason: String)
    }

    /// Throws if it cannot be found out, for lack of CAP_NET_ADMIN for example.
    public static func kernelWireGuard() throws -> Result {
        let generic = try NetlinkSocket(.generic)
        if try generic.familyID(WireGuardFamily.name) != nil { return .available }
        // The family is registered by the module, and creating a link of the kind is what loads it.
        let route = try NetlinkSocket(.route)
        let name = "cwp" + String(UInt32.random(in: .min ... .max), radix: 16)
        do {
            try route.perform(LinkRequest.create(name, kind: "wireguard"))
        } catch let error as NetlinkError where error.code == EOPNOTSUPP || error.code == ENODEV {
            return .unavailable(reason: error.message ?? "the kernel knows no interfaces of kind wireguard")
        }
        if let link = try route.link(named: name) { try route.delete(LinkRequest.delete(index: link.index, name: name)) }
        return try generic.familyID(WireGuardFamily.name) != nil
            ? .available
            : .unavailable(reason: "the kernel makes WireGuard interfaces but has no generic netlink family for them")
    }
}
