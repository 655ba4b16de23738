import Addresses

/// A device as it was read, keys included. What leaves the module is `TunnelStatus`.
struct DeviceState: Equatable, Sendable {
    struct Peer: Equatable, Sendable {
        var presharedKey: PresharedKey?
        var endpoint: Endpoint?
        var latestHandshake: Duration?
        var receivedBytes: UInt64 = 0
        var sentBytes: UInt64 = 0
        var keepalive: UInt16 = 0
        var allowedIPs: Set<IPPrefix> = []
    }

    var privateKey: PrivateKey?
    var listenPort: UInt16 = 0
    var fwmark: UInt32 = 0
    var peers: [PublicKey: Peer] = [:]

    func status(interfaceName: String, index: UInt32, health: TunnelStatus.Health) -> TunnelStatus {
        TunnelStatus(
            interfaceName: interfaceName, interfaceIndex: index, health: health, publicKey: privateKey?.publicKey,
            listenPort: listenPort,
            fwmark: fwmark,
            peers: peers.sorted { $0.key < $1.key }.map { key, peer in
                PeerStatus(
                    publicKey: key, endpoint: peer.endpoint, latestHandshake: peer.latestHandshake,
                    receivedBytes: peer.receivedBytes,
                    sentBytes: peer.sentBytes, allowedIPs: peer.allowedIPs, keepalive: peer.keepalive,
                    hasPresharedKey: peer.presharedKey != nil)
            })
    }
}
