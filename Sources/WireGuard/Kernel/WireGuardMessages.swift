import Addresses
import Netlink

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

// Wire facts of the generic netlink family "wireguard": linux/wireguard.h.

enum WireGuardFamily {
    static let name = "wireguard"
    static let version: UInt8 = 1
    static let getDevice: UInt8 = 0
    static let setDevice: UInt8 = 1
}

enum DeviceAttribute {
    static let index: UInt16 = 1
    static let privateKey: UInt16 = 3
    static let listenPort: UInt16 = 6
    static let fwmark: UInt16 = 7
    static let peers: UInt16 = 8
}

enum PeerAttribute {
    static let publicKey: UInt16 = 1
    static let presharedKey: UInt16 = 2
    static let flags: UInt16 = 3
    static let endpoint: UInt16 = 4
    static let keepalive: UInt16 = 5
    static let lastHandshake: UInt16 = 6
    static let receivedBytes: UInt16 = 7
    static let sentBytes: UInt16 = 8
    static let allowedIPs: UInt16 = 9
}

enum PeerFlags {
    static let remove: UInt32 = 1
    static let replaceAllowedIPs: UInt32 = 2
    static let updateOnly: UInt32 = 4
}

enum AllowedIPAttribute {
    static let family: UInt16 = 1
    static let address: UInt16 = 2
    static let length: UInt16 = 3
}

/// Requests to the wireguard family, and what it answers.
enum WireGuardMessages {
    /// A limit of ours: far below the 64 KiB that fit a nest, and no large allocation in the kernel.
    static let messageLimit = 16384

    static func get(family: UInt16, index: UInt32, name: String) -> NetlinkRequest {
        var writer = MessageWriter()
        writer.attribute(DeviceAttribute.index, number: index)
        return GenericNetlink.request(
            family: family, command: WireGuardFamily.getDevice, version: WireGuardFamily.version, attributes: writer,
            operation: "read WireGuard interface \(name)")
    }

    /// The messages that carry the update, to be sent in this order. A peer with too many allowed IPs goes on in the next message.
    static func set(family: UInt16, index: UInt32, name: String, _ update: DeviceUpdate, limit: Int = messageLimit)
        -> [NetlinkRequest]
    {
        split(update, limit: limit).map { part in
            var writer = MessageWriter()
            writer.attribute(DeviceAttribute.index, number: index)
            if let key = part.privateKey { key.withBytes { writer.attribute(DeviceAttribute.privateKey, $0) } }
            if let port = part.listenPort { writer.attribute(DeviceAttribute.listenPort, number: port) }
            if let mark = part.fwmark { writer.attribute(DeviceAttribute.fwmark, number: mark) }
            if !part.peers.isEmpty {
                writer.nest(DeviceAttribute.peers) { list in
                    for peer in part.peers { list.nest(0) { write(peer, to: &$0) } }
                }
            }
            defer { writer.wipe() }
            return GenericNetlink.request(
                family: family, command: WireGuardFamily.setDevice, version: WireGuardFamily.version, attributes: writer,
                operation: "configure WireGuard interface \(name)")
        }
    }

    private static func write(_ peer: DeviceUpdate.Peer, to writer: inout MessageWriter) {
        var flags: UInt32 = 0
        switch peer.kind {
        case .add: break
        case .change: flags |= PeerFlags.updateOnly
        case .remove: flags |= PeerFlags.remove
        }
        if peer.replacesAllowedIPs { flags |= PeerFlags.replaceAllowedIPs }
        writer.attribute(PeerAttribute.publicKey, peer.publicKey.bytes)
        if flags != 0 { writer.attribute(PeerAttribute.flags, number: flags) }
        switch peer.preshared {
        case .set(let key): key.withBytes { writer.attribute(PeerAttribute.presharedKey, $0) }
        case .remove: writer.attribute(PeerAttribute.presharedKey, [UInt8](repeating: 0, count: keyLength))
        case nil: break
        }
        if let endpoint = peer.endpoint { writer.attribute(PeerAttribute.endpoint, socketAddress(endpoint)) }
        if let keepalive = peer.keepalive { writer.attribute(PeerAttribute.keepalive, number: keepalive) }
        guard !peer.allowedIPs.isEmpty else { return }
        writer.nest(PeerAttribute.allowedIPs) { list in
            for prefix in peer.allowedIPs {
                list.nest(0) { entry in
                    entry.attribute(AllowedIPAttribute.family, number: UInt16(prefix.family == .v4 ? AF_INET : AF_INET6))
                    entry.attribute(AllowedIPAttribute.address, prefix.address.bytes)
                    entry.attribute(AllowedIPAttribute.length, number: UInt8(prefix.length))
                }
            }
        }
    }

    // ---- Splitting ----

    /// Parts that are each below the limit. The key, port and mark are in the first; the rest of a split peer's list is added
    /// to what the first part replaced.
    static func split(_ update: DeviceUpdate, limit: Int) -> [DeviceUpdate] {
        guard !update.isEmpty else { return [] }
        var parts: [DeviceUpdate] = []
        var current = update
        current.peers = []
        // Header, genlmsghdr, index, private key, port, mark, head of the peer list.
        let empty = NetlinkMessage.headerLength + GenericNetlink.headerLength + 8 + 36 + 8 + 8 + 4
        var used = empty
        func nextPart() {
            parts.append(current)
            current = DeviceUpdate()
            used = empty
        }
        for peer in update.peers {
            var rest = peer.allowedIPs[...]
            var piece = peer
            piece.allowedIPs = []
            if used + fixedSize > limit, !current.peers.isEmpty { nextPart() }
            used += fixedSize
            while let prefix = rest.first {
                let size = prefix.family == .v4 ? 28 : 40
                if used + size > limit, !piece.allowedIPs.isEmpty {
                    current.peers.append(piece)
                    nextPart()
                    piece = DeviceUpdate.Peer(publicKey: peer.publicKey, kind: .change)
                    used += fixedSize
                }
                piece.allowedIPs.append(prefix)
                rest = rest.dropFirst()
                used += size
            }
            current.peers.append(piece)
        }
        parts.append(current)
        return parts
    }

    /// Head of the peer's nest, both keys, flags, endpoint (IPv6), keepalive, head of the allowed IPs.
    private static let fixedSize = 4 + 36 + 36 + 8 + 32 + 8 + 4

    // ---- Socket addresses ----

    /// struct sockaddr_in or sockaddr_in6: the family in host order, the rest in network order.
    static func socketAddress(_ endpoint: Endpoint) -> [UInt8] {
        var writer = MessageWriter()
        writer.fixed(UInt16(endpoint.address.family == .v4 ? AF_INET : AF_INET6))
        writer.fixed(endpoint.port.bigEndian)
        switch endpoint.address.family {
        case .v4: return writer.bytes + endpoint.address.bytes + [UInt8](repeating: 0, count: 8)
        case .v6: return writer.bytes + [0, 0, 0, 0] + endpoint.address.bytes + [0, 0, 0, 0]
        }
    }

    /// nil for another family, which is how the kernel says that there is no endpoint.
    static func endpoint(_ bytes: ArraySlice<UInt8>) throws -> Endpoint? {
        let bytes = Array(bytes)
        guard bytes.count >= 4 else { throw MalformedMessage("an endpoint of \(bytes.count) bytes") }
        let family = Int32(bytes.withUnsafeBytes { $0.loadUnaligned(as: UInt16.self) })
        let port = UInt16(bytes[2]) << 8 | UInt16(bytes[3])
        switch (family, bytes.count) {
        case (AF_INET, 16): return IPAddress(bytes: bytes[4..<8]).map { Endpoint($0, port) }
        case (AF_INET6, 28): return IPAddress(bytes: bytes[8..<24]).map { Endpoint($0, port) }
        case (AF_INET, _), (AF_INET6, _): throw MalformedMessage("an endpoint of \(bytes.count) bytes")
        default: return nil
        }
    }
}

extension DeviceState {
    /// From all messages of one dump. A peer whose allowed IPs did not fit one message appears again in the next; only its
    /// list goes on there.
    init(dump messages: [NetlinkMessage]) throws {
        self.init()
        for message in messages {
            let attributes = try message.attributes(after: GenericNetlink.headerLength)
            if let attribute = attributes[type: DeviceAttribute.privateKey] {
                guard let key = PrivateKey(bytes: attribute.value) else {
                    throw MalformedMessage("a private key of another length")
                }
                privateKey = attribute.value.allSatisfy { $0 == 0 } ? nil : key
            }
            if let attribute = attributes[type: DeviceAttribute.listenPort] { listenPort = try attribute.number() }
            if let attribute = attributes[type: DeviceAttribute.fwmark] { fwmark = try attribute.number() }
            for entry in try attributes[type: DeviceAttribute.peers]?.nested() ?? [] { try read(peer: entry.nested()) }
        }
    }

    private mutating func read(peer attributes: [Attribute]) throws {
        guard let key = attributes[type: PeerAttribute.publicKey].flatMap({ PublicKey(bytes: $0.value) }) else {
            throw MalformedMessage("a peer without a public key")
        }
        var peer = peers[key] ?? Peer()
        if let attribute = attributes[type: PeerAttribute.presharedKey] {
            guard let preshared = PresharedKey(bytes: attribute.value) else {
                throw MalformedMessage("a preshared key of another length")
            }
            peer.presharedKey = preshared.isZero ? nil : preshared
        }
        if let attribute = attributes[type: PeerAttribute.endpoint] {
            peer.endpoint = try WireGuardMessages.endpoint(attribute.value)
        }
        if let attribute = attributes[type: PeerAttribute.keepalive] { peer.keepalive = try attribute.number() }
        if let attribute = attributes[type: PeerAttribute.receivedBytes] { peer.receivedBytes = try attribute.number() }
        if let attribute = attributes[type: PeerAttribute.sentBytes] { peer.sentBytes = try attribute.number() }
        if let attribute = attributes[type: PeerAttribute.lastHandshake] {
            // struct __kernel_timespec: 64-bit seconds and nanoseconds.
            guard attribute.value.count == 16 else {
                throw MalformedMessage("a handshake time of \(attribute.value.count) bytes")
            }
            let bytes = Array(attribute.value)
            let (seconds, nanoseconds) = bytes.withUnsafeBytes {
                ($0.loadUnaligned(as: Int64.self), $0.loadUnaligned(fromByteOffset: 8, as: Int64.self))
            }
            peer.latestHandshake = seconds == 0 && nanoseconds == 0 ? nil : .seconds(seconds) + .nanoseconds(nanoseconds)
        }
        for entry in try attributes[type: PeerAttribute.allowedIPs]?.nested() ?? [] {
            let fields = try entry.nested()
            guard let address = fields[type: AllowedIPAttribute.address].flatMap({ IPAddress(bytes: $0.value) }),
                let length: UInt8 = try fields[type: AllowedIPAttribute.length]?.number(),
                let prefix = IPPrefix(containing: address, length: Int(length))
            else { throw MalformedMessage("an allowed IP without address or length") }
            peer.allowedIPs.insert(prefix)
        }
        peers[key] = peer
    }
}
