import Addresses
import Netlink
import Settings
import WireGuard

// The kernel's part: interfaces of the kernel backend, and the rules that confine users' packets to their tunnel. Without a tunnel of
// that backend nothing of ours is in the kernel.
extension TunnelManager {
    nonisolated var usesKernel: Bool { kinds.values.contains(.kernel) }

    /// Tables of identities' interfaces: from here on, one for each. Those of tunnels end before it.
    static let firstIdentityTable: UInt32 = 53_000

    func interfaceName(for identity: String, of tunnel: Tunnel) throws -> String {
        let interface = tunnel.settings.interface
        guard tunnel.kind == .kernel, tunnel.settings.mode != .shared else { return interface }
        let taken = Set(tunnels.values.flatMap { $0.uplinks.values.map(\.interfaceName) } + settings.tunnels.map(\.interface))
        let names = (1...tunnel.settings.mostIdentities).lazy.map { tunnel.settings.interface(ofIdentity: $0) }
        guard let name = names.first(where: { !taken.contains($0) }) else {
            throw GatewayError(
                "tunnel \"\(tunnel.settings.name)\": \(tunnel.settings.mostIdentities) identities are up (most-identities); set backend = \"embedded\"")
        }
        return name
    }

    func table(for identity: String, of tunnel: Tunnel) -> UInt32 {
        guard tunnel.settings.mode != .shared else { return tunnel.settings.table }
        let taken = Set(tunnels.values.flatMap { $0.uplinks.values.compactMap(\.table) } + settings.tunnels.map(\.table))
            .union([settings.dataPath.returnTable])
        return (Self.firstIdentityTable...).first { !taken.contains($0) }!
    }

    /// What a killed run left and this one will not adopt.
    func removeLeftovers() {
        do {
            let socket = try NetlinkSocket(.route)
            let adopted = Set(settings.tunnels.filter { kinds[$0.name] == .kernel && $0.mode == .shared }.map(\.interface))
            for link in try socket.links() where mark.isOn(link) && link.kind == "wireguard" && !adopted.contains(link.name) {
                try socket.delete(LinkRequest.delete(index: link.index, name: link.name))
                logger.notice("removed interface \(link.name), which an earlier run left")
            }
            for tunnel in settings.tunnels where tunnel.mode != .shared && kinds[tunnel.name] == .kernel {
                for number in 0..<UInt32(tunnel.mostIdentities) {
                    try PolicyRouting.removeRoutes(socket, table: Self.firstIdentityTable + number)
                }
            }
            // Rules that stand are adopted by `route`; without a kernel tunnel there will be none.
            if !usesKernel {
                let tables = Set(settings.tunnels.map(\.table) + [settings.dataPath.returnTable])
                try PolicyRouting.removeLeftovers(socket, tables: tables, basePriority: settings.dataPath.rulePriority)
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
        let socket = try NetlinkSocket(.route)
        let tun = configuration.dataPath.interface
        guard let link = try socket.link(named: tun) else { throw GatewayError("the TUN interface \(tun) is gone: restart the gateway") }
        if link.alias != mark.alias || !link.isUp {
            try socket.perform(LinkRequest.change(index: link.index, name: tun, LinkChange(up: true, alias: mark.alias)))
        }
        let confined = configuration.tunnels.filter { kinds[$0.name] == .kernel }.map { routedTunnels($0, configuration) }
        let routing = try PolicyRouting(
            tunName: tun, tunIndex: link.index, tunnels: confined.flatMap(\.open), closed: confined.flatMap(\.closed),
            returnTable: configuration.dataPath.returnTable, basePriority: configuration.dataPath.rulePriority)
        // Set first: what a failure half way has made is removed at the end all the same.
        self.routing = routing
        let change = try routing.apply(socket)
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

    /// Makes interfaces anew that somebody deleted.
    func recreateWhatIsGone() async {
        for (tunnelName, tunnel) in tunnels where tunnel.kind == .kernel {
            for (name, uplink) in tunnel.uplinks { await recreateIfGone(uplink, name, of: tunnelName) }
        }
    }

    private func recreateIfGone(_ uplink: Uplink, _ name: String, of tunnel: String) async {
        do {
            guard try NetlinkSocket(.route).link(named: uplink.interfaceName) == nil else { return }
        } catch {
            return logger.error("tunnel \"\(tunnel)\" cannot be looked at: \(error)")
        }
        logger.warning("tunnel \"\(tunnel)\": interface \(uplink.interfaceName) was deleted; making it again")
        do {
            try await uplink.backend.remove()
            tunnels[tunnel]?.uplinks[name]?.device = try await uplink.backend.create()
            try await configure(name, of: tunnel)
        } catch {
            logger.error("tunnel \"\(tunnel)\" cannot be made again: \(error)")
        }
    }

    /// The second half of the end, once the TUN is gone too: nothing is left that the rules could guard.
    func removeRouting() -> [String] {
        defer {
            routing = nil
            routed = nil
        }
        do {
            try routing?.remove(NetlinkSocket(.route))
            return []
        } catch {
            return ["the policy rules cannot be removed: \(error)"]
        }
    }
}
