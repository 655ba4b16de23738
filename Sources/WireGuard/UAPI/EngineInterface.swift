import Addresses
import DataPath
import Synchronization

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// One identity of the engine as a WireGuard interface.
public final class EngineInterface: WireGuardInterface {
    public let identity: WireGuardEngine.Identity
    private let engine: WireGuardEngine

    private struct Socket {
        /// nil while the interface is down.
        var open: WireGuardEngine.Port?
        /// 0: any. Once there has been one, it is kept.
        var number: UInt16 = 0
        var fwmark: UInt32 = 0
    }
    private let socket = Mutex(Socket())
    /// false: the identity's port is others' too, and cannot be changed from here.
    private let ownsPort: Bool

    /// An identity on a port that somebody else looks after. A change to another port or mark is refused.
    public init(engine: WireGuardEngine, identity: WireGuardEngine.Identity) {
        self.engine = engine
        self.identity = identity
        ownsPort = false
    }

    /// A new identity without key and peers, which is down, and will have a port of its own while it is up.
    ///
    /// As with the kernel's interfaces, another program may have the port in the meantime, and what is configured takes effect when the
    /// interface comes up.
    public init(newIn engine: WireGuardEngine) throws {
        self.engine = engine
        identity = try engine.addIdentity(on: .none, privateKey: .none)
        try engine.setUp(false, identity)
        ownsPort = true
    }

    /// Up: the port is opened. Down: sessions end and the port is free. Nothing happens if it is so already.
    public func setUp(_ up: Bool) throws {
        guard ownsPort else { return try engine.setUp(up, identity) }
        try socket.withLock { socket in
            guard up != (socket.open != nil) else { return }
            if up {
                try move(&socket, to: socket.number)
                try engine.setUp(true, identity)
            } else {
                try engine.setUp(false, identity)
                try engine.setPort(.none, of: identity)
                try engine.closePort(socket.open!)
                socket.open = nil
            }
        }
    }

    public func setMTU(_ mtu: UInt16) throws { try engine.setMTU(mtu, of: identity) }

    public func list() throws -> InterfaceListing {
        let info = try engine.info(of: identity)
        var listing = InterfaceListing()
        listing.privateKey = info.privateKey.flatMap { secret in secret.withBytes { PrivateKey(bytes: $0) } }
        (listing.listenPort, listing.fwmark) = ownsPort ? socket.withLock { ($0.number, $0.fwmark) } : (info.listenPort, info.firewallMark)
        listing.peers = try engine.peers(of: identity).map { info in
            var peer = InterfaceListing.Peer(publicKey: PublicKey(bytes: info.publicKey)!)
            peer.presharedKey = info.presharedKey.flatMap { secret in secret.withBytes { PresharedKey(bytes: $0) } }
            peer.endpoint = info.endpoint.map { PeerAddress($0, zone: info.endpointScope == 0 ? nil : "\(info.endpointScope)") }
            peer.latestHandshake = info.lastHandshake.map { .nanoseconds($0) }
            peer.receivedBytes = info.receivedBytes
            peer.sentBytes = info.sentBytes
            peer.keepalive = info.keepaliveSeconds
            if info.allowedIPCount > 0 { peer.allowedIPs = try engine.allowedIPs(of: info.publicKey, identity) }
            return peer
        }
        return listing
    }

    public func apply(_ change: InterfaceChange) throws {
        do {
            // Names of interfaces become numbers before anything is changed.
            let scopes = try change.peers.map { try Self.scope(of: $0.endpoint) }
            try applyPort(change.listenPort, change.fwmark)
            switch change.privateKey {
            case .set(let key): try engine.setPrivateKey(key.engineKey, of: identity)
            case .remove: try engine.setPrivateKey(.none, of: identity)
            case nil: break
            }
            if change.replacesPeers { try engine.removeAllPeers(of: identity) }
            try applyPeers(zip(change.peers, scopes))
        } catch let error as EngineError {
            throw Self.refusal(error) ?? error
        }
    }

    private func applyPort(_ number: UInt16?, _ mark: UInt32?) throws {
        guard ownsPort else {
            let info = try engine.info(of: identity)
            guard number ?? info.listenPort == info.listenPort, mark ?? info.firewallMark == info.firewallMark else {
                throw UAPIRefusal.invalid
            }
            return
        }
        try socket.withLock { socket in
            if let number {
                if socket.open == nil { socket.number = number } else { try move(&socket, to: number) }
            }
            if let mark {
                if let port = socket.open { try engine.setFirewallMark(mark, of: port) }
                socket.fwmark = mark
            }
        }
    }

    private func applyPeers(_ peers: some Sequence<(InterfaceChange.Peer, UInt32)>) throws {
        var waiting: [WireGuardEngine.PeerChange] = []
        for (peer, scope) in peers {
            var change = WireGuardEngine.PeerChange(
                publicKey: peer.publicKey.bytes, operation: peer.isRemoved ? .remove : peer.updatesOnly ? .update : .set,
                endpoint: peer.endpoint?.endpoint, keepaliveSeconds: peer.keepalive, replacesAllowedIPs: peer.replacesAllowedIPs,
                allowedIPs: peer.allowedIPs)
            change.endpointScope = scope
            switch peer.preshared {
            case .set(let key): change.presharedKey = key.engineKey
            case .remove: change.presharedKey = WireGuardSecret.none
            case nil: break
            }
            if !peer.removedAllowedIPs.isEmpty, !peer.replacesAllowedIPs, !peer.isRemoved {
                // The engine adds to a peer's allowed IPs or replaces them; what stays has to be known.
                try engine.setPeers(waiting, of: identity)
                waiting = []
                let taken = Set(peer.removedAllowedIPs)
                change.allowedIPs += try engine.allowedIPs(of: change.publicKey, identity).filter { !taken.contains($0) }
                change.replacesAllowedIPs = true
            }
            waiting.append(change)
        }
        try engine.setPeers(waiting, of: identity)
    }

    /// Opens the new port before the old one is given up: a port that cannot be had changes nothing.
    private func move(_ socket: inout Socket, to number: UInt16) throws {
        if let port = socket.open, number == socket.number, number != 0, engine.number(of: port) == number { return }
        let opened = try engine.openPort(number, firewallMark: socket.fwmark)
        do {
            try engine.setPort(opened, of: identity)
        } catch {
            try? engine.closePort(opened)
            throw error
        }
        let old = socket.open
        socket.open = opened
        socket.number = engine.number(of: opened) ?? number
        if let old { try engine.closePort(old) }
    }

    private static func scope(of address: PeerAddress?) throws -> UInt32 {
        guard let zone = address?.zone else { return 0 }
        let scope = UInt32(zone) ?? if_nametoindex(zone)
        guard scope != 0 else { throw UAPIRefusal.invalid }
        return scope
    }

    /// What wireguard-go says in the same situation; nil: nothing in particular.
    private static func refusal(_ error: EngineError) -> UAPIRefusal? {
        switch error.cause {
        case .invalid, .noMemory, .notFound, .full: .invalid
        case .system: .portInUse
        case .version, .ended: nil
        }
    }
}
