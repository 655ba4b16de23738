import Addresses

/// Which peers' names are to be looked up when, and which address each peer uses. A value: time and answers in, decisions out.
///
/// Timers: a name is looked up again every 5 minutes; every 30 s while its peer has no live session (no handshake in 180 s,
/// PeerStatus.handshakeLifetime) or while it has never been resolved. A peer leaves its address only if that is not among
/// the name's addresses any more, or if there is no live session and the name has another one: then the next is tried in turn.
public struct EndpointTracker: Sendable {
    public struct Query: Hashable, Sendable {
        public let name: String
        public let port: UInt16
    }

    private struct Named: Sendable {
        let query: Query
        var current: Endpoint?
        var lookedUp: ContinuousClock.Instant?
        var hasLiveSession = false
    }

    static let interval = Duration.seconds(300)
    static let urgentInterval = Duration.seconds(30)

    private var fixed: [PublicKey: Endpoint] = [:]
    private var named: [PublicKey: Named] = [:]

    public init(_ peers: [PeerConfiguration]) {
        update(peers)
    }

    /// After a reload; what is known about unchanged names is kept.
    public mutating func update(_ peers: [PeerConfiguration]) {
        var names: [PublicKey: Named] = [:]
        fixed = [:]
        for peer in peers {
            switch peer.endpoint {
            case .address(let endpoint): fixed[peer.publicKey] = endpoint
            case .name(let name, let port):
                let query = Query(name: name, port: port)
                let known = named[peer.publicKey]
                names[peer.publicKey] = known?.query == query ? known : Named(query: query)
            case nil: break
            }
        }
        named = names
    }

    /// For a backend's `apply`: everything that has an address now.
    public var endpoints: [PublicKey: Endpoint] {
        fixed.merging(named.compactMapValues(\.current)) { address, _ in address }
    }

    /// Tells which peers have sessions that live.
    public mutating func observe(live: Set<PublicKey>) {
        for peer in named.keys { named[peer]!.hasLiveSession = live.contains(peer) }
    }

    /// The names to look up now, each once.
    public mutating func due(_ now: ContinuousClock.Instant) -> [Query] {
        var queries: [Query] = []
        for (key, peer) in named.sorted(by: { $0.key < $1.key }) {
            let interval = peer.current != nil && peer.hasLiveSession ? Self.interval : Self.urgentInterval
            if let last = peer.lookedUp, now - last < interval { continue }
            named[key]!.lookedUp = now
            if !queries.contains(peer.query) { queries.append(peer.query) }
        }
        return queries
    }

    /// The answer to a query: which peers are to be sent where. An empty answer changes nothing.
    public mutating func resolved(_ query: Query, _ addresses: [Endpoint]) -> [PublicKey: Endpoint] {
        guard let first = addresses.first else { return [:] }
        var moves: [PublicKey: Endpoint] = [:]
        for (key, peer) in named where peer.query == query {
            let next: Endpoint
            if let current = peer.current, let position = addresses.firstIndex(of: current) {
                next = peer.hasLiveSession ? current : addresses[(position + 1) % addresses.count]
            } else {
                next = first
            }
            guard next != peer.current else { continue }
            named[key]!.current = next
            moves[key] = next
        }
        return moves
    }
}
