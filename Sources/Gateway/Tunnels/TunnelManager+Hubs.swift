import Addresses
import Foundation
import WireGuard

/// One uplink asks whether the first hub answers again; the others stay where they are.
struct HubProbe: Sendable {
    let route: Int
    let place: HubSelector.Place
    let uplink: String
    /// The hub in use has another endpoint as well: then the uplink's own traffic tries it.
    let isSameHub: Bool
    var watch = HandshakeWatch()
    var tracker: EndpointTracker
}

/// From when an uplink tries in vain to the next completed handshake.
struct HubOutage: Sendable {
    var began: ContinuousClock.Instant
    /// A hub has been given up; before, an answer may just be late.
    var isKnown = false
    /// What the engine had dropped by then because no hub took it.
    var dropped: UInt64
}

// Which hub is used: HubSelector decides for each route of a tunnel, here it is asked and obeyed, once a second.
extension TunnelManager {
    func watchHubs() async {
        for name in tunnels.keys.sorted() {
            for route in (tunnels[name]?.routes ?? []).indices { await watchHub(route, of: name) }
        }
    }

    /// nil if a reload has left fewer routes while somebody was asked.
    private func tunnel(_ name: String, with route: Int) -> Tunnel? {
        tunnels[name].flatMap { $0.routes.indices.contains(route) ? $0 : nil }
    }

    private func watchHub(_ route: Int, of name: String) async {
        guard let before = tunnel(name, with: route) else { return }
        let key = before.routes[route].publicKey(at: before.selectors[route].current)
        var votes: [HubSelector.Uplink] = []
        for (uplinkName, uplink) in before.uplinks {
            guard let peer = try? await uplink.backend.glance(at: key), let now = tunnel(name, with: route),
                var watch = now.uplinks[uplinkName]?.watches[route]
            else { continue }
            // The traffic of one that tries another endpoint of the same hub says nothing about this one.
            if let probe = now.probe, probe.route == route, probe.uplink == uplinkName, probe.isSameHub { continue }
            if watch.observe(peer, speaksFirst: before.selectors[route].current != nil, now: .now) { handshakeCompleted(uplinkName, route, of: name) }
            tunnels[name]?.uplinks[uplinkName]?.watches[route] = watch
            votes.append(.init(hasCompleted: watch.hasCompleted, tryingSince: watch.tryingSince))
        }
        if tunnels[name]?.outage == nil, let since = votes.compactMap(\.tryingSince).min() {
            tunnels[name]?.outage = HubOutage(began: since, dropped: droppedForHubs())
        }
        let answered = await probeIsAnswered(route, of: name)
        guard tunnel(name, with: route) != nil,
            let decision = tunnels[name]?.selectors[route].evaluate(votes, probeCompleted: answered, now: .now)
        else { return }
        await carryOut(decision, route, of: name)
    }

    private func handshakeCompleted(_ uplink: String, _ route: Int, of name: String) {
        tunnels[name]?.selectors[route].completed(at: .now)
        tunnels[name]?.handshakes[uplink] = Date()
        guard let outage = tunnels[name]?.outage else { return }
        tunnels[name]?.outage = nil
        let lost = max(outage.dropped, droppedForHubs()) - outage.dropped
        tunnels[name]?.lostPackets += lost
        guard outage.isKnown else { return }
        let seconds = (ContinuousClock.now - outage.began).components.seconds
        logger.notice("tunnel \"\(name)\": a hub answers after \(seconds) s without one; \(lost) packets were lost meanwhile")
    }

    private func probeIsAnswered(_ route: Int, of name: String) async -> Bool {
        guard let tunnel = tunnel(name, with: route), let probe = tunnel.probe, probe.route == route,
            let uplink = tunnel.uplinks[probe.uplink]
        else { return false }
        guard let peer = try? await uplink.backend.glance(at: tunnel.routes[route].publicKey(at: probe.place)) else { return false }
        return tunnels[name]?.probe?.watch.observe(peer, now: .now) ?? false
    }

    private func carryOut(_ decision: HubSelector.Decision, _ route: Int, of name: String) async {
        switch decision {
        case .stay: break
        case .failover(let place):
            tunnels[name]?.failovers += 1
            tunnels[name]?.outage?.isKnown = true
            logger.warning("tunnel \"\(name)\": no handshake completes; trying hub \(text(place, route, of: name))")
            tunnels[name]?.probe = nil
            await moveUplinks(of: name)
        case .goBack(let place):
            logger.notice("tunnel \"\(name)\": back to hub \(text(place, route, of: name)), which answers again")
            if let probe = tunnels[name]?.probe { tunnels[name]?.handshakes[probe.uplink] = Date() }
            tunnels[name]?.selectors[route].completed(at: .now)
            tunnels[name]?.probe = nil
            await moveUplinks(of: name)
        case .probe(let place): await beginProbe(place, route, of: name)
        case .endProbe: await endProbe(of: name)
        }
    }

    private func text(_ place: HubSelector.Place, _ route: Int, of name: String) -> String {
        guard let route = tunnel(name, with: route)?.routes[route] else { return "" }
        return "\(route.publicKey(at: place)) at \(route.endpoint(at: place).map { "\($0)" } ?? "an unknown address")"
    }

    /// All uplinks use the hubs that the selectors say.
    private func moveUplinks(of name: String) async {
        guard let tunnel = tunnels[name] else { return }
        tunnels[name]?.tracker.update(zip(tunnel.routes, tunnel.selectors).flatMap { $0.peers(at: $1.current) })
        await resolveNames(of: name)
        for uplink in tunnel.uplinks.keys { await tell(uplink, of: name) }
    }

    private func tell(_ uplink: String, of name: String) async {
        do { try await configure(uplink, of: name) } catch {
            logger.error("tunnel \"\(name)\": the peers of \"\(uplink)\" cannot be changed: \(error)")
        }
    }

    // MARK: The probe

    private func beginProbe(_ place: HubSelector.Place, _ route: Int, of name: String) async {
        guard let tunnel = tunnel(name, with: route), let current = tunnel.selectors[route].current,
            let uplink = tunnel.uplinks.filter({ $1.watches[route].hasCompleted && $1.watches[route].tryingSince == nil }).keys.min()
        else { return }
        let peers = tunnel.routes[route].peers(at: current, probing: place)
        tunnels[name]?.probe = HubProbe(
            route: route, place: place, uplink: uplink, isSameHub: place.hub == current.hub,
            tracker: EndpointTracker(peers.filter { $0.publicKey == tunnel.routes[route].publicKey(at: place) }))
        logger.debug("tunnel \"\(name)\": asking hub \(text(place, route, of: name)) whether it answers again")
        await resolveNames(of: name)
        await renew(uplink, route, of: name)
    }

    private func endProbe(of name: String) async {
        guard let probe = tunnels[name]?.probe else { return }
        tunnels[name]?.probe = nil
        guard probe.isSameHub else { return await tell(probe.uplink, of: name) }
        await renew(probe.uplink, probe.route, of: name)
    }

    /// With a new handshake, if the hub that is asked is the one in use: under the old keys nothing would show whether it answers.
    private func renew(_ uplink: String, _ route: Int, of name: String) async {
        guard let tunnel = tunnel(name, with: route), let backend = tunnel.uplinks[uplink]?.backend else { return }
        if tunnel.probe?.isSameHub ?? true {
            try? await backend.forget(tunnel.routes[route].publicKey(at: tunnel.selectors[route].current))
        }
        await tell(uplink, of: name)
    }

    // MARK: Losses

    /// Packets that the engine dropped because no hub took them, of all tunnels.
    private func droppedForHubs() -> UInt64 {
        guard let drops = try? engine?.counters().drops else { return 0 }
        return ["staged", "no-endpoint"].reduce(0) { $0 + (drops[$1] ?? 0) }
    }

    // MARK: Names

    /// Looks up the names of hubs that are due for it.
    func resolveNames() async {
        for name in tunnels.keys.sorted() {
            guard let tunnel = tunnels[name] else { continue }
            var live: Set<PublicKey> = []
            for (route, selector) in zip(tunnel.routes, tunnel.selectors) where tunnel.uplinks.values.contains(where: { uplink in
                uplink.watches.contains { $0.hasCompleted && $0.tryingSince == nil }
            }) {
                live.insert(route.publicKey(at: selector.current))
            }
            tunnels[name]?.tracker.observe(live: live)
            for (peer, endpoint) in await resolveNames(of: name) { await send(peer, to: endpoint, name) }
        }
    }

    private func send(_ peer: PublicKey, to endpoint: Endpoint, _ name: String) async {
        guard let tunnel = tunnels[name] else { return }
        for uplink in tunnel.uplinks.values {
            do {
                try await uplink.backend.setEndpoint(endpoint, of: peer)
            } catch {
                logger.warning("tunnel \"\(name)\": peer \(peer) cannot be sent to \(endpoint): \(error)")
            }
        }
        logger.info("tunnel \"\(name)\": peer \(peer) is at \(endpoint) now")
    }

    @discardableResult
    private func resolveNames(of name: String) async -> [PublicKey: Endpoint] {
        var moves: [PublicKey: Endpoint] = [:]
        for query in tunnels[name]?.tracker.due(.now) ?? [] {
            guard let addresses = await resolve(query, name) else { continue }
            moves.merge(tunnels[name]?.tracker.resolved(query, addresses) ?? [:]) { $1 }
        }
        for query in tunnels[name]?.probe?.tracker.due(.now) ?? [] {
            guard let addresses = await resolve(query, name) else { continue }
            _ = tunnels[name]?.probe?.tracker.resolved(query, addresses)
        }
        return moves
    }

    private func resolve(_ query: EndpointTracker.Query, _ name: String) async -> [Endpoint]? {
        do {
            return try await resolver.resolve(query.name, port: query.port)
        } catch {
            logger.warning("tunnel \"\(name)\": \(error); trying again")
            return nil
        }
    }
}
