import Addresses
import Authentication

// The kernel picks a tunnel by the inner source address alone. So every address a user can get belongs to one tunnel, whichever
// way the user came in; anything else would send packets through a tunnel that the user is not bound to.
extension ConfigurationReader {
    func checkTunnelOfEverything() {
        var pools = PoolTunnels()
        for (index, listener) in configuration.listeners.enumerated() {
            pools.bind(listener.pool, to: listener.tunnel, by: "listen[\(index)]") { message in
                report.refuse(message, at: "listen[\(index)].pool")
            }
        }
        let listening = Set(configuration.listeners.map(\.tunnel)).sorted()
        for entry in configuration.users.entries {
            let user = entry.attributes
            let tunnels = user.tunnel.map { [$0] } ?? listening
            let name = "user \(entry.displayName)"
            if tunnels.count > 1, user.staticAddress != nil || !user.prefixes.isEmpty {
                let listed = tunnels.map { "\"\($0)\"" }.joined(separator: ", ")
                complain(
                    "\(name) has addresses of their own and could come in for tunnels \(listed); set tunnel in a [[user]]",
                    entry)
                continue
            }
            for (pool, tunnel) in drawn(by: user, through: tunnels) {
                pools.bind(pool, to: tunnel, by: name) { complain($0, entry) }
            }
        }
        // An access peer's address is used in its tunnel: who can also dial in must come out in the same one.
        for peer in accessPeers {
            let entry = configuration.users.entries.first { $0.name == peer.name }
            guard let entry, entry.attributes.tunnel == nil, !listening.isEmpty, listening != [peer.peer.tunnel] else { continue }
            let listed = listening.map { "\"\($0)\"" }.joined(separator: ", ")
            report.refuse(
                "user \(peer.peer.user) dials in for tunnel \(listed) and would connect for tunnel \"\(peer.peer.tunnel)\"; set tunnel in a "
                    + "[[user]] or in [access]", at: peer.path)
        }
        checkGateways(pools)
    }

    /// The pools that a user's own address comes from or lies in, with the tunnels it may be used in, as far as the listeners do
    /// not say so.
    private func drawn(by user: UserAttributes, through tunnels: [String]) -> [(pool: String, tunnel: String)] {
        if let address = user.staticAddress {
            guard let pool = configuration.pools.first(where: { $0.ranges.contains { $0.contains(address) } }) else { return [] }
            return tunnels.map { (pool.name, $0) }
        }
        if let pool = user.pool { return tunnels.map { (pool, $0) } }
        guard let tunnel = user.tunnel else { return [] }
        return configuration.listeners.map { ($0.pool, tunnel) }
    }

    private func checkGateways(_ pools: PoolTunnels) {
        var owners: [IPAddress: (pool: String, tunnel: String)] = [:]
        for (index, pool) in configuration.pools.enumerated() {
            guard let tunnel = pools.tunnel(of: pool.name) else { continue }
            if let other = owners[pool.gateway], other.tunnel != tunnel {
                report.refuse(
                    "\(pool.gateway) is the gateway of pool \"\(other.pool)\" too, which goes through another tunnel",
                    at: "pool[\(index)].gateway")
            }
            owners[pool.gateway] = (pool.name, tunnel)
        }
    }
}

private struct PoolTunnels {
    private var bound: [String: (tunnel: String, by: String)] = [:]

    func tunnel(of pool: String) -> String? { bound[pool]?.tunnel }

    mutating func bind(_ pool: String, to tunnel: String, by who: String, refuse: (String) -> Void) {
        guard let first = bound[pool] else {
            bound[pool] = (tunnel, who)
            return
        }
        guard first.tunnel != tunnel else { return }
        refuse(
            "addresses of pool \"\(pool)\" go through tunnel \"\(first.tunnel)\" (\(first.by)); "
                + "\(who) would use them in tunnel \"\(tunnel)\": it needs a pool of its own")
    }
}
