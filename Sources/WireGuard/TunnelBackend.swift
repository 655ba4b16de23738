import Addresses
import DataPath
import Netlink

/// Why a tunnel cannot be what it should be. Errors of the kernel are `NetlinkError`.
public enum TunnelError: Error, Equatable, CustomStringConvertible {
    case configuration(interface: String, reason: String)
    /// An interface of that name exists and does not carry our mark.
    case foreignInterface(String, kind: String?)
    case notCreated(String)
    /// The device does not do what it was told.
    case device(interface: String, reason: String)

    public var description: String {
        switch self {
        case .configuration(let interface, let reason): "tunnel \(interface): \(reason)"
        case .foreignInterface(let name, let kind):
            "interface \(name)\(kind.map { " (\($0))" } ?? "") exists and was not made by this gateway: choose another name, or remove it with: ip link delete \(name)"
        case .notCreated(let name): "tunnel \(name) has not been created"
        case .device(let interface, let reason): "tunnel \(interface): \(reason)"
        }
    }
}

/// How we know our own interfaces after a crash: IFLA_IFALIAS is `causeway:INSTANCE`.
public struct InstanceMark: Hashable, Sendable {
    public let instance: String

    /// nil unless it is 1 to 64 letters, digits, `-`, `_` or `.`.
    public init?(instance: String) {
        let allowed = instance.utf8.allSatisfy {
            (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0)
                || [0x2D, 0x2E, 0x5F].contains($0)
        }
        guard (1...64).contains(instance.utf8.count), allowed else { return nil }
        self.instance = instance
    }

    public var alias: String { "causeway:\(instance)" }

    public func isOn(_ link: Link) -> Bool { link.alias == alias }
}

/// What `apply` changed, for a log line.
public struct TunnelChange: Equatable, Sendable {
    public var peersAdded = 0
    public var peersChanged = 0
    public var peersRemoved = 0
    /// Key, port, mark, MTU or addresses of the interface.
    public var interfaceChanged = false

    public init(peersAdded: Int = 0, peersChanged: Int = 0, peersRemoved: Int = 0, interfaceChanged: Bool = false) {
        self.peersAdded = peersAdded
        self.peersChanged = peersChanged
        self.peersRemoved = peersRemoved
        self.interfaceChanged = interfaceChanged
    }

    public var isEmpty: Bool { self == TunnelChange() }
}

/// Where packets go that leave through a tunnel.
public enum TunnelDevice: Hashable, Sendable {
    /// A kernel interface, by number: over the TUN and policy routing.
    case interface(UInt32)
    /// An identity of the data path's own engine: directly.
    case identity(WireGuardEngine.Identity)

    public var interfaceIndex: UInt32? { if case .interface(let index) = self { index } else { nil } }
    public var identity: WireGuardEngine.Identity? { if case .identity(let identity) = self { identity } else { nil } }
}

/// One private key with its peers: a kernel interface, or an identity of our own engine. Calls are answered when the device has done
/// what was asked.
public protocol TunnelBackend: Sendable {
    nonisolated var interfaceName: String { get }

    /// Creates the device, or adopts the interface that a crashed instance of the same name left.
    func create() async throws -> TunnelDevice

    /// Reads the device, compares, and sends only what differs. `endpoints` has an address for each peer that has one; peers whose
    /// name could not be resolved are left out. A peer that has roamed keeps its address until its configured one changes.
    func apply(_ configuration: TunnelConfiguration, endpoints: [PublicKey: Endpoint]) async throws -> TunnelChange

    /// Sends one peer elsewhere.
    func setEndpoint(_ endpoint: Endpoint, of peer: PublicKey) async throws

    func status() async throws -> TunnelStatus

    /// One peer, without its allowed IPs; nil if there is no such peer. Cheap: it is asked every second.
    func glance(at peer: PublicKey) async throws -> PeerStatus?

    /// Removes one peer with its session. The next `apply` makes it anew, with a new handshake.
    func forget(_ peer: PublicKey) async throws

    /// Removes the device and everything that belongs to it. Harmless if there is nothing.
    func remove() async throws
}
