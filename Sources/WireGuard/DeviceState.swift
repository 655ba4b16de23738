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
        var unansweredInitiations: UInt64?

        func status(_ key: PublicKey) -> PeerStatus {
            PeerStatus(
                publicKey: key, endpoint: endpoint, latestHandshake: latestHandshake, receivedBytes: receivedBytes, sentBytes: sentBytes,
                allowedIPs: allowedIPs, keepalive: keepalive, hasPresharedKey: presharedKey != nil,
                unansweredInitiations: unansweredInitiations)
        }
    }

    var privateKey: PrivateKey?
    var listenPort: UInt16 = 0
    var fwmark: UInt32 = 0
    var peers: [PublicKey: Peer] = [:]

    func status(interfaceName: String, health: TunnelStatus.Health) -> TunnelStatus {
        TunnelStatus(
            interfaceName: interfaceName, health: health, publicKey: privateKey?.publicKey, listenPort: listenPort, fwmark: fwmark,
            peers: peers.sorted { $0.key < $1.key }.map { $1.status($0) })
    }
}
