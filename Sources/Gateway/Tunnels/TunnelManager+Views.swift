import DataPath
import Foundation
import WireGuard

// What the data path and operators are told.
extension TunnelManager {
    /// Interfaces that somebody deleted come back, devices that did not take something are told again, uplinks that nobody uses go.
    func maintain(_ name: String) async {
        await recreateWhatIsGone(of: name)
        await settle(name)
        await removeUnused(of: name)
    }

    func states() async -> [TunnelState] {
        for name in tunnels.keys { await readState(of: name) }
        return tunnels.values.compactMap(\.reported).sorted { $0.index < $1.index }
    }

    /// nil: it is what was reported last.
    func changedState(of name: String) async -> TunnelState? {
        let before = tunnels[name]?.reported
        await readState(of: name)
        guard let now = tunnels[name]?.reported, now != before else { return nil }
        let text = now.up ? "up, MTU \(now.mtu)" : "DOWN: its users' packets are dropped (\(tunnels[name]?.problem ?? ""))"
        logger.log(level: now.up ? .notice : .error, "tunnel \"\(name)\" is \(text)")
        return now
    }

    func problem(of name: String) -> String? { tunnels[name]?.problem }

    /// A tunnel whose identities come and go is up; what each of them cannot carry is dropped there.
    private func readState(of name: String) async {
        guard let tunnel = tunnels[name] else { return }
        // A question that fails (no descriptor left, a device too busy to answer) says nothing about the tunnel: it stays as it was.
        var up = tunnel.reported?.up ?? (tunnel.settings.mode != .shared)
        var problem: String?
        if let uplink = tunnel.uplinks[""] {
            do {
                switch try await uplink.backend.status().health {
                case .running: up = true
                case .broken(let reason):
                    up = false
                    problem = reason
                }
            } catch {
                problem = "\(error)"
            }
        }
        if problem == nil, let (uplink, unsettled) = tunnel.uplinks.compactMap({ name, uplink in uplink.unsettled.map { (name, $0) } }).min(by: { $0.0 < $1.0 }) {
            problem = "\(uplink == "" ? "its device" : "the device of identity \"\(uplink)\"") did not take its peers: \(unsettled.problem); trying again"
        }
        tunnels[name]?.problem = problem
        tunnels[name]?.reported = TunnelState(index: tunnel.index, mtu: UInt16(clamping: tunnel.settings.mtu), up: up)
    }

    func views() async -> [TunnelView] {
        var views: [TunnelView] = []
        for (name, tunnel) in tunnels.sorted(by: { $0.value.index < $1.value.index }) {
            views.append(view(name, tunnel, await Self.statuses(of: tunnel.uplinks.values.map(\.backend))))
        }
        return views
    }

    /// Away from the actor: with thousands of uplinks, coming back to it after each one would wait behind everybody who logs in.
    @concurrent private nonisolated static func statuses(of backends: [any TunnelBackend]) async -> [TunnelStatus] {
        var statuses: [TunnelStatus] = []
        for backend in backends {
            if let status = try? await backend.status() { statuses.append(status) }
        }
        return statuses
    }

    private func view(_ name: String, _ tunnel: Tunnel, _ statuses: [TunnelStatus]) -> TunnelView {
        let isShared = tunnel.settings.mode == .shared
        let now = Date().timeIntervalSince1970
        return TunnelView(
            name: name, interface: tunnel.settings.interface, backend: tunnel.kind.rawValue, mode: tunnel.settings.mode.rawValue,
            up: isShared ? statuses.first?.health == .running : tunnel.reported?.up ?? false,
            publicKey: isShared ? tunnel.identities[""].map { "\($0.publicKey)" } : nil, listenPort: statuses.first?.listenPort,
            peers: Self.merged(statuses.flatMap(\.peers)).map { peer in
                PeerView(
                    publicKey: "\(peer.publicKey)", endpoint: peer.endpoint?.description, allowedIPs: peer.allowedIPs.sorted(),
                    lastHandshakeSeconds: peer.latestHandshake.map { max(0, Int(now - $0.seconds)) },
                    receivedBytes: peer.receivedBytes, sentBytes: peer.sentBytes)
            },
            hubs: zip(tunnel.routes, tunnel.selectors).flatMap { route, selector in Self.hubs(route, selector) },
            failovers: tunnel.failovers, lostPacketsAtMost: tunnel.lostPackets,
            identities: isShared ? nil : counts(tunnel), problem: tunnel.problem)
    }

    /// Many identities have the same peer: the hub. One line for it, with the newest handshake and the bytes of all.
    private static func merged(_ peers: [PeerStatus]) -> [PeerStatus] {
        var byKey: [PublicKey: PeerStatus] = [:]
        for peer in peers {
            guard var known = byKey[peer.publicKey] else {
                byKey[peer.publicKey] = peer
                continue
            }
            if (peer.latestHandshake ?? .zero) > (known.latestHandshake ?? .zero) {
                known.latestHandshake = peer.latestHandshake
                known.endpoint = peer.endpoint
            }
            known.receivedBytes += peer.receivedBytes
            known.sentBytes += peer.sentBytes
            byKey[peer.publicKey] = known
        }
        return byKey.values.sorted { $0.publicKey < $1.publicKey }
    }

    private static func hubs(_ route: HubRoute, _ selector: HubSelector) -> [HubView] {
        route.hubs.enumerated().flatMap { number, hub in
            hub.endpoints.enumerated().map { endpoint, address in
                let isInUse = selector.current == .init(hub: number, endpoint: endpoint)
                return HubView(publicKey: "\(hub.publicKey)", endpoint: "\(address)", inUse: isInUse, answers: isInUse && selector.works)
            }
        }
    }

    private func counts(_ tunnel: Tunnel) -> IdentityCounts {
        IdentityCounts(
            known: tunnel.identities.count, up: tunnel.uplinks.count,
            neverCompleted: tunnel.identities.values.count { $0.handshakeAt == nil && tunnel.handshakes[$0.name] == nil },
            refused: tunnel.uplinks.values.count(where: \.isRefused))
    }

    /// Of the engine: what its initiations wait for, what it dropped.
    func engineView() -> WireGuardView? {
        guard let counters = try? engine?.counters() else { return nil }
        return WireGuardView(
            handshakes: counters.handshakes, waitingInitiations: counters.waiting, outstandingInitiations: counters.outstanding,
            packetsIn: counters.packetsIn, packetsOut: counters.packetsOut, drops: counters.drops)
    }
}

// Identities.
extension TunnelManager {
    func runningIdentities() -> [String: [String: RunningIdentity]] {
        tunnels.filter { $1.settings.mode != .shared }.mapValues { tunnel in
            let names = Set(tunnel.uplinks.keys).union(tunnel.handshakes.keys)
            return Dictionary(
                uniqueKeysWithValues: names.map { name in
                    let uplink = tunnel.uplinks[name]
                    return (
                        name,
                        RunningIdentity(isUp: uplink != nil, sessions: uplink?.holders.count ?? 0, handshake: tunnel.handshakes[name])
                    )
                })
        }
    }

    /// The newest handshake of each identity, for the store.
    func handshakes() -> [String: [String: Date]] { tunnels.filter { $1.settings.mode != .shared }.mapValues(\.handshakes) }
}
