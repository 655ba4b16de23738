import Addresses

/// What to tell a device; both backends write it in their own language. nil leaves a field as it is.
struct DeviceUpdate: Equatable, Sendable {
    struct Peer: Equatable, Sendable {
        enum Kind: Equatable, Sendable {
            case add
            /// Only if the device still has the peer.
            case change
            case remove
        }

        /// `.remove` is how a preshared key is taken away.
        enum Preshared: Equatable, Sendable {
            case set(PresharedKey)
            case remove
        }

        var publicKey: PublicKey
        var kind: Kind
        var preshared: Preshared?
        var endpoint: Endpoint?
        var keepalive: UInt16?
        var replacesAllowedIPs = false
        var allowedIPs: [IPPrefix] = []
    }

    var privateKey: PrivateKey?
    var listenPort: UInt16?
    var fwmark: UInt32?
    var peers: [Peer] = []

    var isEmpty: Bool { self == DeviceUpdate() }

    var change: TunnelChange {
        TunnelChange(
            peersAdded: peers.count { $0.kind == .add }, peersChanged: peers.count { $0.kind == .change },
            peersRemoved: peers.count { $0.kind == .remove },
            interfaceChanged: privateKey != nil || listenPort != nil || fwmark != nil)
    }
}

extension DeviceUpdate {
    /// The difference between the configuration and the device.
    /// `appliedEndpoints` are the configured addresses of the last time: a device's own idea of an endpoint differs from
    /// the configuration after roaming, and is then the better one.
    init(
        from state: DeviceState, to configuration: TunnelConfiguration, endpoints: [PublicKey: Endpoint],
        appliedEndpoints: [PublicKey: Endpoint]
    ) {
        if state.privateKey != configuration.privateKey { privateKey = configuration.privateKey }
        if let port = configuration.listenPort, port != state.listenPort { listenPort = port }
        if configuration.fwmark != state.fwmark { fwmark = configuration.fwmark }

        let wanted = Set(configuration.peers.map(\.publicKey))
        // Removals first: their allowed IPs are free before anybody else asks for them.
        peers = state.peers.keys.filter { !wanted.contains($0) }.sorted().map { Peer(publicKey: $0, kind: .remove) }
        for peer in configuration.peers {
            let endpoint = endpoints[peer.publicKey]
            guard let known = state.peers[peer.publicKey] else {
                peers.append(
                    Peer(
                        publicKey: peer.publicKey, kind: .add, preshared: peer.presharedKey.map { .set($0) }, endpoint: endpoint,
                        keepalive: peer.keepalive == 0 ? nil : peer.keepalive, replacesAllowedIPs: true,
                        allowedIPs: peer.allowedIPs.sorted()))
                continue
            }
            var update = Peer(publicKey: peer.publicKey, kind: .change)
            if known.presharedKey != peer.presharedKey { update.preshared = peer.presharedKey.map { .set($0) } ?? .remove }
            if known.keepalive != peer.keepalive { update.keepalive = peer.keepalive }
            if let endpoint, endpoint != known.endpoint, known.endpoint == nil || endpoint != appliedEndpoints[peer.publicKey] {
                update.endpoint = endpoint
            }
            if !known.allowedIPs.isSubset(of: peer.allowedIPs) {
                // There is no way to take a single allowed IP away that all devices know.
                update.replacesAllowedIPs = true
                update.allowedIPs = peer.allowedIPs.sorted()
            } else {
                update.allowedIPs = peer.allowedIPs.subtracting(known.allowedIPs).sorted()
            }
            if update != Peer(publicKey: peer.publicKey, kind: .change) { peers.append(update) }
        }
    }
}
