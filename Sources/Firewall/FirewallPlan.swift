import Addresses
import Settings

/// What the host's packet filter has to do for one gateway: a value, made from the configuration alone.
public struct FirewallPlan: Sendable, Equatable {
    public var instance: String
    /// Where PPTP is served. A nil address: on all.
    public var listeners: [Listener]
    /// Networks that clients may come from; none: from everywhere.
    public var allowed: [IPPrefix] = []
    public var blocked: [IPPrefix] = []
    /// UDP ports of WireGuard that somebody outside begins to talk to.
    public var wireGuardPorts: [UInt16] = []
    /// The TUN device of the users.
    public var userInterface: String
    /// Where users' packets may leave. None: our own engine carries everything, and nothing of theirs is forwarded by the host.
    public var tunnels: [Tunnel] = []
    /// Of one source, to the control port. 0: no limit.
    public var connectsPerMinute = 0
    /// Whether this host translates addresses of PPTP connections, its own or others'.
    public var pptpHelper = false

    public struct Listener: Sendable, Hashable {
        public var address: IPAddress?
        public var port: UInt16

        public init(address: IPAddress?, port: UInt16) {
            self.address = address
            self.port = port
        }
    }

    /// An interface of the kernel's WireGuard, or one for each identity: `cw-hub-1`, `cw-hub-2`, …
    public struct Tunnel: Sendable, Equatable {
        public var interface: String
        public var isPrefix: Bool
        /// Whether users leave with the interface's address. Nobody but them is routed there.
        public var masquerade: Bool

        public init(interface: String, isPrefix: Bool, masquerade: Bool = false) {
            self.interface = interface
            self.isPrefix = isPrefix
            self.masquerade = masquerade
        }
    }

    public init(instance: String, listeners: [Listener], userInterface: String) {
        self.instance = instance
        self.listeners = listeners
        self.userInterface = userInterface
    }

    public init(_ configuration: CausewayConfiguration) {
        self.init(
            instance: configuration.instance,
            listeners: configuration.listeners.map { Listener(address: $0.address.isUnspecified ? nil : $0.address, port: $0.port) },
            userInterface: configuration.dataPath.interface)
        allowed = configuration.pptp.allowedSources.sorted()
        blocked = configuration.pptp.blockedSources.sorted()
        // A tunnel's port that is not chosen is not known before it runs, and the hub answers us there: nobody has to begin.
        wireGuardPorts = Set(configuration.tunnels.map(\.listenPort) + [configuration.access?.listenPort ?? 0]).subtracting([0]).sorted()
        connectsPerMinute = configuration.firewall.connectsPerMinute
        pptpHelper = configuration.firewall.pptpHelper
        tunnels = configuration.tunnels.filter { $0.backend != .embedded }.map { tunnel in
            Tunnel(
                interface: tunnel.mode == .shared ? tunnel.interface : tunnel.interface + "-", isPrefix: tunnel.mode != .shared,
                masquerade: configuration.firewall.masquerade.contains(tunnel.name))
        }
    }

    /// The one table that is ours, in the family `inet`.
    public var table: String { "causeway-\(instance)" }

    /// Each port with the addresses it is served on; nil: on all.
    var ports: [(port: UInt16, addresses: [IPAddress]?)] {
        Dictionary(grouping: listeners, by: \.port).sorted { $0.key < $1.key }.map { port, listeners in
            (port, listeners.contains { $0.address == nil } ? nil : Set(listeners.compactMap(\.address)).sorted())
        }
    }

    /// Where GRE is for us; nil: everywhere.
    var greAddresses: [IPAddress]? {
        listeners.contains { $0.address == nil } ? nil : Set(listeners.compactMap(\.address)).sorted()
    }
}
