import Addresses
import DataPath

/// What a run of the client has to show, as a document.
public struct DialReport: Codable, Sendable {
    public struct Session: Codable, Sendable {
        public var number: Int
        public var user: String
        public var state: SessionPhase
        public var failure: Failure?
        public var address: IPAddress?
        /// The server's end of the link.
        public var peerAddress: IPAddress?
        public var dns: [IPAddress]
        public var nbns: [IPAddress]
        public var mtu: UInt16?
        /// 0: in the clear.
        public var encryptionBits: Int?
        public var statelessReceive: Bool?
        public var statelessTransmit: Bool?
        public var localCallID: UInt16?
        public var peerCallID: UInt16?
        /// From the session's turn to its call, and to its network.
        public var callMilliseconds: Double?
        public var upMilliseconds: Double?
        public var ping: Ping?
        /// "in" is from the server.
        public var counters: Counters?
    }

    public struct Failure: Codable, Sendable {
        public var kind: SessionFailure.Kind
        /// RFC 2759 section 6.
        public var authenticationCode: Int?
        public var text: String
    }

    public struct Ping: Codable, Sendable {
        public var sent: Int
        public var received: Int
        public var lost: Int
        public var duplicates: Int
        public var minimumMilliseconds: Double?
        public var averageMilliseconds: Double?
        public var maximumMilliseconds: Double?
    }

    public struct Totals: Codable, Sendable {
        public var sessions: Int
        public var up: Int
        /// Never came up.
        public var failed: Int
        /// Came up and did not stay up.
        public var lost: Int
        public var ping: Ping?
        public var upMilliseconds: Spread?
        /// From the first session's turn until the last one was up, and log-ins for each second of that.
        public var setupSeconds: Double?
        public var logInsPerSecond: Double?
        /// Sessions that never came up or did not stay up, by what the client has to say about it.
        public var causes: [String: Int]
        public var packetsIn: UInt64
        public var packetsOut: UInt64
        public var bytesIn: UInt64
        public var bytesOut: UInt64
    }

    public struct Spread: Codable, Sendable {
        public var minimum: Double
        public var median: Double
        public var percentile99: Double
        public var maximum: Double

        /// nil if there are no values.
        init?(_ values: [Double]) {
            let sorted = values.sorted()
            guard let first = sorted.first, let last = sorted.last else { return nil }
            minimum = first
            maximum = last
            median = sorted[(sorted.count - 1) / 2]
            percentile99 = sorted[(sorted.count * 99 + 99) / 100 - 1]
        }
    }

    public var server: String
    public var profile: String
    public var interface: String
    public var totals: Totals
    public var sessions: [Session]
    /// GRE packets of no session, by cause.
    public var strayDrops: [String: UInt64]

    public init(
        server: String, profile: String, interface: String, statuses: [SessionStatus], pings: [IPAddress: PingSchedule.Target]?,
        stray: Counters
    ) {
        self.server = server
        self.profile = profile
        self.interface = interface
        strayDrops = stray.drops
        sessions = statuses.map { status in
            Session(status, ping: status.network.flatMap { pings?[$0.address] }.map { Ping([$0]) })
        }
        let lost = statuses.count { $0.failure?.kind == .lost }
        let setup = Self.setup(of: statuses)
        totals = Totals(
            sessions: statuses.count, up: statuses.count { $0.phase == .up },
            failed: statuses.count { $0.failure != nil } - lost, lost: lost, ping: pings.map { Ping(Array($0.values)) },
            upMilliseconds: Spread(statuses.compactMap { $0.upTime?.milliseconds }), setupSeconds: setup?.seconds,
            logInsPerSecond: setup?.rate, causes: Dictionary(statuses.compactMap { $0.failure.map { ($0.description, 1) } }, uniquingKeysWith: +),
            packetsIn: statuses.sum(\.packetsIn), packetsOut: statuses.sum(\.packetsOut), bytesIn: statuses.sum(\.bytesIn),
            bytesOut: statuses.sum(\.bytesOut))
    }
}

extension DialReport {
    private static func setup(of statuses: [SessionStatus]) -> (seconds: Double, rate: Double)? {
        let ups = statuses.compactMap(\.upAt)
        let turns = statuses.compactMap { status in status.upAt.flatMap { at in status.upTime.map { at - $0 } } }
        guard let first = turns.min(), let last = ups.max(), first < last else { return nil }
        let seconds = (last - first) / .seconds(1)
        return ((seconds * 1000).rounded() / 1000, (Double(ups.count) / seconds).rounded())
    }
}

extension DialReport.Session {
    init(_ status: SessionStatus, ping: DialReport.Ping?) {
        self.init(
            number: status.number, user: status.user, state: status.phase, failure: status.failure.map(DialReport.Failure.init),
            address: status.network?.address, peerAddress: status.network?.peer, dns: status.network?.dns ?? [],
            nbns: status.network?.nbns ?? [], mtu: status.network?.mtu, encryptionBits: status.network?.encryptionBits,
            statelessReceive: status.network?.statelessReceive, statelessTransmit: status.network?.statelessTransmit,
            localCallID: status.localCallID, peerCallID: status.peerCallID, callMilliseconds: status.callTime?.milliseconds,
            upMilliseconds: status.upTime?.milliseconds, ping: ping, counters: status.counters)
    }
}

extension DialReport.Failure {
    init(_ failure: SessionFailure) {
        kind = failure.kind
        text = failure.description
        if case .authentication(let code) = failure { authenticationCode = code }
    }
}

extension DialReport.Ping {
    init(_ targets: [PingSchedule.Target]) {
        sent = targets.map(\.sent).reduce(0, +)
        received = targets.map(\.received).reduce(0, +)
        lost = targets.map(\.lost).reduce(0, +)
        duplicates = targets.map(\.duplicates).reduce(0, +)
        minimumMilliseconds = targets.compactMap(\.shortest).min()?.milliseconds
        maximumMilliseconds = targets.compactMap(\.longest).max()?.milliseconds
        if received > 0 { averageMilliseconds = (targets.map(\.sum).reduce(.zero, +) / received).milliseconds }
    }
}

extension Duration {
    /// To a thousandth.
    var milliseconds: Double { (self / .microseconds(1)).rounded() / 1000 }
}

extension [SessionStatus] {
    fileprivate func sum(_ value: KeyPath<Counters, UInt64>) -> UInt64 {
        reduce(0) { $0 + ($1.counters?[keyPath: value] ?? 0) }
    }
}
