import Addresses
import WireGuard

/// A device that did not take what it was told, and when it is told again.
struct Unsettled: Sendable {
    var attempts = 0
    var next: ContinuousClock.Instant
    var problem: String

    /// 1, 2, 4 ... 60 seconds.
    static func pause(after attempts: Int) -> Duration { .seconds(min(60, 1 << min(attempts, 6))) }
}

// What the uplinks' devices are told. All of it is said in the uplink's turn, and what is to be said is read there: whoever comes last says
// what is true last, however long a device takes to answer.
extension TunnelManager {
    /// Does one thing to an uplink, after what is being done to it.
    func inTurn(_ key: UplinkName, _ body: @escaping @Sendable (isolated TunnelManager) async throws -> Void) async throws {
        let before = turns[key]
        let task = Task {
            await before?.value
            try await body(self)
        }
        let turn = Task { _ = await task.result }
        turns[key] = turn
        await turn.value
        if turns[key] == turn { turns[key] = nil }
        try await task.value
    }

    /// Tells an uplink's device which peers it has now. One that does not take them is told again: `settle`.
    @discardableResult
    func tell(_ name: String, of tunnel: String) async throws -> TunnelChange {
        let key = UplinkName(tunnel: tunnel, identity: name)
        try await inTurn(key) { manager in
            manager.lastChange[key] = nil
            manager.lastChange[key] = try await manager.configure(name, of: tunnel)
        }
        return lastChange.removeValue(forKey: key) ?? TunnelChange()
    }

    /// As `tell`, where nobody waits for it; what goes wrong is in the log.
    func tellOrReport(_ name: String, of tunnel: String) async {
        do { try await tell(name, of: tunnel) } catch {
            logger.error("tunnel \"\(tunnel)\": the peers of \"\(name)\" cannot be changed: \(error); trying again")
        }
    }

    /// Tells those devices again that did not take it, if it is time.
    func settle(_ tunnel: String) async {
        let due = tunnels[tunnel]?.uplinks.filter { $1.unsettled.map { $0.next <= now() } ?? false }.keys.sorted() ?? []
        for name in due where !isEnding { _ = try? await tell(name, of: tunnel) }
    }

    /// In the uplink's turn only.
    @discardableResult
    func configure(_ name: String, of tunnel: String) async throws -> TunnelChange {
        guard let (backend, configuration, endpoints) = try wanted(of: name, of: tunnel) else { return TunnelChange() }
        do {
            let change = try await backend.apply(configuration, endpoints: endpoints)
            if let before = tunnels[tunnel]?.uplinks[name]?.unsettled {
                tunnels[tunnel]?.uplinks[name]?.unsettled = nil
                logger.notice("tunnel \"\(tunnel)\": \"\(name)\" has its peers now, after \(before.attempts) attempts in vain")
            }
            return change
        } catch {
            let attempts = tunnels[tunnel]?.uplinks[name]?.unsettled?.attempts ?? 0
            tunnels[tunnel]?.uplinks[name]?.unsettled = Unsettled(
                attempts: attempts + 1, next: now() + Unsettled.pause(after: attempts), problem: "\(error)")
            throw error
        }
    }

    /// What the device should have; nil if there is no such uplink any more. The tunnel is not held while the device answers: each change
    /// of one that somebody holds copies all of its uplinks.
    private func wanted(of name: String, of tunnel: String) throws -> (any TunnelBackend, TunnelConfiguration, [PublicKey: Endpoint])? {
        guard !isEnding, let tunnel = tunnels[tunnel], let uplink = tunnel.uplinks[name] else { return nil }
        var configuration = tunnel.settings.device(uplink.interfaceName, try uplink.identity.privateKey(), tunnel.kind)
        let probe = tunnel.probe?.uplink == name && tunnel.probe?.hasBegun == true ? tunnel.probe : nil
        configuration.peers = tunnel.routes.indices.flatMap { route in
            tunnel.routes[route].peers(at: tunnel.selectors[route].current, probing: probe?.route == route ? probe?.place : nil)
        }
        let endpoints = tunnel.tracker.endpoints.merging(probe?.tracker.endpoints ?? [:]) { $1 }
        return (uplink.backend, configuration, endpoints)
    }
}
