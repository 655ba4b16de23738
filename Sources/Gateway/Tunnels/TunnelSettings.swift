import Authentication
import Settings
import WireGuard

// A tunnel's part of the configuration, as the WireGuard module wants it.
extension CausewayConfiguration.Tunnel {
    func routes() throws -> [HubRoute] {
        func fail(_ what: String) -> GatewayError { GatewayError("tunnel \"\(name)\": \(what)") }
        return try peers.map { peer in
            HubRoute(
                hubs: try peer.hubs.map { hub in
                    guard let key = PublicKey(hub.publicKey) else { throw fail("peer key \(hub.publicKey) is not base64 of 32 bytes") }
                    return RouteHub(
                        publicKey: key, endpoints: hub.endpoints.compactMap { PeerEndpoint($0.description) },
                        presharedKey: hub.presharedKey?.withUnsafeBytes { PresharedKey(bytes: $0) })
                }, allowedIPs: Set(peer.allowedIPs), keepalive: peer.persistentKeepalive)
        }
    }

    /// Of mode `shared`.
    func ownIdentity() throws -> UplinkIdentity {
        guard let privateKey, let key = privateKey.withUnsafeBytes({ PrivateKey(bytes: $0) }) else {
            throw GatewayError("tunnel \"\(name)\": the private key has not 32 bytes")
        }
        return UplinkIdentity(name: "", publicKey: key.publicKey, key: privateKey)
    }

    func hubTiming(_ kind: BackendKind) -> HubSelector.Timing {
        // The kernel shows an unanswered packet only once the peer's keepalive for it is overdue: Keepalive-Timeout, 10 s.
        HubSelector.Timing(
            failoverAfter: kind == .kernel ? max(failoverAfter, .seconds(15)) : failoverAfter,
            returnAfter: returnAfter > .zero ? returnAfter : nil)
    }

    /// Which identity a user leaves through.
    func identityName(of request: UplinkRequest) -> String {
        switch mode {
        case .shared: ""
        case .group: request.group ?? defaultGroup
        case .perUser: request.user
        }
    }

    /// Everything but the peers.
    func device(_ interfaceName: String, _ key: PrivateKey, _ kind: BackendKind) -> TunnelConfiguration {
        // Kernel interfaces cannot share a port; identities of ours do.
        let port = kind == .kernel && mode != .shared ? 0 : listenPort
        return TunnelConfiguration(
            interfaceName: interfaceName, privateKey: key, listenPort: port == 0 ? nil : port, fwmark: fwmark, mtu: UInt32(mtu),
            addresses: kind == .kernel ? addresses.map { TunnelAddress($0.address, prefixLength: $0.length) } : [])
    }
}
