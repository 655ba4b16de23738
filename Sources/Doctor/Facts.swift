import Addresses

/// What was seen of this machine and of the gateway that runs on it. Facts only; what they mean is what `findings` says.
public struct Facts: Sendable, Equatable {
    public struct Port: Sendable, Equatable {
        public var address: IPAddress
        public var number: UInt16
        /// Somebody listens there.
        public var isTaken: Bool

        public init(address: IPAddress, number: UInt16, isTaken: Bool) {
            self.address = address
            self.number = number
            self.isTaken = isTaken
        }
    }

    public struct Obstacle: Sendable, Equatable {
        public var text: String
        public var commands: [String]

        public init(text: String, commands: [String]) {
            self.text = text
            self.commands = commands
        }
    }

    public struct Tunnel: Sendable, Equatable {
        public var name: String
        public var isUp: Bool
        public var problem: String?
        /// nil: never.
        public var handshakeSeconds: Int?
        public var sentBytes: UInt64

        public init(name: String, isUp: Bool, problem: String?, handshakeSeconds: Int?, sentBytes: UInt64) {
            self.name = name
            self.isUp = isUp
            self.problem = problem
            self.handshakeSeconds = handshakeSeconds
            self.sentBytes = sentBytes
        }
    }

    public enum Answer: Sendable, Equatable {
        case yes
        case no(String)
        /// It could not be found out.
        case unknown(String)
    }

    /// The gateway answers on its control socket.
    public var gatewayAnswers = false
    public var ports: [Port] = []
    /// A raw socket for IP protocol 47 can be made.
    public var rawGRE = Answer.yes
    /// Those of the kernel that are loaded or built in.
    public var modules: Set<String> = []
    /// net.ipv4.conf.all.rp_filter
    public var reversePathFilter: Int?
    /// Somebody else's chains that would drop what we need; nil: the packet filter could not be read.
    public var obstacles: [Obstacle]? = []
    /// firewall.pptp-helper
    public var wantsHelper = false
    /// A tunnel is configured that only the kernel's WireGuard can carry.
    public var needsKernelWireGuard = false
    public var kernelWireGuard = Answer.yes
    /// nil: the kernel does not say.
    public var clockIsSynchronised: Bool?
    public var tunnels: [Tunnel] = []

    public init() {}
}
