import Benchmark

/// What is to be measured, against what.
public struct BenchPlan: Sendable {
    public struct Contender: Sendable {
        public var name: String
        public var program: String
        /// Of the gateway's tunnel: `embedded`, `kernel`, or what an older program calls it.
        public var backend: String
        /// How the gateway has its GRE packets; nil: it chooses.
        public var io: String?
        /// nil: the gateway chooses its kernels.
        public var isa: String?
        /// Threads of its data path.
        public var workers: Int

        public init(name: String, program: String, backend: String, io: String?, isa: String?, workers: Int = 1) {
            self.name = name
            self.program = program
            self.backend = backend
            self.io = io
            self.isa = isa
            self.workers = workers
        }
    }

    public var contenders: [Contender]
    public var cases: [BenchCase]
    /// Clients, hub and everything that is not measured are of this program.
    public var program: String
    public var clients = 16
    public var profile = "embedded"
    /// Of the hub and the clients; and processors that the gateway has, where there are enough.
    public var workers = 1
    public var seconds = 1.0
    public var rounds = 3
    public var tolerance = 0.001
    /// Packets per second.
    public var ceiling = 2_000_000.0
    /// Instead of searching.
    public var rate: Double?
    public var loads = [10, 50, 90]
    public var soakSeconds = 0.0
    /// nil: clients and gateway are joined by a wire without faults, and nothing in between takes time.
    public var faults: WireFaults?
    public var limit = Duration.seconds(1800)
    /// Whether gateway and the rest have processors of their own, where there are enough.
    public var binds = true

    public init(contenders: [Contender], cases: [BenchCase], program: String) {
        self.contenders = contenders
        self.cases = cases
        self.program = program
    }

    /// How the clients may behave, and the longest inner packet that they take: their MRU without the four octets that MPPE needs.
    public static let profiles = ["windows": 1396, "pppd": 1396, "embedded": 1456]
    /// Each client has an address of a /20 without its ends.
    public static let mostClients = 4000
    /// Beds are numbered in the third octet of their addresses.
    public static let mostContenders = 16

    /// How processors are divided: the gateway's workers have the first ones, everything else the others; nil: there are too few.
    public static func division(processors: [Int], workers: Int) -> (gateway: [Int], others: [Int])? {
        processors.count > workers ? (Array(processors.prefix(workers)), Array(processors.dropFirst(workers))) : nil
    }
}
