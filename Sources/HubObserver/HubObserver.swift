import Migration
import WireGuard

/// Turns what an interface says, look by look, into what is new. A value; what it says and the time come in.
///
/// Sightings wait until `handedOn` says that somebody has them: an API that is away for an hour gets one sighting of each peer then, with
/// all its bytes. The counters of an interface that was made anew begin at zero, and count from there.
public struct HubObserver: Sendable {
    private struct Counters { var handshakeAt: UnixTime, received: UInt64, sent: UInt64 }

    private var known: [PublicKey: Counters] = [:]
    private var waiting: [PublicKey: PeerSighting] = [:]
    private var isFirstLook = true

    public init() {}

    /// - Parameter now: in seconds since the Unix epoch.
    public mutating func look(_ peers: [PeerStatus], now: UnixTime) {
        var seen: [PublicKey: Counters] = [:]
        for peer in peers {
            // A clock that was set back must not make a handshake that is never old.
            let handshakeAt = min(peer.latestHandshake?.components.seconds ?? 0, now)
            let counters = Counters(handshakeAt: handshakeAt, received: peer.receivedBytes, sent: peer.sentBytes)
            seen[peer.publicKey] = counters
            guard handshakeAt > 0 else { continue }
            let before = known[peer.publicKey]
            var received = counters.received, sent = counters.sent
            if let before, before.received <= counters.received, before.sent <= counters.sent {
                received -= before.received
                sent -= before.sent
            } else if before == nil, isFirstLook {
                // Counted before anybody looked: nobody knows when.
                received = 0
                sent = 0
            }
            // What the hub sends to a dead peer is no sign of life.
            guard received > 0 || handshakeAt > before?.handshakeAt ?? 0 else { continue }
            var sighting = waiting[peer.publicKey] ?? PeerSighting(publicKey: peer.publicKey, handshakeAt: 0, receivedBytes: 0, sentBytes: 0, endpoint: nil)
            sighting.handshakeAt = handshakeAt
            sighting.receivedBytes += received
            sighting.sentBytes += sent
            sighting.endpoint = peer.endpoint?.description
            waiting[peer.publicKey] = sighting
        }
        // A peer that was taken away begins anew if it comes back.
        known = seen
        isFirstLook = false
    }

    /// What is to be handed on, in the order of the keys; at most `limit` at once.
    public func pending(limit: Int = 1000) -> [PeerSighting] {
        Array(waiting.values.sorted { $0.publicKey < $1.publicKey }.prefix(limit))
    }

    /// These have arrived. What was seen of the same peers meanwhile goes on waiting.
    public mutating func handedOn(_ sightings: [PeerSighting]) {
        for sighting in sightings {
            guard var rest = waiting[sighting.publicKey] else { continue }
            guard rest != sighting else {
                waiting[sighting.publicKey] = nil
                continue
            }
            rest.receivedBytes -= min(sighting.receivedBytes, rest.receivedBytes)
            rest.sentBytes -= min(sighting.sentBytes, rest.sentBytes)
            waiting[sighting.publicKey] = rest
        }
    }
}
