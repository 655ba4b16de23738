import Addresses
import DataPath

/// An identity of the data path's own engine. There is no interface in the kernel; `interfaceName` is how `wg show` finds it.
public actor EmbeddedBackend: TunnelBackend {
    public nonisolated let interfaceName: String
    private let engine: WireGuardEngine
    private let port: EmbeddedPort
    private var identity: WireGuardEngine.Identity?
    private var appliedEndpoints: [PublicKey: Endpoint] = [:]
    private let listenPort: UInt16?
    private let fwmark: UInt32

    /// - Parameters:
    ///   - listenPort: what `create` opens; `apply` may ask for another.
    public init(interfaceName: String, engine: WireGuardEngine, port: EmbeddedPort, listenPort: UInt16?, fwmark: UInt32) {
        self.interfaceName = interfaceName
        self.engine = engine
        self.port = port
        self.listenPort = listenPort
        self.fwmark = fwmark
    }

    public func create() async throws -> TunnelDevice {
        try InterfaceName.validate(interfaceName)
        if let identity { return .identity(identity) }
        let port = try await port.port(listenPort, fwmark: fwmark)
        let identity = try engine.addIdentity(on: port, privateKey: .none)
        self.identity = identity
        return .identity(identity)
    }

    public func apply(_ configuration: TunnelConfiguration, endpoints: [PublicKey: Endpoint]) async throws -> TunnelChange {
        guard configuration.interfaceName == interfaceName else {
            throw TunnelError.configuration(
                interface: interfaceName, reason: "this is the configuration of \(configuration.interfaceName)")
        }
        try configuration.validate()
        let before = try engine.info(of: try device())
        let identity = try await moveToPort(configuration)
        // From the look at the device to its change nobody else gets in between.
        let state = try DeviceState(engine, identity)
        let update = DeviceUpdate(from: state, to: configuration, endpoints: endpoints, appliedEndpoints: appliedEndpoints)
        if let key = update.privateKey { try engine.setPrivateKey(key.engineKey, of: identity) }
        try engine.setMTU(UInt16(clamping: configuration.mtu), of: identity)
        try engine.setPeers(update.peers.map(\.engineChange), of: identity)
        appliedEndpoints = endpoints
        let after = try engine.info(of: identity)
        var change = update.change
        change.interfaceChanged = change.interfaceChanged || before.listenPort != after.listenPort || before.firewallMark != after.firewallMark
        await port.closeUnused()
        return change
    }

    /// Others, with another configuration, may close a port before we move in: then it is asked for again.
    private func moveToPort(_ configuration: TunnelConfiguration) async throws -> WireGuardEngine.Identity {
        for _ in 0..<3 {
            let wanted = try await port.port(configuration.listenPort, fwmark: configuration.fwmark)
            let identity = try device()
            if try move(identity, to: wanted) { return identity }
        }
        throw TunnelError.device(interface: interfaceName, reason: "its port is closed again and again")
    }

    /// False if there is no such port.
    private func move(_ identity: WireGuardEngine.Identity, to wanted: WireGuardEngine.Port) throws -> Bool {
        guard try engine.info(of: identity).port != wanted else { return true }
        do { try engine.setPort(wanted, of: identity) } catch {
            guard error.cause == .notFound else { throw error }
            return false
        }
        return true
    }

    public func setEndpoint(_ endpoint: Endpoint, of peer: PublicKey) async throws {
        try engine.setPeers([.init(publicKey: peer.bytes, operation: .update, endpoint: endpoint)], of: try device())
        appliedEndpoints[peer] = endpoint
    }

    public func status() async throws -> TunnelStatus {
        let identity = try device()
        let health: TunnelStatus.Health = try engine.info(of: identity).isUp ? .running : .broken(reason: "it was taken down")
        return try DeviceState(engine, identity).status(interfaceName: interfaceName, health: health)
    }

    public func glance(at peer: PublicKey) async throws -> PeerStatus? {
        guard let activity = try engine.activity(of: try device()).first(where: { $0.publicKey == peer.bytes }) else { return nil }
        var status = PeerStatus(
            publicKey: peer, endpoint: activity.endpoint, latestHandshake: activity.lastHandshake.map { .nanoseconds(Int64(clamping: $0)) },
            receivedBytes: activity.receivedBytes, sentBytes: activity.sentBytes, keepalive: activity.keepaliveSeconds,
            unansweredInitiations: activity.initiationsSent)
        status.lostPackets = activity.lost.total
        status.lostUnansweredPackets = activity.lost.unanswered
        status.unansweredPackets = activity.unansweredPackets
        return status
    }

    /// All peers without their keys and allowed IPs: what can be read every second of thousands.
    public func glances() throws -> [PeerStatus] {
        try engine.activity(of: try device()).compactMap { activity in
            PublicKey(bytes: activity.publicKey).map { PeerStatus(activity, $0) }
        }
    }

    public func forget(_ peer: PublicKey) async throws {
        try engine.setPeers([.init(publicKey: peer.bytes, operation: .remove)], of: try device())
        appliedEndpoints[peer] = nil
    }

    public func remove() async throws {
        guard let identity else { return }
        self.identity = nil
        appliedEndpoints = [:]
        do {
            try engine.remove(identity)
        } catch where [.notFound, .ended].contains(error.cause) {
            // The engine went first.
        }
        await port.closeUnused()
    }

    private func device() throws -> WireGuardEngine.Identity {
        guard let identity else { throw TunnelError.notCreated(interfaceName) }
        return identity
    }
}

extension DeviceState {
    /// As the engine has it now.
    init(_ engine: WireGuardEngine, _ identity: WireGuardEngine.Identity) throws {
        let info = try engine.info(of: identity)
        privateKey = info.privateKey.flatMap { $0.withBytes { PrivateKey(bytes: $0) } }
        listenPort = info.listenPort
        fwmark = info.firewallMark
        for entry in try engine.peers(of: identity) {
            guard let key = PublicKey(bytes: entry.publicKey) else { continue }
            var peer = Peer(entry)
            peer.allowedIPs = Set(try engine.allowedIPs(of: entry.publicKey, identity))
            peers[key] = peer
        }
    }
}

extension DeviceState.Peer {
    /// Without its allowed IPs, which the engine tells apart.
    init(_ info: WireGuardEngine.PeerInfo) {
        presharedKey = info.presharedKey.flatMap { $0.withBytes { PresharedKey(bytes: $0) } }
        endpoint = info.endpoint
        latestHandshake = info.lastHandshake.map { .nanoseconds(Int64(clamping: $0)) }
        receivedBytes = info.receivedBytes
        sentBytes = info.sentBytes
        keepalive = info.keepaliveSeconds
        unansweredInitiations = info.initiationsSent
    }
}

extension PeerStatus {
    /// Without allowed IPs and without word of a preshared key.
    init(_ activity: WireGuardEngine.PeerActivity, _ key: PublicKey) {
        self.init(
            publicKey: key, endpoint: activity.endpoint,
            latestHandshake: activity.lastHandshake.map { .nanoseconds(Int64(clamping: $0)) }, receivedBytes: activity.receivedBytes,
            sentBytes: activity.sentBytes, keepalive: activity.keepaliveSeconds, unansweredInitiations: activity.initiationsSent)
    }
}

extension DeviceUpdate.Peer {
    var engineChange: WireGuardEngine.PeerChange {
        var change = WireGuardEngine.PeerChange(
            publicKey: publicKey.bytes, operation: .init(kind), endpoint: endpoint, keepaliveSeconds: keepalive,
            replacesAllowedIPs: replacesAllowedIPs, allowedIPs: allowedIPs)
        switch preshared {
        case .set(let key): change.presharedKey = key.engineKey
        case .remove: change.presharedKey = WireGuardSecret.none
        case nil: break
        }
        return change
    }
}

extension WireGuardEngine.PeerChange.Operation {
    fileprivate init(_ kind: DeviceUpdate.Peer.Kind) {
        switch kind {
        case .add: self = .set
        case .change: self = .update
        case .remove: self = .remove
        }
    }
}

extension PrivateKey {
    public var engineKey: WireGuardSecret { withBytes { WireGuardSecret(copying: $0)! } }
}

extension PresharedKey {
    public var engineKey: WireGuardSecret { withBytes { WireGuardSecret(copying: $0)! } }
}
