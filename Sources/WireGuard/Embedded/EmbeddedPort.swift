import DataPath

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// The UDP port that all identities of one tunnel share. It follows the configuration: another number or mark is a new port, to which
/// identities move one by one; the old one closes with the last of them.
public actor EmbeddedPort {
    private let engine: WireGuardEngine
    private var current: (port: WireGuardEngine.Port, asked: UInt16?, fwmark: UInt32)?
    private var left: [WireGuardEngine.Port] = []

    public init(_ engine: WireGuardEngine) { self.engine = engine }

    /// - Parameter number: nil leaves it to the kernel, and an open port as it is.
    func port(_ number: UInt16?, fwmark: UInt32) throws -> WireGuardEngine.Port {
        if let current, number == nil || number == engine.number(of: current.port) {
            if current.fwmark != fwmark {
                try engine.setFirewallMark(fwmark, of: current.port)
                self.current?.fwmark = fwmark
            }
            return current.port
        }
        let opened = try open(number ?? 0, fwmark)
        if let current { left.append(current.port) }
        current = (opened, number, fwmark)
        return opened
    }

    /// Identities have left ports: those that nobody uses any more are closed.
    func closeUnused() { left.removeAll { port in (try? engine.closePort(port)) != nil } }

    /// The tunnel ends.
    public func close() {
        if let current { left.append(current.port) }
        current = nil
        closeUnused()
    }

    private func open(_ number: UInt16, _ fwmark: UInt32) throws -> WireGuardEngine.Port {
        do {
            return try engine.openPort(.init(port: number, firewallMark: fwmark))
        } catch where [.system(EAFNOSUPPORT), .system(EADDRNOTAVAIL)].contains(error.cause) {
            // A kernel without IPv6.
            return try engine.openPort(.init(port: number, ipv6: false, firewallMark: fwmark))
        }
    }
}
