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
    /// The uplink has been told; before, a name has to be looked up.
    var hasBegun = false
    var watch = HandshakeWatch()
    var tracker: EndpointTracker
}

/// From when an uplink tries in vain to the next completed handshake.
struct HubOutage: Sendable {
    var began: ContinuousClock.Instant
    /// A hub has been given up; before, an answer may just be late.
    var isKnown = false
}

// Which hub is used: HubSelector decides for each route of a tunnel, here it is asked and obeyed, once a second. Each tunnel is watched by
// a task of its own: a device that does not answer holds nobody else.
extension TunnelManager {
    func watchHubs(of name: String) async {
        for route in (tunnels[name]?.routes ?? []).indices { await watchHub(route, of: name) }
    }

    /// nil if a reload has left fewer routes while somebody was asked.
    private func tunnel(_ name: String, with route: Int) -> Tunnel? {
        tunnels[name].flatMap { $0.routes.indices.contains(route) ? $0 : nil }
    }

    /// What a look at one uplink has to know; nil if the route has changed hubs since. It is not the tunnel: while somebody holds that,
    /// each change copies all of its uplinks, and there may be thousands.
    private func standing(
        of uplink: String, _ route: Int, of name: String, since selector: HubSelector
    ) -> (watch: HandshakeWatch, probe: HubProbe?)? {
        guard let tunnel = tunnel(name, with: route), tunnel.selectors[route].current == selector.current,
            let watch = tunnel.uplinks[uplink]?.watches[route]
        else { return nil }
        return (watch, tunnel.probe)
    }

    private func watchHub(_ route: Int, of name: String) async {
        guard let before = tunnel(name, with: route) else { return }
        let key = before.routes[route].publicKey(at: before.selectors[route].current)
        var names: [String] = []
        var votes: [HubSelector.Uplink] = []
        for (uplinkName, uplink) in before.uplinks.sorted(by: { $0.key < $1.key }) {
            guard let peer = try? await uplink.backend.glance(at: key),
                let (known, probe) = standing(of: uplinkName, route, of: name, since: before.selectors[route])
            else { continue }
            var watch = known
            // The traffic of one that tries another endpoint of the same hub says nothing about this one.
            if let probe, probe.route == route, probe.uplink == uplinkName, probe.isSameHub, probe.hasBegun { continue }
            if watch.observe(peer, speaksFirst: before.selectors[route].current != nil, now: now()) { handshakeCompleted(uplinkName, route, of: name) }
            tunnels[name]?.uplinks[uplinkName]?.watches[route] = watch
            if peer.lostPackets != nil {
                // Before the assignment: that holds the tunnel exclusively while its right side is worked out.
                let lost = tunnels[name]?.uplinks[uplinkName]?.losses[route].observe(peer) ?? 0
                let lostBefore = tunnels[name]?.lostPackets ?? 0
                tunnels[name]?.lostPackets = lostBefore + lost
            }
            names.append(uplinkName)
            votes.append(
                .init(
                    hasCompleted: watch.hasCompleted, tryingSince: watch.tryingSince, heardAt: watch.heardAt,
                    // Without keepalives nothing would begin the new session.
                    mayBeAsked: peer.keepalive > 0 && probe == nil))
        }
        if tunnels[name]?.outage == nil, let since = votes.compactMap(\.tryingSince).min() { tunnels[name]?.outage = HubOutage(began: since) }
        let answered = await probeIsAnswered(route, of: name)
        guard tunnel(name, with: route) != nil,
            let decision = tunnels[name]?.selectors[route].evaluate(votes, probeCompleted: answered, now: now())
        else { return }
        reportRefused(names, votes, route, of: name)
        if case .ask(let number) = decision {
            logger.debug("tunnel \"\(name)\": asking the hub for a new handshake of \"\(names[number])\"")
            await renew(names[number], route, of: name)
        } else {
            await carryOut(decision, route, of: name)
        }
    }

    /// An identity that the hub does not answer while it answers others: most likely it has been taken out of the hub's configuration.
    private func reportRefused(_ names: [String], _ votes: [HubSelector.Uplink], _ route: Int, of name: String) {
        guard let tunnel = tunnel(name, with: route), tunnel.settings.mode != .shared else { return }
        for (uplink, vote) in zip(names, votes) {
            let isRefused = tunnel.selectors[route].isRefused(vote, among: votes, now: now())
            guard let known = tunnel.uplinks[uplink], known.isRefused != isRefused, isRefused || vote.tryingSince == nil else { continue }
            tunnels[name]?.uplinks[uplink]?.isRefused = isRefused
            if isRefused {
                logger.error(
                    "tunnel \"\(name)\": the hub answers others and not identity \"\(uplink)\", public key \(known.identity.publicKey): does it still know that key?")
            } else {
                logger.notice("tunnel \"\(name)\": the hub answers identity \"\(uplink)\" again")
            }
        }
    }

    private func handshakeCompleted(_ uplink: String, _ route: Int, of name: String) {
        tunnels[name]?.selectors[route].completed(at: now())
        tunnels[name]?.handshakes[uplink] = Date()
        guard let outage = tunnels[name]?.outage else { return }
        tunnels[name]?.outage = nil
        guard outage.isKnown else { return }
        logger.notice("tunnel \"\(name)\": a hub answers after \((now() - outage.began).components.seconds) s without one")
    }

    private func probeIsAnswered(_ route: Int, of name: String) async -> Bool {
        guard let tunnel = tunnel(name, with: route), let probe = tunnel.probe, probe.route == route, probe.hasBegun,
            let uplink = tunnel.uplinks[probe.uplink]
        else { return false }
        guard let peer = try? await uplink.backend.glance(at: tunnel.routes[route].publicKey(at: probe.place)) else { return false }
        return tunnels[name]?.probe?.watch.observe(peer, now: now()) ?? false
    }

    private func carryOut(_ decision: HubSelector.Decision, _ route: Int, of name: String) async {
        switch decision {
        case .stay, .ask: break
        case .failover(let place):
            tunnels[name]?.failovers += 1
            guard let key = tunnel(name, with: route)?.routes[route].publicKey(at: place) else { break }
            for uplink in tunnels[name]?.uplinks.keys.sorted() ?? [] {
                guard let lost = tunnels[name]?.uplinks[uplink]?.losses[route].givenUp(for: key), lost > 0 else { continue }
                tunnels[name]?.lostPackets? += lost
            }
            tunnels[name]?.outage?.isKnown = true
            logger.warning("tunnel \"\(name)\": no handshake completes; trying hub \(text(place, route, of: name))")
            tunnels[name]?.probe = nil
            await moveUplinks(of: name)
        case .goBack(let place):
            logger.notice("tunnel \"\(name)\": back to hub \(text(place, route, of: name)), which answers again")
            if let probe = tunnels[name]?.probe { tunnels[name]?.handshakes[probe.uplink] = Date() }
            tunnels[name]?.selectors[route].completed(at: now())
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

    /// All uplinks use the hubs that the selectors say. A hub whose name is not known yet gets its address when there is one.
    private func moveUplinks(of name: String) async {
        guard let tunnel = tunnels[name] else { return }
        tunnels[name]?.tracker.update(zip(tunnel.routes, tunnel.selectors).flatMap { $0.peers(at: $1.current) })
        lookUpNames(of: name)
        for uplink in tunnel.uplinks.keys.sorted() { await tellOrReport(uplink, of: name) }
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
        lookUpNames(of: name)
        await beginProbe(of: name)
    }

    /// At once, or when the name is known: without an address the handshake would be with the endpoint in use.
    func beginProbe(of name: String) async {
        guard let probe = tunnels[name]?.probe, !probe.hasBegun, !probe.tracker.endpoints.isEmpty else { return }
        tunnels[name]?.probe?.hasBegun = true
        await renew(probe.uplink, probe.route, of: name)
    }

    private func endProbe(of name: String) async {
        guard let probe = tunnels[name]?.probe else { return }
        tunnels[name]?.probe = nil
        guard probe.hasBegun else { return }
        guard probe.isSameHub else { return await tellOrReport(probe.uplink, of: name) }
        await renew(probe.uplink, probe.route, of: name)
    }

    /// With a new handshake, if the hub that is asked is the one in use: under the old keys nothing would show whether it answers.
    private func renew(_ uplink: String, _ route: Int, of name: String) async {
        try? await inTurn(UplinkName(tunnel: name, identity: uplink)) { await $0.forgetHub(of: uplink, route, of: name) }
        await tellOrReport(uplink, of: name)
    }

    private func forgetHub(of uplink: String, _ route: Int, of name: String) async {
        guard let tunnel = tunnel(name, with: route), let backend = tunnel.uplinks[uplink]?.backend, tunnel.probe?.isSameHub ?? true else { return }
        do {
            try await backend.forget(tunnel.routes[route].publicKey(at: tunnel.selectors[route].current))
        } catch {
            logger.debug("tunnel \"\(name)\": \"\(uplink)\" keeps its handshake: \(error)")
        }
    }
}
