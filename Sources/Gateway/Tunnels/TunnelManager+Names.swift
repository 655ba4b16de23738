import Addresses
import WireGuard

// Where hubs are that the configuration names. Nobody waits for a name server: what it says is told to the devices when it is there.
extension TunnelManager {
    /// Looks up the names of a tunnel's hubs that are due for it.
    func resolveNames(of name: String) {
        guard let tunnel = tunnels[name] else { return }
        var live: Set<PublicKey> = []
        for (route, selector) in zip(tunnel.routes, tunnel.selectors) where tunnel.uplinks.values.contains(where: { uplink in
            uplink.watches.contains { $0.hasCompleted && $0.tryingSince == nil }
        }) {
            live.insert(route.publicKey(at: selector.current))
        }
        tunnels[name]?.tracker.observe(live: live)
        lookUpNames(of: name)
    }

    /// At most one lookup of a name runs at a time.
    func lookUpNames(of name: String) {
        guard !isEnding else { return }
        let due = (tunnels[name]?.tracker.due(now()) ?? []) + (tunnels[name]?.probe?.tracker.due(now()) ?? [])
        for query in due {
            let lookup = Lookup(tunnel: name, query: query)
            guard lookups[lookup] == nil else { continue }
            lookups[lookup] = Task {
                await lookUp(query, of: name)
                lookups[lookup] = nil
            }
        }
    }

    private func lookUp(_ query: EndpointTracker.Query, of name: String) async {
        do {
            let addresses = try await resolver.resolve(query.name, port: query.port)
            for (peer, endpoint) in tunnels[name]?.tracker.resolved(query, addresses) ?? [:] { await send(peer, to: endpoint, name) }
            _ = tunnels[name]?.probe?.tracker.resolved(query, addresses)
            await beginProbe(of: name)
        } catch is CancellationError {
            // The tunnel ends.
        } catch {
            logger.warning("tunnel \"\(name)\": \(error); trying again")
        }
    }

    private func send(_ peer: PublicKey, to endpoint: Endpoint, _ name: String) async {
        let uplinks = tunnels[name]?.uplinks.keys.sorted() ?? []
        for uplink in uplinks { await tellOrReport(uplink, of: name) }
        logger.info("tunnel \"\(name)\": peer \(peer) is at \(endpoint) now")
    }
}
