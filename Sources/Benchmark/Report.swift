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
        /// Between clients and gateway; nil: a wire without faults.
        public var faults: WireFaults?

        public init(
            clients: Int, profile: String, secondsPerTrial: Double, rounds: Int, tolerance: Double, workers: Int,
            gatewayProcessors: String?, otherProcessors: String?, faults: WireFaults? = nil
        ) {
            self.clients = clients
            self.profile = profile
            self.secondsPerTrial = secondsPerTrial
            self.rounds = rounds
            self.tolerance = tolerance
            self.workers = workers
            self.gatewayProcessors = gatewayProcessors
            self.otherProcessors = otherProcessors
            self.faults = faults
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
        /// The histogram: how many packets took so long at most, and longer than the bin before.
        public var bins: [Bin]

        public struct Bin: Codable, Sendable, Equatable {
            public var microseconds: Double
            public var packets: UInt64
        }

        /// In microseconds. nil: nothing arrived.
        public init?(_ histogram: Histogram) {
            func at(_ share: Double) -> Double? { histogram.value(at: share).map { Double($0) / 1000 } }
            guard let median = at(0.5), let p90 = at(0.9), let p99 = at(0.99), let p999 = at(0.999), let greatest = at(1) else { return nil }
            self.median = median
            self.p90 = p90
            self.p99 = p99
            self.p999 = p999
            self.greatest = greatest
            bins = histogram.filled.map { Bin(microseconds: Double($0.greatest) / 1000, packets: $0.count) }
        }

        /// Percent of the packets in `edges.count + 1` classes: up to each edge, and above the last one.
        func classes(_ edges: [Double]) -> [Double] {
            var sums = Array(repeating: UInt64(0), count: edges.count + 1)
            for bin in bins { sums[edges.firstIndex { bin.microseconds <= $0 } ?? edges.count] += bin.packets }
            let all = sums.reduce(0, +)
            return sums.map { share($0, of: all) }
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
        /// Of `lost`, what the bad wire took on purpose.
        public var lostByWire: UInt64 = 0
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

        /// Everything that was due has left in time, and no more than `tolerance` of it was lost by those who were to carry it.
        public func isCarried(tolerance: Double) -> Bool {
            received > 0 && Double(offered - sent) <= Double(offered) * tolerance && Double(lost - lostByWire) <= Double(sent) * tolerance
        }

        /// Whether clients, hub or generator were what could not do more: most of what was missing went missing there.
        public var isGeneratorsFault: Bool { (offered - sent) + lostByGenerator > (offered - received - lostByWire) / 2 }
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
        /// With a bad wire: each round once more, in turns with it, without the faults.
        public var cleanRounds: [Sample] = []
        public var latencies: [LatencyAtLoad] = []

        public init(contender: String) { self.contender = contender }

        public var megabitsPerSecond: Spread? { Spread(rounds.map(\.megabitsPerSecond)) }
        public var cpuSecondsPerGB: Spread? { Spread(rounds.map(\.cpuSecondsPerGB)) }
        public var packetsPerCPUSecond: Spread? { Spread(rounds.map(\.packetsPerCPUSecond)) }
        /// Round by round: what arrived over the bad wire, of what arrived over the clean one. nil: there was no bad wire.
        public var goodputKept: Spread? { Spread(ratios(rounds, cleanRounds, \.megabitsPerSecond)) }
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

    /// One load for a long time.
    public struct Soak: Codable, Sendable, Equatable {
        public struct Slice: Codable, Sendable, Equatable {
            /// When it began.
            public var at: Double
            public var sample: Sample
            /// At its end, of all the gateway's processes.
            public var residentBytes: UInt64
            /// During it: what the gateway counted as dropped for whatever cause (nil: it does not tell), and what its host did before it.
            public var drops: UInt64?
            public var hostDrops: UInt64

            public init(at: Double, sample: Sample, residentBytes: UInt64, drops: UInt64?, hostDrops: UInt64) {
                self.at = at
                self.sample = sample
                self.residentBytes = residentBytes
                self.drops = drops
                self.hostDrops = hostDrops
            }
        }

        public var contender: String
        public var name: String
        public var slices: [Slice]

        public init(contender: String, name: String, slices: [Slice]) {
            self.contender = contender
            self.name = name
            self.slices = slices
        }

        public var sent: UInt64 { slices.reduce(0) { $0 + $1.sample.sent } }
        public var lost: UInt64 { slices.reduce(0) { $0 + $1.sample.lost } }
        public var cpuSecondsPerGB: Spread? { Spread(slices.map(\.sample.cpuSecondsPerGB)) }
        /// From the end of the first slice to the end of the last; nil: there is one only.
        public var growthBytes: Int64? {
            guard slices.count > 1, let first = slices.first, let last = slices.last else { return nil }
            return Int64(last.residentBytes) - Int64(first.residentBytes)
        }
    }

    public struct Missing: Codable, Sendable, Equatable {
        public var name: String
        public var reason: String

        public init(name: String, reason: String) {
            self.name = name
            self.reason = reason
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
    /// Gateways that this machine cannot have, and why.
    public var missing: [Missing] = []
    /// Why the run ended before its plan did.
    public var incomplete: String?

    public init(date: Date, command: String, machine: Machine, settings: Settings) {
        self.date = date
        self.command = command
        self.machine = machine
        self.settings = settings
    }
}
