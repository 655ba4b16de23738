import Addresses
import DataPath
import Settings
import WireGuard

// Uplinks come up with the first session that needs them and go some time after the last one. What is done to one of them is done one
// thing at a time; different ones do not wait for each other.
extension TunnelManager {
    // MARK: Sessions

    /// The way out of a session. An identity that is not up yet comes up.
    func acquire(_ request: UplinkRequest, for session: UInt64) async throws -> UplinkGrant {
        // Nobody holds a tunnel while it is changed: that would copy all of its uplinks.
        while let name = tunnels[request.tunnel]?.settings.identityName(of: request), !isEnding {
            guard let address = tunnels[request.tunnel]?.identities[name].map(\.address) else {
                throw GatewayError("tunnel \"\(request.tunnel)\" has no identity \"\(name)\" for user \"\(request.user)\": reload, so that one is made")
            }
            guard let device = tunnels[request.tunnel]?.uplinks[name].flatMap({ $0.isReady ? $0.device : nil }) else {
                try await begin(name, of: request.tunnel)
                continue
            }
            tunnels[request.tunnel]?.uplinks[name]?.holders[session] = []
            tunnels[request.tunnel]?.uplinks[name]?.unusedSince = nil
            return UplinkGrant(identity: device.identity, address: address)
        }
        throw GatewayError("tunnel \"\(request.tunnel)\" \(isEnding ? "is ending" : "does not run")")
    }

    func confine(_ prefixes: [IPPrefix], of session: UInt64, to request: UplinkRequest) throws {
        guard let (name, kind) = tunnels[request.tunnel].map({ ($0.settings.identityName(of: request), $0.kind) }) else {
            throw GatewayError("tunnel \"\(request.tunnel)\" is ending")
        }
        guard tunnels[request.tunnel]?.uplinks[name]?.holders[session] != nil else { return }
        tunnels[request.tunnel]?.uplinks[name]?.holders[session] = prefixes
        try restoreRoutingAfterChange(of: kind)
    }

    func release(_ request: UplinkRequest, by session: UInt64) {
        guard let (name, isRouted) = tunnels[request.tunnel].map({ tunnel in
            (tunnel.settings.identityName(of: request), tunnel.settings.mode != .shared && tunnel.kind == .kernel)
        }), tunnels[request.tunnel]?.uplinks[name]?.holders.removeValue(forKey: session) != nil
        else { return }
        if tunnels[request.tunnel]?.uplinks[name]?.holders.isEmpty == true { tunnels[request.tunnel]?.uplinks[name]?.unusedSince = now() }
        if isRouted { restoreRouting(live: live) }
    }

    // MARK: Making

    /// Makes an uplink unless somebody else just has.
    func begin(_ name: String, of tunnel: String) async throws {
        try await inTurn(UplinkName(tunnel: tunnel, identity: name)) { manager in
            guard manager.tunnels[tunnel]?.uplinks[name] == nil else { return }
            try await manager.make(name, of: tunnel)
        }
    }

    private func make(_ name: String, of tunnelName: String) async throws {
        guard let identity = tunnels[tunnelName]?.identities[name] else { return }
        let uplink = try await create(identity, of: tunnelName)
        do {
            guard !isEnding, tunnels[tunnelName] != nil else { throw GatewayError("tunnel \"\(tunnelName)\" is ending") }
            try await configure(name, of: tunnelName)
            tunnels[tunnelName]?.uplinks[name]?.isReady = true
            if name != "" {
                logger.info("tunnel \"\(tunnelName)\": identity \"\(name)\" is up, public key \(identity.publicKey)")
            }
        } catch {
            let key = UplinkName(tunnel: tunnelName, identity: name)
            occupied[key] = Occupied(interfaceName: uplink.interfaceName, table: uplink.table, isLeaving: true)
            defer { occupied[key] = nil }
            tunnels[tunnelName]?.uplinks[name] = nil
            unlist(uplink, of: tunnelName)
            try? await uplink.backend.remove()
            throw error
        }
    }

    /// What a new uplink is made with.
    private struct Place {
        var interface: String
        var backend: any TunnelBackend
        /// nil where the kernel does not route.
        var table: UInt32?
    }

    /// nil: all interfaces are taken.
    private func place(in tunnelName: String) throws -> Place? {
        guard !isEnding, let tunnel = tunnels[tunnelName] else { throw GatewayError("tunnel \"\(tunnelName)\" is ending") }
        guard let interface = interfaceName(of: tunnel) else { return nil }
        return Place(
            interface: interface, backend: tunnel.devices.backend(interface, tunnel.settings),
            table: tunnel.kind == .kernel ? table(of: tunnel) : nil)
    }

    /// The device. One that nobody has used for longest makes room where there is none. The tunnel is not held meanwhile: with many users
    /// somebody always waits here, and each change of a tunnel that somebody holds copies all of its uplinks.
    private func create(_ identity: UplinkIdentity, of tunnelName: String) async throws -> Uplink {
        while true {
            guard let place = try place(in: tunnelName) else {
                if await makeRoom(for: tunnelName) { continue }
                throw GatewayError(
                    "tunnel \"\(tunnelName)\": \(tunnels[tunnelName]?.settings.mostIdentities ?? 0) identities are in use (most-identities); set backend = \"embedded\"")
            }
            let (interface, backend, table) = (place.interface, place.backend, place.table)
            let key = UplinkName(tunnel: tunnelName, identity: identity.name)
            occupied[key] = Occupied(interfaceName: interface, table: table)
            defer { occupied[key] = nil }
            let device: TunnelDevice
            do {
                device = try await backend.create()
            } catch let error as EngineError where error.cause == .full {
                guard await makeRoom(for: tunnelName) else { throw error }
                continue
            } catch {
                try? await backend.remove()
                throw error
            }
            // A reload may have come while it was made.
            guard let routes = tunnels[tunnelName]?.routes.count, let identity = tunnels[tunnelName]?.identities[identity.name] else {
                try? await backend.remove()
                throw GatewayError("tunnel \"\(tunnelName)\" has no identity \"\(identity.name)\" any more")
            }
            let uplink = Uplink(
                identity: identity, interfaceName: interface, backend: backend, device: device, table: table,
                watches: Array(repeating: HandshakeWatch(), count: routes), losses: Array(repeating: LossMeter(), count: routes))
            tunnels[tunnelName]?.uplinks[identity.name] = uplink
            list(uplink, of: tunnelName)
            return uplink
        }
    }

    /// Removes the uplink that has been without sessions for longest. The engine's identities are for all of its tunnels, interfaces of
    /// the kernel's are counted for each tunnel. False if there is none.
    private func makeRoom(for tunnelName: String) async -> Bool {
        guard let kind = tunnels[tunnelName]?.kind else { return false }
        let candidates = tunnels.filter { name, other in
            other.settings.mode != .shared && (kind == .embedded ? other.kind == .embedded : name == tunnelName)
        }
        let idle = candidates.flatMap { name, other in
            other.uplinks.compactMap { identity, uplink in
                uplink.holders.isEmpty ? uplink.unusedSince.map { (UplinkName(tunnel: name, identity: identity), $0) } : nil
            }
        }
        if let oldest = idle.min(by: { $0.1 < $1.1 }) {
            await remove(oldest.0, unusedSince: oldest.1, because: "its place is needed")
            return true
        }
        // One that is on its way out.
        guard let last = occupied.first(where: { $1.isLeaving && candidates[$0.tunnel] != nil })?.key, let turn = turns[last] else { return false }
        await turn.value
        return true
    }

    // MARK: Removing

    /// Whether there is an uplink with this identity, or one that is being made or removed.
    func uses(_ identity: String, in tunnel: String) -> Bool {
        tunnels[tunnel]?.uplinks[identity] != nil || occupied[UplinkName(tunnel: tunnel, identity: identity)] != nil
    }

    /// Lets go of uplinks that nobody has used for a while, so that the hub is not kept busy with them, and of those that the
    /// configuration does not have any more.
    func removeUnused(of tunnelName: String) async {
        guard let tunnel = tunnels[tunnelName], tunnel.settings.mode != .shared else { return }
        for (name, uplink) in tunnel.uplinks.sorted(by: { $0.key < $1.key }) where uplink.holders.isEmpty {
            guard uplink.isRetired || uplink.unusedSince.map({ now() - $0 >= tunnel.settings.linger }) ?? false else { continue }
            let why = uplink.isRetired ? "the configuration does not have it any more" : "no session for a while"
            await remove(UplinkName(tunnel: tunnelName, identity: name), unusedSince: uplink.unusedSince, because: why)
        }
    }

    /// Unless a session has taken it meanwhile.
    private func remove(_ key: UplinkName, unusedSince since: ContinuousClock.Instant?, because reason: String) async {
        try? await inTurn(key) { manager in
            guard let uplink = manager.tunnels[key.tunnel]?.uplinks[key.identity], uplink.holders.isEmpty, uplink.unusedSince == since else { return }
            await manager.remove(uplink, key, because: reason)
        }
    }

    private func remove(_ uplink: Uplink, _ key: UplinkName, because reason: String) async {
        tunnels[key.tunnel]?.uplinks[key.identity] = nil
        if tunnels[key.tunnel]?.probe?.uplink == key.identity { tunnels[key.tunnel]?.probe = nil }
        unlist(uplink, of: key.tunnel)
        occupied[key] = Occupied(interfaceName: uplink.interfaceName, table: uplink.table, isLeaving: true)
        defer { occupied[key] = nil }
        do {
            try await uplink.backend.remove()
            if let table = uplink.table { try host.removeRoutes(ofTables: [table]) }
            logger.info("tunnel \"\(key.tunnel)\": identity \"\(key.identity)\" is down: \(reason)")
        } catch {
            logger.error("tunnel \"\(key.tunnel)\": identity \"\(key.identity)\" cannot be removed: \(error)")
        }
        if uplink.table != nil { restoreRouting(live: live) }
    }

    /// Makes interfaces anew that somebody deleted.
    func recreateWhatIsGone(of tunnelName: String) async {
        guard let tunnel = tunnels[tunnelName], tunnel.kind == .kernel else { return }
        for name in tunnel.uplinks.keys.sorted() {
            try? await inTurn(UplinkName(tunnel: tunnelName, identity: name)) { await $0.recreateIfGone(name, of: tunnelName) }
        }
    }

    private func recreateIfGone(_ name: String, of tunnel: String) async {
        guard !isEnding, let uplink = tunnels[tunnel]?.uplinks[name] else { return }
        do {
            guard try host.link(named: uplink.interfaceName) == nil else { return }
        } catch {
            return logger.error("tunnel \"\(tunnel)\" cannot be looked at: \(error)")
        }
        logger.warning("tunnel \"\(tunnel)\": interface \(uplink.interfaceName) was deleted; making it again")
        do {
            try await uplink.backend.remove()
            let device = try await uplink.backend.create()
            tunnels[tunnel]?.uplinks[name]?.device = device
            try await configure(name, of: tunnel)
        } catch {
            logger.error("tunnel \"\(tunnel)\" cannot be made again: \(error)")
        }
    }
}
