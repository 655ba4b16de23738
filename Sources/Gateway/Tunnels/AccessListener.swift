import Addresses
import DataPath
import Logging
import Settings
import WireGuard

/// Our own WireGuard listener, to which users connect who have WireGuard themselves.
///
/// It belongs to the data path's engine whatever carries the tunnels: what a native user sends gets the same checks as the packets of
/// every other user. The kernel's WireGuard could not do it: before any rule of ours, table `local` would let its packets into this host.
actor AccessListener {
    nonisolated let interface: String
    private let backend: EmbeddedBackend
    private let port: EmbeddedPort
    private let logger: Logger
    private var publicKey: PublicKey?

    init(_ access: CausewayConfiguration.Access, engine: WireGuardEngine, logger: Logger) {
        self.logger = logger
        interface = access.interface
        port = EmbeddedPort(engine)
        backend = EmbeddedBackend(
            interfaceName: access.interface, engine: engine, port: port, listenPort: access.listenPort, fwmark: access.fwmark)
    }

    func start() async throws -> WireGuardEngine.Identity {
        guard let identity = try await backend.create().identity else { throw GatewayError("access: the engine made no identity") }
        return identity
    }

    /// Takes the users who may connect: each may send from their own inner addresses only.
    func apply(_ access: CausewayConfiguration.Access, users: [NativeUser]) async throws {
        guard let key = access.privateKey.withUnsafeBytes({ PrivateKey(bytes: $0) }) else {
            throw GatewayError("access: the private key has not 32 bytes")
        }
        var configuration = TunnelConfiguration(
            interfaceName: interface, privateKey: key, listenPort: access.listenPort, fwmark: access.fwmark, mtu: UInt32(access.mtu))
        let preshared = Dictionary(
            access.peers.compactMap { peer in peer.presharedKey.map { (peer.publicKey, $0) } }, uniquingKeysWith: { first, _ in first })
        configuration.peers = users.map { user in
            PeerConfiguration(
                publicKey: user.publicKey, allowedIPs: Set(user.allPrefixes),
                presharedKey: preshared["\(user.publicKey)"]?.withUnsafeBytes { PresharedKey(bytes: $0) })
        }
        let change = try await backend.apply(configuration, endpoints: [:])
        let isNew = publicKey == nil
        publicKey = key.publicKey
        if isNew {
            logger.info("access: UDP port \(access.listenPort) for \(users.count) native users, public key \(key.publicKey)")
        } else if !change.isEmpty {
            logger.info("access: \(change.peersAdded) peers added, \(change.peersChanged) changed, \(change.peersRemoved) removed")
        }
    }

    /// Takes another configuration, the port first. Returns how to take it back.
    func replace(
        _ old: CausewayConfiguration.Access, users before: [NativeUser], with new: CausewayConfiguration.Access, users: [NativeUser]
    ) async throws -> @Sendable () async throws -> Void {
        let place = try await port.prepare(new.listenPort, fwmark: new.fwmark)
        let undo: @Sendable () async throws -> Void = { [port] in
            try await port.goBack(to: place)
            try await self.apply(old, users: before)
        }
        do { try await apply(new, users: users) } catch {
            try await undo()
            throw error
        }
        return undo
    }

    /// What the device says about the users, without their prefixes: it is asked every second.
    func peers() async -> [PublicKey: PeerStatus] {
        guard let peers = try? await backend.glances() else { return [:] }
        return Dictionary(peers.map { ($0.publicKey, $0) }, uniquingKeysWith: { first, _ in first })
    }

    func view(wallClock: Duration) async -> AccessView? {
        guard let publicKey, let status = try? await backend.status() else { return nil }
        return AccessView(
            interface: interface, publicKey: "\(publicKey)", listenPort: status.listenPort, peers: status.peers.count,
            connected: status.peers.count { $0.hasLiveSession(now: wallClock) })
    }

    func remove() async throws {
        try await backend.remove()
        await port.close()
    }
}

extension CausewayConfiguration {
    /// Users who may connect natively. One without an address of their own has the one of their identity.
    func nativeUsers(_ identities: [String: [String: UplinkIdentity]]) throws -> [NativeUser] {
        let rates = Dictionary(users.entries.map { ($0.displayName, $0.attributes.rate) }, uniquingKeysWith: { $0 ?? $1 })
        return try (access?.peers ?? []).map { peer in
            guard let key = PublicKey(peer.publicKey) else {
                throw GatewayError("access: key \(peer.publicKey) of user \"\(peer.user)\" is not base64 of 32 bytes")
            }
            guard let address = peer.address ?? identities[peer.tunnel]?[peer.user]?.address else {
                throw GatewayError("access: user \"\(peer.user)\" has no inner address: set address in the [[access.peer]]")
            }
            return NativeUser(
                name: peer.user, publicKey: key, address: address, prefixes: peer.prefixes, tunnel: peer.tunnel, group: peer.group,
                rate: rates[peer.user] ?? nil)
        }
    }
}
