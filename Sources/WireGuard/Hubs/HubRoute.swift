import Addresses

/// A hub as a tunnel may use it: its key and its endpoints, in the order in which they are tried.
public struct RouteHub: Equatable, Sendable {
    public var publicKey: PublicKey
    /// Empty: the hub has to speak first.
    public var endpoints: [PeerEndpoint]
    public var presharedKey: PresharedKey?

    public init(publicKey: PublicKey, endpoints: [PeerEndpoint], presharedKey: PresharedKey? = nil) {
        self.publicKey = publicKey
        self.endpoints = endpoints
        self.presharedKey = presharedKey
    }
}

/// One network behind a tunnel and the hubs that lead to it, of which one is used at a time.
public struct HubRoute: Equatable, Sendable {
    public var hubs: [RouteHub]
    public var allowedIPs: Set<IPPrefix>
    /// Seconds; 0 is off.
    public var keepalive: UInt16

    public init(hubs: [RouteHub], allowedIPs: Set<IPPrefix>, keepalive: UInt16) {
        self.hubs = hubs
        self.allowedIPs = allowedIPs
        self.keepalive = keepalive
    }

    /// A probed hub gets a handshake from its keepalive, whatever the configuration says.
    static let probeKeepalive: UInt16 = 5

    /// The choice between them is the same one.
    public func hasSameHubs(as other: HubRoute) -> Bool {
        hubs.map(\.publicKey) == other.hubs.map(\.publicKey) && hubs.map(\.endpoints) == other.hubs.map(\.endpoints)
    }

    public func publicKey(at place: HubSelector.Place?) -> PublicKey { hubs[place?.hub ?? 0].publicKey }
    public func endpoint(at place: HubSelector.Place?) -> PeerEndpoint? { place.map { hubs[$0.hub].endpoints[$0.endpoint] } }

    /// The peers of one uplink: the hub in use, and while another hub is probed that one too, without any allowed IPs.
    public func peers(at place: HubSelector.Place?, probing probe: HubSelector.Place? = nil) -> [PeerConfiguration] {
        let isSameHub = probe != nil && probe?.hub == place?.hub
        var peers = [peer(at: isSameHub ? probe : place, allowedIPs: allowedIPs, keepalive: keepalive)]
        if let probe, !isSameHub {
            peers.append(peer(at: probe, allowedIPs: [], keepalive: keepalive == 0 ? Self.probeKeepalive : min(keepalive, Self.probeKeepalive)))
        }
        return peers
    }

    private func peer(at place: HubSelector.Place?, allowedIPs: Set<IPPrefix>, keepalive: UInt16) -> PeerConfiguration {
        let hub = hubs[place?.hub ?? 0]
        return PeerConfiguration(
            publicKey: hub.publicKey, endpoint: endpoint(at: place), allowedIPs: allowedIPs, presharedKey: hub.presharedKey,
            keepalive: keepalive)
    }
}
