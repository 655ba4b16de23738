import Addresses
import Logging
import Netlink
import Settings
import Synchronization
import Testing

@testable import DataPath
@testable import Gateway
@testable import WireGuard

/// A clock that stands still until it is moved.
final class ManualClock: Sendable {
    private let time = Mutex(ContinuousClock.now)
    var now: ContinuousClock.Instant { time.withLock { $0 } }
    func advance(_ seconds: Double) { time.withLock { $0 += .seconds(seconds) } }
}

/// Name servers that say what they are told to; a name without an answer hangs until there is one, or the lookup is cancelled.
final class FakeResolver: EndpointResolver {
    private let answers = Mutex<[String: [Endpoint]]>([:])
    private let waiting = Mutex(0)
    /// Lookups that hang now.
    var hanging: Int { waiting.withLock { $0 } }

    func set(_ name: String, _ addresses: [Endpoint]) { answers.withLock { $0[name] = addresses } }

    func resolve(_ name: String, port: UInt16) async throws -> [Endpoint] {
        waiting.withLock { $0 += 1 }
        defer { waiting.withLock { $0 -= 1 } }
        while true {
            if let known = answers.withLock({ $0[name] }) { return known }
            try await Task.sleep(for: .milliseconds(5))
        }
    }
}

/// What devices have been told, and hubs that answer or do not.
final class FakeWorld: Sendable {
    struct Device: Sendable {
        var configuration: TunnelConfiguration?
        var endpoints: [PublicKey: Endpoint] = [:]
        /// Wall clock of the last handshake with each hub.
        var handshakes: [PublicKey: Duration] = [:]
        var unanswered: [PublicKey: UInt64] = [:]
        var received: [PublicKey: UInt64] = [:]
        var lost: [PublicKey: UInt64] = [:]
    }

    struct State: Sendable {
        /// By interface and, where many share it, the order in which they were made.
        var devices: [Int: Device] = [:]
        var interfaces: [Int: String] = [:]
        var made = 0
        /// Where somebody answers handshakes.
        var answering: Set<Endpoint> = []
        /// Keys that hubs have forgotten.
        var forgotten: Set<PublicKey> = []
        /// Questions about this tunnel's devices are never answered.
        var hangs: Set<String> = []
        var removalTakes = Duration.zero
        /// Devices stay until this is over; `removing` of them wait.
        var holdsRemovals = false
        var removing = 0
        /// The next device that is told something does not do it before this is over; then it forgets what it was told meanwhile.
        var holdsChange = false
        var changing = 0
        /// How many devices there may be; one more is refused as the engine does.
        var capacity = Int.max
        var busyPorts: Set<UInt16> = []
        var refusesPeer: PublicKey?
        var port: [String: UInt16] = [:]
        var problems: [String] = []
        /// Of interfaces in the kernel, which have one owner.
        var present: Set<String> = []
        var wallClock = Duration.seconds(1_000_000)
    }
    let state = Mutex(State())

    /// Until it does not hold any more; meanwhile the number of those that wait is one more.
    func wait(_ number: WritableKeyPath<State, Int> & Sendable, while holds: (State) -> Bool) async {
        state.withLock { $0[keyPath: number] += 1 }
        while state.withLock({ holds($0) }) { try? await Task.sleep(for: .milliseconds(5)) }
        state.withLock { $0[keyPath: number] -= 1 }
    }

    func devices(named interface: String) -> [Device] {
        state.withLock { state in state.interfaces.filter { $1 == interface }.keys.sorted().compactMap { state.devices[$0] } }
    }
    var count: Int { state.withLock { $0.devices.count } }
    var problems: [String] { state.withLock { $0.problems } }
    /// Public keys of the devices that are there.
    var keys: Set<PublicKey> {
        state.withLock { state in Set(state.devices.values.compactMap { $0.configuration?.privateKey.publicKey }) }
    }
}

struct FakeDevices: UplinkDevices {
    let world: FakeWorld
    let tunnel: String
    let isKernel: Bool

    func backend(_ interfaceName: String, _ settings: CausewayConfiguration.Tunnel) -> any TunnelBackend {
        FakeBackend(interfaceName: interfaceName, world: world, tunnel: tunnel, isKernel: isKernel)
    }

    func prepare(_ settings: CausewayConfiguration.Tunnel) throws -> @Sendable () async throws -> Void {
        try world.state.withLock { state in
            guard !state.busyPorts.contains(settings.listenPort) else { throw GatewayError("port \(settings.listenPort) is busy") }
            let before = state.port.updateValue(settings.listenPort, forKey: tunnel)
            return { [world, tunnel] in world.state.withLock { $0.port[tunnel] = before } }
        }
    }

    func close() {}
}

actor FakeBackend: TunnelBackend {
    nonisolated let interfaceName: String
    private let world: FakeWorld
    private let tunnel: String
    private let isKernel: Bool
    private var number: Int?

    init(interfaceName: String, world: FakeWorld, tunnel: String, isKernel: Bool) {
        self.interfaceName = interfaceName
        self.world = world
        self.tunnel = tunnel
        self.isKernel = isKernel
    }

    func create() throws -> TunnelDevice {
        let number = try world.state.withLock { state in
            guard state.devices.count < state.capacity else { throw EngineError(.full, "add a WireGuard identity") }
            if isKernel, !state.present.insert(interfaceName).inserted { state.problems.append("\(interfaceName) was there already") }
            state.made += 1
            state.devices[state.made] = .init()
            state.interfaces[state.made] = interfaceName
            return state.made
        }
        self.number = number
        return .interface(UInt32(number))
    }

    func apply(_ configuration: TunnelConfiguration, endpoints: [PublicKey: Endpoint]) async throws -> TunnelChange {
        if world.state.withLock({ $0.holdsChange && $0.changing == 0 }) {
            await world.wait(\.changing) { $0.holdsChange }
        }
        guard let number else { throw TunnelError.notCreated(interfaceName) }
        return try world.state.withLock { state in
            if let refused = state.refusesPeer, configuration.peers.contains(where: { $0.publicKey == refused }) {
                throw TunnelError.device(interface: interfaceName, reason: "that peer is refused")
            }
            let isChanged = state.devices[number]?.configuration != configuration
            let keys = Set(configuration.peers.map(\.publicKey))
            var device = state.devices[number] ?? .init()
            device.configuration = configuration
            device.endpoints = endpoints.filter { keys.contains($0.key) }
            device.handshakes = device.handshakes.filter { keys.contains($0.key) }
            device.unanswered = device.unanswered.filter { keys.contains($0.key) }
            device.received = device.received.filter { keys.contains($0.key) }
            device.lost = device.lost.filter { keys.contains($0.key) }
            state.devices[number] = device
            return TunnelChange(peersChanged: isChanged ? 1 : 0)
        }
    }

    func setEndpoint(_ endpoint: Endpoint, of peer: PublicKey) {
        guard let number else { return }
        world.state.withLock { $0.devices[number]?.endpoints[peer] = endpoint }
    }

    func status() throws -> TunnelStatus {
        guard number != nil else { throw TunnelError.notCreated(interfaceName) }
        return TunnelStatus(interfaceName: interfaceName, health: .running, listenPort: 0, fwmark: 0, peers: [])
    }

    /// A second of the peer's life: with a hub that answers a handshake is completed, otherwise one more initiation is in vain.
    func glance(at peer: PublicKey) async throws -> PeerStatus? {
        if world.state.withLock({ $0.hangs.contains(tunnel) }) { try await Task.sleep(for: .seconds(3600)) }
        guard let number else { throw TunnelError.notCreated(interfaceName) }
        return world.state.withLock { state in
            guard var device = state.devices[number], let own = device.configuration,
                let known = own.peers.first(where: { $0.publicKey == peer })
            else { return nil }
            let endpoint = device.endpoints[peer]
            if let endpoint, state.answering.contains(endpoint), !state.forgotten.contains(own.privateKey.publicKey) {
                if device.handshakes[peer] == nil || device.unanswered[peer, default: 0] > 0 {
                    state.wallClock += .seconds(1)
                    device.handshakes[peer] = state.wallClock
                }
                device.unanswered[peer] = 0
                device.received[peer, default: 0] += 100
            } else if endpoint != nil {
                device.unanswered[peer, default: 0] += 1
                device.lost[peer, default: 0] += 3
            }
            state.devices[number] = device
            var status = PeerStatus(
                publicKey: peer, endpoint: endpoint, latestHandshake: device.handshakes[peer], receivedBytes: device.received[peer, default: 0],
                sentBytes: 0, keepalive: known.keepalive, unansweredInitiations: device.unanswered[peer, default: 0])
            status.lostPackets = device.lost[peer, default: 0]
            status.lostUnansweredPackets = status.lostPackets
            status.unansweredPackets = device.unanswered[peer, default: 0] * 3
            return status
        }
    }

    func forget(_ peer: PublicKey) {
        guard let number else { return }
        world.state.withLock {
            $0.devices[number]?.handshakes[peer] = nil
            $0.devices[number]?.received[peer] = nil
        }
    }

    func remove() async {
        guard let number else { return }
        let time = world.state.withLock { $0.removalTakes }
        if time > .zero { try? await Task.sleep(for: time) }
        await world.wait(\.removing) { $0.holdsRemovals }
        self.number = nil
        world.state.withLock {
            $0.devices[number] = nil
            $0.interfaces[number] = nil
            $0.present.remove(interfaceName)
        }
    }
}

/// A kernel without anything.
struct FakeRouting: HostRouting {
    func link(named name: String) -> Link? { nil }
    func raise(_ link: Link, mark: InstanceMark) {}
    func apply(_ routing: PolicyRouting) -> PolicyRoutingChange { PolicyRoutingChange() }
    func remove(_ routing: PolicyRouting) {}
    func removeRoutes(ofTables tables: [UInt32]) {}
    func removeLeftovers(_ mark: InstanceMark, adopted: Set<String>) -> [String] { [] }
    func removeLeftoverRules(tables: Set<UInt32>, basePriority: UInt32) {}
}
