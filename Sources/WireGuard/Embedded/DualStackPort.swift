import DataPath

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

extension WireGuardEngine {
    /// A UDP port of both families, or of IPv4 alone where the kernel has no IPv6 or it is switched off.
    func openPort(_ number: UInt16, firewallMark: UInt32) throws(EngineError) -> Port {
        do {
            return try openPort(PortConfiguration(port: number, firewallMark: firewallMark))
        } catch {
            guard [.system(EAFNOSUPPORT), .system(EADDRNOTAVAIL)].contains(error.cause) else { throw error }
            return try openPort(PortConfiguration(port: number, ipv6: false, firewallMark: firewallMark))
        }
    }
}
