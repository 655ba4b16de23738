import DataPath

/// The UDP port that all identities of one tunnel share. It follows the configuration: another number or mark is a new port, to which
/// identities move one by one; the old one closes with the last of them.
public actor EmbeddedPort {
    private let engine: WireGuardEngine
    private var current: Place?
    private var left: [WireGuardEngine.Port] = []

    /// What `goBack` returns to.
    public struct Place: Sendable, Equatable {
        fileprivate let port: WireGuardEngine.Port
        fileprivate var fwmark: UInt32
    }

    public init(_ engine: WireGuardEngine) { self.engine = engine }

    /// Opens what a changed configuration asks for, before anything else of it takes effect.
    public func prepare(_ number: UInt16?, fwmark: UInt32) throws -> Place? {
        let before = current
        _ = try port(number, fwmark: fwmark)
        return before
    }

    /// The configuration was not taken after all. Identities that moved already have to be moved back.
    public func goBack(to place: Place?) throws {
        guard let place, place != current else { return }
        if let current, current.port != place.port { left.append(current.port) }
        left.removeAll { $0 == place.port }
        // Whoever used it may have gone meanwhile, and the port with them: it is opened again for the next.
        current = engine.number(of: place.port) == nil ? nil : place
        if current != nil { try engine.setFirewallMark(place.fwmark, of: place.port) }
        closeUnused()
    }

    /// - Parameter number: nil leaves it to the kernel, and an open port as it is.
    func port(_ number: UInt16?, fwmark: UInt32) throws -> WireGuardEngine.Port {
        if let current, number == nil || number == engine.number(of: current.port) {
            if current.fwmark != fwmark {
                try engine.setFirewallMark(fwmark, of: current.port)
                self.current?.fwmark = fwmark
            }
            return current.port
        }
        let opened = try stillOpen(number, fwmark) ?? engine.openPort(number ?? 0, firewallMark: fwmark)
        if let current { left.append(current.port) }
        current = Place(port: opened, fwmark: fwmark)
        return opened
    }

    /// A port that was left, but not by everybody.
    private func stillOpen(_ number: UInt16?, _ fwmark: UInt32) throws -> WireGuardEngine.Port? {
        guard let index = left.firstIndex(where: { number != nil && engine.number(of: $0) == number }) else { return nil }
        try engine.setFirewallMark(fwmark, of: left[index])
        return left.remove(at: index)
    }

    /// Identities have left ports: those that nobody uses any more are closed.
    func closeUnused() { left.removeAll { port in (try? engine.closePort(port)) != nil } }

    /// The tunnel ends.
    public func close() {
        if let current { left.append(current.port) }
        current = nil
        closeUnused()
    }
}
