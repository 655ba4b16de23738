import Addresses
import Identities
import Settings
import WireGuard

// Another configuration of the same tunnels. It is taken as a whole or not at all.
extension TunnelManager {
    /// What one tunnel is to become, read and checked.
    private struct Plan {
        let settings: CausewayConfiguration.Tunnel
        let routes: [HubRoute]
        let identities: [String: UplinkIdentity]
    }

    /// What one tunnel was, but for its uplinks, which come and go in any case.
    private struct Before {
        let tunnel: Tunnel
        let goBack: @Sendable () async throws -> Void
    }

    /// Takes a changed configuration: peers, keys, addresses and the prefixes that may enter each tunnel. One that fails is taken back.
    /// - Returns: sessions that cannot go on with it, and why.
    func apply(
        _ configuration: CausewayConfiguration, identities: [String: [String: UplinkIdentity]], live: [String: [IPPrefix]]
    ) async throws -> [UInt64: String] {
        let plans = try configuration.tunnels.compactMap { try plan($0, identities[$0.name] ?? [:]) }
        let (routedBefore, liveBefore) = (routed, self.live)
        var before: [Before] = []
        do {
            // Ports first: they are what most likely cannot be had, and until then nothing has changed for anybody.
            for plan in plans {
                guard let tunnel = tunnels[plan.settings.name] else { continue }
                before.append(Before(tunnel: tunnel, goBack: try await tunnel.devices.prepare(plan.settings)))
            }
            for plan in plans { try await carryOut(plan) }
            try route(configuration, live: live)
        } catch {
            let problems = await goBack(to: before) + goBack(toRoutes: routedBefore, liveBefore)
            guard problems.isEmpty else {
                throw GatewayError("\(error); the configuration before it could not be set again: \(problems.joined(separator: "; "))")
            }
            throw error
        }
        return before.reduce(into: [:]) { endings, before in endings.merge(retire(whatIsLeftOf: before.tunnel, under: configuration)) { first, _ in first } }
    }

    private func plan(_ settings: CausewayConfiguration.Tunnel, _ identities: [String: UplinkIdentity]) throws -> Plan? {
        guard tunnels[settings.name] != nil else { return nil }
        let plan = Plan(settings: settings, routes: try settings.routes(), identities: try Self.identities(of: settings, identities))
        for identity in plan.identities.values.prefix(1) {
            var whole = try settings.device(settings.interface, identity.privateKey(), kinds[settings.name] ?? .embedded)
            whole.peers = plan.routes.flatMap { $0.peers(at: nil) }
            try whole.validate()
        }
        return plan
    }

    private func carryOut(_ plan: Plan) async throws {
        let name = plan.settings.name
        guard var tunnel = tunnels[name] else { return }
        let timing = plan.settings.hubTiming(tunnel.kind)
        if !plan.routes.elementsEqual(tunnel.routes, by: { $0.hasSameHubs(as: $1) }) || tunnel.selectors.contains(where: { $0.timing != timing }) {
            // Other hubs: from the first one again.
            tunnel.selectors = plan.routes.map { HubSelector(endpoints: $0.hubs.map(\.endpoints.count), timing: timing, now: now()) }
            tunnel.probe = nil
            for uplink in tunnel.uplinks.keys {
                tunnel.uplinks[uplink]?.watches = Array(repeating: HandshakeWatch(), count: plan.routes.count)
                tunnel.uplinks[uplink]?.losses = Array(repeating: LossMeter(), count: plan.routes.count)
            }
        }
        tunnel.settings = plan.settings
        tunnel.routes = plan.routes
        tunnel.identities = plan.identities
        for (identity, uplink) in tunnel.uplinks { tunnel.uplinks[identity]?.identity = plan.identities[identity] ?? uplink.identity }
        tunnel.tracker.update(zip(plan.routes, tunnel.selectors).flatMap { $0.peers(at: $1.current) })
        tunnels[name] = tunnel
        var total = TunnelChange()
        for uplink in tunnel.uplinks.keys.sorted() {
            let change = try await tell(uplink, of: name)
            total.peersAdded += change.peersAdded
            total.peersChanged += change.peersChanged
            total.peersRemoved += change.peersRemoved
            total.interfaceChanged = total.interfaceChanged || change.interfaceChanged
        }
        lookUpNames(of: name)
        if !total.isEmpty {
            logger.info("tunnel \"\(name)\": \(total.peersAdded) peers added, \(total.peersChanged) changed, \(total.peersRemoved) removed")
        }
    }

    // MARK: Taking it back

    private func goBack(to before: [Before]) async -> [String] {
        var problems: [String] = []
        for before in before {
            let name = before.tunnel.settings.name
            do { try await before.goBack() } catch { problems.append("tunnel \"\(name)\": \(error)") }
            guard var tunnel = tunnels[name] else { continue }
            tunnel.settings = before.tunnel.settings
            tunnel.routes = before.tunnel.routes
            tunnel.selectors = before.tunnel.selectors
            tunnel.probe = before.tunnel.probe
            tunnel.tracker = before.tunnel.tracker
            tunnel.identities = before.tunnel.identities
            for (identity, var uplink) in tunnel.uplinks {
                let known = before.tunnel.uplinks[identity]
                uplink.watches = known?.watches ?? Array(repeating: HandshakeWatch(), count: tunnel.routes.count)
                uplink.losses = known?.losses ?? Array(repeating: LossMeter(), count: tunnel.routes.count)
                uplink.identity = tunnel.identities[identity] ?? uplink.identity
                tunnel.uplinks[identity] = uplink
            }
            tunnels[name] = tunnel
            for uplink in tunnel.uplinks.keys.sorted() {
                do { try await tell(uplink, of: name) } catch { problems.append("tunnel \"\(name)\": \(error)") }
            }
        }
        return problems
    }

    private func goBack(toRoutes configuration: CausewayConfiguration?, _ live: [String: [IPPrefix]]) -> [String] {
        routed = configuration
        self.live = live
        guard let configuration else { return [] }
        do { try route(configuration, live: live) } catch { return ["\(error)"] }
        return []
    }

    // MARK: Who has to go

    /// The hub is told at the same time which keys and addresses it is to know: a session that keeps an old one would fall silent.
    private func retire(whatIsLeftOf before: Tunnel, under configuration: CausewayConfiguration) -> [UInt64: String] {
        let name = before.settings.name
        guard before.settings.mode != .shared, let tunnel = tunnels[name] else { return [:] }
        let others = configuration.prefixesByIdentity(of: tunnel.settings)
        var endings: [UInt64: String] = [:]
        for (identity, uplink) in tunnel.uplinks {
            let current = tunnel.identities[identity]
            tunnels[name]?.uplinks[identity]?.isRetired = current == nil
            let own = current?.address.map { IPPrefix($0) }
            let taken = (others[identity] ?? []) + (own.map { [$0] } ?? [])
            for (session, prefixes) in uplink.holders {
                // One that has no address yet has been told the identity's at that time.
                let held = prefixes.isEmpty ? before.identities[identity]?.address.map { [IPPrefix($0)] } ?? [] : prefixes
                if current == nil {
                    endings[session] = "the configuration has no identity \"\(identity)\" any more"
                } else if let own, let first = held.first, first != own {
                    endings[session] = "the address of \"\(identity)\" is \(own.address) now"
                } else if let lost = held.first(where: { prefix in !taken.contains { $0.contains(prefix) } }) {
                    endings[session] = "the hub does not take \(lost) from \"\(identity)\" any more"
                }
            }
        }
        return endings
    }
}
