import Addresses
import Settings
import WireGuard

// The kernel's part: interfaces of the kernel backend, and the rules that confine users' packets to their tunnel. Without a tunnel of
// that backend nothing of ours is in the kernel.
extension TunnelManager {
    nonisolated var usesKernel: Bool { kinds.values.contains(.kernel) }

    /// Tables of identities' interfaces: from here on, one for each. Those of tunnels end before it.
    static let firstIdentityTable: UInt32 = 53_000

    /// For an identity's interface; nil: all are taken.
    func interfaceName(of tunnel: Tunnel) -> String? {
        let interface = tunnel.settings.interface
        guard tunnel.kind == .kernel, tunnel.settings.mode != .shared else { return interface }
        let taken = Set(
            tunnels.values.flatMap { $0.uplinks.values.map(\.interfaceName) } + occupied.values.map(\.interfaceName)
                + settings.tunnels.map(\.interface))
        return (1...tunnel.settings.mostIdentities).lazy.map { tunnel.settings.interface(ofIdentity: $0) }.first { !taken.contains($0) }
    }

    func table(of tunnel: Tunnel) -> UInt32 {
        guard tunnel.settings.mode != .shared else { return tunnel.settings.table }
        let taken = Set(
            tunnels.values.flatMap { $0.uplinks.values.compactMap(\.table) } + occupied.values.compactMap(\.table)
                + settings.tunnels.map(\.table))
            .union([settings.dataPath.returnTable])
        return (Self.firstIdentityTable...).first { !taken.contains($0) }!
    }

    /// What a killed run left and this one will not adopt.
    func removeLeftovers() {
        do {
            let adopted = Set(settings.tunnels.filter { kinds[$0.name] == .kernel && $0.mode == .shared }.map(\.interface))
            for name in try host.removeLeftovers(mark, adopted: adopted) {
                logger.notice("removed interface \(name), which an earlier run left")
            }
            for tunnel in settings.tunnels where tunnel.mode != .shared && kinds[tunnel.name] == .kernel {
                try host.removeRoutes(ofTables: (0..<UInt32(tunnel.mostIdentities)).map { Self.firstIdentityTable + $0 })
            }
            // Rules that stand are adopted by `route`; without a kernel tunnel there will be none.
            if !usesKernel {
                let tables = Set(settings.tunnels.map(\.table) + [settings.dataPath.returnTable])
                try host.removeLeftoverRules(tables: tables, basePriority: settings.dataPath.rulePriority)
            }
        } catch {
            // Without CAP_NET_ADMIN there is nothing that we could have left.
            logger.debug("leftovers of an earlier run were not looked for: \(error)")
        }
    }

    /// Rules, tables and interface switches that confine users' packets. The TUN must exist.
    /// - Parameter live: prefixes of open sessions by tunnel; they stay routed even if the configuration does not have them any more.
    func route(_ configuration: CausewayConfiguration, live: [String: [IPPrefix]]) throws {
        self.live = live
        routed = configuration
        guard usesKernel else { return }
        let tun = configuration.dataPath.interface
        guard let link = try host.link(named: tun) else { throw GatewayError("the TUN interface \(tun) is gone: restart the gateway") }
        try host.raise(link, mark: mark)
        let confined = configuration.tunnels.filter { kinds[$0.name] == .kernel }.map { routedTunnels($0, configuration) }
        let routing = try PolicyRouting(
            tunName: tun, tunIndex: link.index, tunnels: confined.flatMap(\.open), closed: confined.flatMap(\.closed),
            returnTable: configuration.dataPath.returnTable, basePriority: configuration.dataPath.rulePriority)
        // Set first: what a failure half way has made is removed at the end all the same.
        self.routing = routing
        let change = try host.apply(routing)
        for warning in change.warnings where !warned.contains(warning) {
            logger.warning("policy routing: \(warning)")
            warned.insert(warning)
        }
        if change.added + change.removed > 0 {
            logger.info("policy routing: \(change.added) rules and routes added, \(change.removed) removed")
        }
    }

    /// A tunnel with one interface has all its inner prefixes; where identities have interfaces of their own, each has those of its open
    /// sessions, and what nobody uses is closed.
    private func routedTunnels(
        _ tunnel: CausewayConfiguration.Tunnel, _ configuration: CausewayConfiguration
    ) -> (open: [PolicyRouting.Tunnel], closed: [IPPrefix]) {
        let all = configuration.innerPrefixes(ofTunnel: tunnel.name) + (live[tunnel.name] ?? [])
        let uplinks = tunnels[tunnel.name]?.uplinks ?? [:]
        guard tunnel.mode != .shared else {
            let index = uplinks[""]?.device.interfaceIndex ?? 0
            return ([.init(interfaceName: tunnel.interface, interfaceIndex: index, table: tunnel.table, prefixes: all)], [])
        }
        let open = uplinks.values.sorted { $0.interfaceName < $1.interfaceName }.compactMap { uplink in
            uplink.table.map {
                PolicyRouting.Tunnel(
                    interfaceName: uplink.interfaceName, interfaceIndex: uplink.device.interfaceIndex ?? 0, table: $0,
                    prefixes: Array(Set(uplink.holders.values.joined())))
            }
        }
        return (open, all)
    }

    /// An identity of that backend came or went.
    func restoreRoutingAfterChange(of kind: BackendKind) throws {
        guard kind == .kernel, let routed else { return }
        try route(routed, live: live)
    }

    /// An interface appeared, went, or changed. The kernel drops the routes of one that goes down; when it is back they are set again.
    /// (Only a change between up and down counts: applying the rules is itself a link event.)
    func linkChanged(_ name: String, up: Bool, live: [String: [IPPrefix]]) {
        guard let routed, usesKernel else { return }
        let isOurs = name == routed.dataPath.interface
            || tunnels.values.contains { $0.kind == .kernel && $0.uplinks.values.contains { $0.interfaceName == name } }
        guard isOurs, wasUp.updateValue(up, forKey: name) != up else { return }
        restoreRouting(live: live)
    }

    /// Sets whatever rule or route of ours is missing, and removes what is not needed any more.
    func restoreRouting(live: [String: [IPPrefix]]) {
        guard let routed else { return }
        do {
            try route(routed, live: live)
            routingProblem = nil
        } catch {
            if routingProblem != "\(error)" { logger.error("policy routing: \(error)") }
            routingProblem = "\(error)"
        }
    }

    /// The second half of the end, once the TUN is gone too: nothing is left that the rules could guard.
    func removeRouting() -> [String] {
        defer {
            routing = nil
            routed = nil
        }
        do {
            if let routing { try host.remove(routing) }
            return []
        } catch {
            return ["the policy rules cannot be removed: \(error)"]
        }
    }
}
