import Foundation

/// All that a run found out; the JSON document is this.
public struct BenchReport: Codable, Sendable, Equatable {
    public static let currentSchema = 1

    public struct Machine: Codable, Sendable, Equatable {
        public var cpu: String
        public var processors: Int
        public var memoryBytes: UInt64
        public var system: String

        public init(cpu: String, processors: Int, memoryBytes: UInt64, system: String) {
            self.cpu = cpu
            self.processors = processors
            self.memoryBytes = memoryBytes
            self.system = system
        }
    }

    public struct Settings: Codable, Sendable, Equatable {
        public var clients: Int
        public var profile: String
        public var secondsPerTrial: Double
        public var rounds: Int
        public var tolerance: Double
        public var workers: Int
        /// Lists of processors; nil: not bound to any.
        public var gatewayProcessors: String?
        public var otherProcessors: String?

        public init(
            clients: Int, profile: String, secondsPerTrial: Double, rounds: Int, tolerance: Double, workers: Int,
            gatewayProcessors: String?, otherProcessors: String?
        ) {
            self.clients = clients
            self.profile = profile
            self.secondsPerTrial = secondsPerTrial
            self.rounds = rounds
            self.tolerance = tolerance
            self.workers = workers
            self.gatewayProcessors = gatewayProcessors
            self.otherProcessors = otherProcessors
        }
    }

    /// A gateway that was measured.
    public struct Contender: Codable, Sendable, Equatable {
        public var name: String
        public var program: String
        public var version: String
        public var tunnelBackend: String
        public var ioBackend: String
        public var kernels: String
        public var setupSeconds: Double
        public var setupsPerSecond: Double
        /// Resident, of all its processes: with all sessions open, and at the end.
        public var residentBytes: UInt64
        public var residentBytesAtEnd: UInt64?

        public init(
            name: String, program: String, version: String, tunnelBackend: String, ioBackend: String, kernels: String, setupSeconds: Double,
            setupsPerSecond: Double, residentBytes: UInt64
        ) {
            self.name = name
            self.program = program
            self.version = version
            self.tunnelBackend = tunnelBackend
            self.ioBackend = ioBackend
            self.kernels = kernels
            self.setupSeconds = setupSeconds
            self.setupsPerSecond = setupsPerSecond
            self.residentBytes = residentBytes
        }
    }

    public struct Latency: Codable, Sendable, Equatable {
        public var median: Double
        public var p90: Double
        public var p99: Double
        public var p999: Double
        public var greatest: Double

        /// In microseconds. nil: nothing arrived.
        public init?(_ histogram: Histogram) {
            func at(_ share: Double) -> Double? { histogram.value(at: share).map { Double($0) / 1000 } }
            guard let median = at(0.5), let p90 = at(0.9), let p99 = at(0.99), let p999 = at(0.999), let greatest = at(1) else { return nil }
            self.median = median
            self.p90 = p90
            self.p99 = p99
            self.p999 = p999
            self.greatest = greatest
        }
    }

    /// One measurement. Packets are inner ones; bytes theirs, for TCP those of its payload.
    public struct Sample: Codable, Sendable, Equatable {
        /// Packets per second, both directions together; nil for TCP.
        public var rate: Double?
        public var seconds: Double
        public var offered: UInt64 = 0
        public var sent: UInt64 = 0
        public var received: UInt64 = 0
        public var lost: UInt64 = 0
        public var duplicates: UInt64 = 0
        public var reordered: UInt64 = 0
        public var receivedBytes: UInt64 = 0
        /// Of `lost`, how many the host says it dropped before and behind the gateway. Never sent: `offered - sent`.
        public var lostByGenerator: UInt64 = 0
        public var gatewayCPUSeconds: Double = 0
        /// Clients, hub and generator.
        public var generatorCPUSeconds: Double = 0
        public var latency: Latency?

        public init(rate: Double?, seconds: Double) {
            self.rate = rate
            self.seconds = seconds
        }

        public var megabitsPerSecond: Double { Double(receivedBytes) * 8 / seconds / 1e6 }
        public var packetsPerSecond: Double { Double(received) / seconds }
        public var cpuSecondsPerGB: Double { receivedBytes == 0 ? 0 : gatewayCPUSeconds / (Double(receivedBytes) / 1e9) }
        public var packetsPerCPUSecond: Double { gatewayCPUSeconds > 0 ? Double(received) / gatewayCPUSeconds : 0 }

        /// Everything that was due has left in time, and no more than `tolerance` of it was lost.
        public func isCarried(tolerance: Double) -> Bool {
            received > 0 && Double(offered - sent) <= Double(offered) * tolerance && Double(lost) <= Double(sent) * tolerance
        }

        /// Whether clients, hub or generator were what could not do more: most of what was missing went missing there.
        public var isGeneratorsFault: Bool { (offered - sent) + lostByGenerator > (offered - received) / 2 }
    }

    public enum Limit: String, Codable, Sendable {
        case gateway, generator
        /// The highest rate asked for was carried.
        case ceiling
    }

    public struct LatencyAtLoad: Codable, Sendable, Equatable {
        /// Percent of the highest rate, or of the one given.
        public var load: Int
        public var sample: Sample

        public init(load: Int, sample: Sample) {
            self.load = load
            self.sample = sample
        }
    }

    public struct Result: Codable, Sendable, Equatable {
        public var contender: String
        /// Packets per second; nil for TCP, where the rate was given, and where not even the lowest one was carried.
        public var highestRate: Double?
        public var limit: Limit?
        public var trials: [Sample] = []
        /// All contenders at the same rate, in turns: the one given, or 90 % of the lowest of their highest rates. TCP: as fast as it goes.
        public var rounds: [Sample] = []
        public var latencies: [LatencyAtLoad] = []

        public init(contender: String) { self.contender = contender }

        public var megabitsPerSecond: Spread? { Spread(rounds.map(\.megabitsPerSecond)) }
        public var cpuSecondsPerGB: Spread? { Spread(rounds.map(\.cpuSecondsPerGB)) }
        public var packetsPerCPUSecond: Spread? { Spread(rounds.map(\.packetsPerCPUSecond)) }
    }

    public struct Case: Codable, Sendable, Equatable {
        public var name: String
        public var traffic: String
        public var size: String?
        public var meanBytes: Double?
        public var direction: Direction
        public var results: [Result]

        public init(_ of: BenchCase, results: [Result]) {
            name = of.name
            direction = of.direction
            self.results = results
            switch of.load {
            case .udp(let mix):
                traffic = "udp"
                size = mix.name
                meanBytes = mix.mean
            case .tcp: traffic = "tcp"
            }
        }
    }

    public struct Soak: Codable, Sendable, Equatable {
        public var contender: String
        public var name: String
        public var slices: [Sample]

        public init(contender: String, name: String, slices: [Sample]) {
            self.contender = contender
            self.name = name
            self.slices = slices
        }
    }

    public var schema = currentSchema
    public var date: Date
    public var command: String
    public var machine: Machine
    public var settings: Settings
    public var contenders: [Contender] = []
    public var cases: [Case] = []
    public var soaks: [Soak] = []
    /// Why the run ended before its plan did.
    public var incomplete: String?

    public init(date: Date, command: String, machine: Machine, settings: Settings) {
        self.date = date
        self.command = command
        self.machine = machine
        self.settings = settings
    }
}
