import Addresses
import DataPath
import Netlink
import Settings

// Where clients come from and where their packets are taken.

extension SessionController {
    /// GRE is taken from the sources that may open control connections. The host's packet filter does not see what the rings take.
    func setSources() {
        submit(Command(0, .sources(allowed: configuration.pptp.allowedSources, blocked: configuration.pptp.blockedSources)))
    }

    /// Sessions whose client may not come from where it is, since a reload.
    func endBlockedSessions() {
        for session in sessions.values.sorted(by: { $0.id < $1.id }) where !configuration.pptp.admits(session.clientAddress) && session.phase != .ending {
            logger.notice("\(session.label): ended by the reload: clients may not come from \(session.clientAddress) any more")
            end(session.id, because: "clients may not come from \(session.clientAddress)")
        }
    }
}

extension CausewayConfiguration {
    /// `host`: the host's addresses. A listener on 0.0.0.0 has all of them; those that come later are left to the raw sockets.
    func greReception(host: [Netlink.InterfaceAddress]) -> GREReception {
        guard dataPath.gre != .raw else { return .raw }
        let listening = Set(listeners.map(\.address)), all = listening.contains(IPAddress(v4: 0))
        let addresses = host.filter { $0.address.family == .v4 && (all || listening.contains($0.address)) }
            .map { GRERings.Address(interface: $0.index, address: $0.address) }
        let rings = GRERings(addresses: Set(addresses).sorted { ($0.interface, $0.address) < ($1.interface, $1.address) }, table: "causeway-\(instance)")
        return dataPath.gre == .xdp ? .xdp(rings) : .rings(rings, required: dataPath.gre == .packet)
    }
}
