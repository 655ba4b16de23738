import Addresses
import Foundation
import Netlink
import Testing

@testable import WireGuard

/// What every backend must do, with whichever is given.

/// Two tunnels that are each other's peer, the right one in a namespace of its own.
struct TunnelPair {
    let left: any TunnelBackend
    let right: any TunnelBackend

    func exchangePackets() async throws {
        let (leftKey, rightKey, preshared) = (PrivateKey(), PrivateKey(), PresharedKey())
        try sh("ip netns add cwe-right")
        defer {
            _ = try? sh("ip netns delete cwe-right; ip link delete \(left.interfaceName); ip link delete \(right.interfaceName)")
        }
        _ = try await left.create()
        _ = try await right.create()
        var leftSide = TunnelConfiguration(
            interfaceName: left.interfaceName, privateKey: leftKey, listenPort: 40001, mtu: 1400,
            addresses: [TunnelAddress("10.9.0.1/32")!],
            peers: [
                PeerConfiguration(
                    publicKey: rightKey.publicKey, endpoint: PeerEndpoint("127.0.0.1:40002"),
                    allowedIPs: [IPPrefix("10.9.0.2/32")!],
                    presharedKey: preshared, keepalive: 1)
            ])
        let rightSide = TunnelConfiguration(
            interfaceName: right.interfaceName, privateKey: rightKey, listenPort: 40002,
            peers: [
                PeerConfiguration(publicKey: leftKey.publicKey, allowedIPs: [IPPrefix("10.9.0.1/32")!], presharedKey: preshared)
            ])
        _ = try await right.apply(rightSide, endpoints: [:])
        // The interface goes down on its way and forgets its sessions: so it moves before the other end begins a handshake.
        try sh(
            """
            ip link set \(right.interfaceName) netns cwe-right
            ip -n cwe-right addr add 10.9.0.2/32 dev \(right.interfaceName); ip -n cwe-right link set \(right.interfaceName) up
            ip -n cwe-right route add 10.9.0.1/32 dev \(right.interfaceName)
            """)
        let change = try await left.apply(leftSide, endpoints: [rightKey.publicKey: Endpoint("127.0.0.1:40002")!])
        #expect(change == TunnelChange(peersAdded: 1, interfaceChanged: true))
        try sh("ip route add 10.9.0.2/32 dev \(left.interfaceName); ping -c 3 -i 0.2 -W 3 10.9.0.2")

        let status = try await left.status()
        let peer = try #require(status.peers.first)
        #expect(status.health == .running)
        #expect(status.listenPort == 40001)
        #expect(status.publicKey == leftKey.publicKey)
        #expect(peer.publicKey == rightKey.publicKey)
        #expect(peer.endpoint == Endpoint("127.0.0.1:40002"))
        #expect(peer.hasPresharedKey)
        #expect(peer.keepalive == 1)
        #expect(peer.receivedBytes > 300)
        #expect(peer.sentBytes > 300)
        #expect(peer.hasLiveSession(now: .seconds(time(nil))))
        #expect(try sh("wg show \(left.interfaceName) latest-handshakes").hasPrefix(rightKey.publicKey.description))

        // A reload that changes nothing sends nothing, and one that changes a list keeps the session.
        #expect(try await left.apply(leftSide, endpoints: [rightKey.publicKey: Endpoint("127.0.0.1:40002")!]).isEmpty)
        leftSide.peers[0].allowedIPs.insert(IPPrefix("10.9.1.0/24")!)
        #expect(
            try await left.apply(leftSide, endpoints: [rightKey.publicKey: Endpoint("127.0.0.1:40002")!])
                == TunnelChange(peersChanged: 1))
        #expect(try await left.status().peers.first?.latestHandshake == peer.latestHandshake)
        try sh("ping -c 1 -W 1 10.9.0.2")

        try await left.setEndpoint(Endpoint("127.0.0.1:40003")!, of: rightKey.publicKey)
        #expect(try await left.status().peers.first?.endpoint == Endpoint("127.0.0.1:40003"))
        try await left.remove()
        try sh("ip -n cwe-right link set \(right.interfaceName) netns 1 || ip -n cwe-right link delete \(right.interfaceName)")
        try await right.remove()
    }
}

/// A tunnel with so many peers and allowed IPs that they need several messages both ways.
struct BigTunnel {
    var configuration: TunnelConfiguration
    let endpoints: [PublicKey: Endpoint]

    init(_ name: String, peers: Int, prefixesEach: Int) {
        let list = (0..<peers).map { number in
            PeerConfiguration(
                publicKey: PrivateKey().publicKey, endpoint: PeerEndpoint("[2001:db8::\(number + 1)]:51820"),
                allowedIPs: Set((0..<prefixesEach).map { Self.prefix(peer: number, position: $0, of: prefixesEach) }),
                presharedKey: number % 2 == 0 ? PresharedKey() : nil, keepalive: UInt16(number))
        }
        configuration = TunnelConfiguration(
            interfaceName: name, privateKey: PrivateKey(), listenPort: 40004, fwmark: 0x51, mtu: 1380,
            addresses: [TunnelAddress("10.9.0.1/24")!], peers: list)
        endpoints = Dictionary(
            uniqueKeysWithValues: list.enumerated().map { ($1.publicKey, Endpoint("[2001:db8::\($0 + 1)]:51820")!) })
    }

    /// Every fourth one is IPv6.
    private static func prefix(peer: Int, position: Int, of count: Int) -> IPPrefix {
        if position % 4 == 3 { return IPPrefix("fd00:\(peer + 1):\(position + 1)::/48")! }
        let number = peer * count + position
        return IPPrefix("10.\(64 + number / 256).\(number % 256).0/24")!
    }

    /// Applied, read back, compared, changed, compared again.
    func run(on backend: any TunnelBackend) async throws {
        let change = try await backend.apply(configuration, endpoints: endpoints)
        #expect(change == TunnelChange(peersAdded: configuration.peers.count, interfaceChanged: true))
        try await compare(configuration, backend)
        #expect(try await backend.apply(configuration, endpoints: endpoints).isEmpty)

        var next = configuration
        let removed = next.peers.removeLast()
        next.peers[0].allowedIPs = [IPPrefix("172.16.0.0/12")!]
        next.peers[0].presharedKey = nil
        // An allowed IP that moves from one peer to another.
        let moved = next.peers[1].allowedIPs.removeFirst()
        next.peers[2].allowedIPs.insert(moved)
        next.peers.append(PeerConfiguration(publicKey: PrivateKey().publicKey, allowedIPs: removed.allowedIPs))
        next.fwmark = 0
        next.addresses = [TunnelAddress("10.9.0.2/32")!]
        #expect(
            try await backend.apply(next, endpoints: endpoints)
                == TunnelChange(peersAdded: 1, peersChanged: 3, peersRemoved: 1, interfaceChanged: true))
        try await compare(next, backend)
        _ = try await backend.apply(configuration, endpoints: endpoints)
        try await compare(configuration, backend)
    }

    private func compare(_ wanted: TunnelConfiguration, _ backend: any TunnelBackend) async throws {
        let status = try await backend.status()
        #expect(status.publicKey == wanted.privateKey.publicKey)
        #expect(status.listenPort == wanted.listenPort)
        #expect(status.fwmark == wanted.fwmark)
        let expected = wanted.peers.sorted { $0.publicKey < $1.publicKey }
        #expect(status.peers.map(\.publicKey) == expected.map(\.publicKey))
        for (peer, want) in zip(status.peers, expected) {
            #expect(peer.allowedIPs == want.allowedIPs)
            #expect(peer.keepalive == want.keepalive)
            #expect(peer.hasPresharedKey == (want.presharedKey != nil))
            #expect(peer.endpoint == endpoints[want.publicKey])
            #expect(peer.latestHandshake == nil)
        }
    }
}
