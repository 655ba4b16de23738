import DataPath
import Logging
import Synchronization
import WireGuard

/// What `wg show` prints for a tunnel with many identities. Under the tunnel's interface: each hub once, with the newest handshake and the
/// bytes of all; there is no key of the interface's own, and nothing can be set. And each identity that is up by itself, under names
/// like those that the kernel's interfaces would have, as many as there might be of these.
final class IdentitiesInterface: WireGuardInterface {
    private struct State {
        var identities: Set<WireGuardEngine.Identity> = []
        var sockets: IdentitySockets?
    }
    private let engine: WireGuardEngine
    private let state = Mutex(State())

    init(_ engine: WireGuardEngine) { self.engine = engine }

    /// From now on each identity has a socket of its own.
    func serveEach(on server: UAPIServer, upTo most: Int, logger: Logger, as name: @escaping @Sendable (Int) -> String) {
        state.withLock { state in
            let sockets = IdentitySockets(server: server, engine: engine, most: most, name: name, logger: logger)
            sockets.clearLeftovers()
            state.sockets = sockets
            for identity in state.identities { state.sockets?.add(identity) }
        }
    }

    func add(_ identity: WireGuardEngine.Identity) {
        state.withLock { state in
            state.identities.insert(identity)
            state.sockets?.add(identity)
        }
    }

    func remove(_ identity: WireGuardEngine.Identity) {
        state.withLock { state in
            state.identities.remove(identity)
            state.sockets?.remove(identity)
        }
    }

    func list() throws -> InterfaceListing {
        var listing = InterfaceListing()
        var peers: [PublicKey: InterfaceListing.Peer] = [:]
        for identity in state.withLock({ $0.identities }) {
            // It may have gone a moment ago.
            guard let info = try? engine.info(of: identity) else { continue }
            listing.listenPort = info.listenPort
            listing.fwmark = info.firewallMark
            for info in try engine.peers(of: identity) { try add(info, of: identity, to: &peers) }
        }
        listing.peers = peers.values.sorted { $0.publicKey < $1.publicKey }
        return listing
    }

    func apply(_ change: InterfaceChange) throws { throw UAPIRefusal(code: 95) }  // EOPNOTSUPP

    private func add(
        _ info: WireGuardEngine.PeerInfo, of identity: WireGuardEngine.Identity, to peers: inout [PublicKey: InterfaceListing.Peer]
    ) throws {
        guard let key = PublicKey(bytes: info.publicKey) else { return }
        var peer = peers[key] ?? InterfaceListing.Peer(publicKey: key)
        if peers[key] == nil { peer.allowedIPs = try engine.allowedIPs(of: info.publicKey, identity) }
        let handshake = info.lastHandshake.map { Duration.nanoseconds(Int64(clamping: $0)) }
        if peer.endpoint == nil || (handshake ?? .zero) > (peer.latestHandshake ?? .zero) {
            peer.endpoint = info.endpoint.map { PeerAddress($0) }
        }
        peer.latestHandshake = [peer.latestHandshake, handshake].compactMap { $0 }.max()
        peer.receivedBytes += info.receivedBytes
        peer.sentBytes += info.sentBytes
        peer.keepalive = max(peer.keepalive, info.keepaliveSeconds)
        peers[key] = peer
    }
}

/// The sockets of single identities.
private struct IdentitySockets {
    let server: UAPIServer
    let engine: WireGuardEngine
    let most: Int
    let name: @Sendable (Int) -> String
    let logger: Logger
    private var numbers: [WireGuardEngine.Identity: Int] = [:]
    /// Those without a socket, until there is room.
    private var waiting: Set<WireGuardEngine.Identity> = []
    /// Names that cannot be had; after a few nobody goes on trying.
    private var refused: Set<Int> = []
    private var hasComplained = false
    private static let mostRefusals = 8

    init(server: UAPIServer, engine: WireGuardEngine, most: Int, name: @escaping @Sendable (Int) -> String, logger: Logger) {
        (self.server, self.engine, self.most, self.name, self.logger) = (server, engine, most, name, logger)
    }

    /// What a gateway that was killed left there.
    func clearLeftovers() {
        for number in 1...most { UAPIListener.clearLeftover(name(number)) }
    }

    mutating func add(_ identity: WireGuardEngine.Identity) {
        guard numbers[identity] == nil, !open(identity) else { return }
        waiting.insert(identity)
        guard !hasComplained else { return }
        hasComplained = true
        logger.notice(
            "`wg show` has \(numbers.count) of \(name(1)) and so on, no more (most-identities is \(most)); all are in: causeway hub identities")
    }

    mutating func remove(_ identity: WireGuardEngine.Identity) {
        waiting.remove(identity)
        guard let number = numbers.removeValue(forKey: identity) else { return }
        server.withdraw(name(number))
        if let next = waiting.first, open(next) { waiting.remove(next) }
    }

    private mutating func open(_ identity: WireGuardEngine.Identity) -> Bool {
        // The usual case where there are thousands, and then nothing is looked for.
        guard numbers.count + refused.count < most, refused.count < Self.mostRefusals else { return false }
        let taken = refused.union(numbers.values)
        for number in 1...most where refused.count < Self.mostRefusals && !taken.contains(number) {
            do {
                try server.serve(name(number), EngineInterface(engine: engine, identity: identity))
                numbers[identity] = number
                return true
            } catch {
                refused.insert(number)
                logger.warning("`wg show` will not find an identity as \(name(number)): \(error)")
            }
        }
        return false
    }
}
