import DataPath
import Synchronization
import WireGuard

/// What `wg show` prints for a tunnel with many identities: each hub once, with the newest handshake and the bytes of all. There is no
/// key of the interface's own, and nothing can be set: the identities are the gateway's affair.
final class IdentitiesInterface: WireGuardInterface {
    private let engine: WireGuardEngine
    private let identities = Mutex<[WireGuardEngine.Identity]>([])

    init(_ engine: WireGuardEngine) { self.engine = engine }

    func replace(_ new: [WireGuardEngine.Identity]) { identities.withLock { $0 = new } }

    func list() throws -> InterfaceListing {
        var listing = InterfaceListing()
        var peers: [PublicKey: InterfaceListing.Peer] = [:]
        for identity in identities.withLock({ $0 }) {
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
