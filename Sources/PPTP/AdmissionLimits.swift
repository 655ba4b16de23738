import Addresses

/// How much of the gateway strangers may hold. It decides at three points: a TCP connection, a call, and a call's log-in.
///
/// IPv6 sources are counted by their /64, which is what one host can choose from. What is remembered of a source is either tied to
/// an open connection, and so bounded by the limit of those, or is the state of its token bucket, of which a fixed number is kept.
public struct AdmissionLimits: Sendable {
    public struct Configuration: Sendable, Codable {
        public var connections = 10_000
        public var connectionsPerSource = 256
        /// TCP connections whose Start-Control-Connection-Request has not come yet.
        public var halfOpen = 512
        public var halfOpenPerSource = 16
        public var calls = 10_000
        public var callsPerConnection = 16
        public var callsPerSource = 256
        /// Calls whose user has not logged in yet.
        public var unauthenticated = 512
        public var unauthenticatedPerSource = 32
        /// Attempts, refused ones included; zero: no limit.
        public var attemptsPerSecondPerSource = 10.0
        public var attemptBurstPerSource = 20.0
        /// Calls, over all connections of a source; zero: no limit. A call that ends keeps its call ID busy for the allocator's quarantine, so
        /// a stranger who opens and clears calls without end would use up everybody's 65,535.
        public var callsPerSecondPerSource = 20.0
        public var callBurstPerSource = 64.0
        /// Token buckets remembered at one time, of each kind.
        public var rememberedSources = 8_192

        public init() {}
    }

    public enum Refusal: String, Error, Hashable, Sendable, CaseIterable {
        case rate = "attempt_rate"
        case callRate = "call_rate"
        case connections
        case connectionsPerSource = "connections_per_source"
        case halfOpen = "half_open"
        case halfOpenPerSource = "half_open_per_source"
        case calls
        case callsPerConnection = "calls_per_connection"
        case callsPerSource = "calls_per_source"
        case unauthenticated
        case unauthenticatedPerSource = "unauthenticated_per_source"
        /// The ticket's connection has been closed.
        case noConnection = "no_connection"
    }

    /// Stands for one admitted connection until it is closed; closing it twice does no harm.
    public struct ConnectionTicket: Hashable, Sendable { let number: UInt64 }
    /// Stands for one admitted call until it is closed, alone or with its connection.
    public struct CallTicket: Hashable, Sendable {
        let connection: ConnectionTicket
        let number: UInt64
    }

    /// What is counted, both for everybody and for one source.
    public struct Usage: Hashable, Sendable {
        public internal(set) var connections = 0
        public internal(set) var halfOpen = 0
        public internal(set) var calls = 0
        public internal(set) var unauthenticated = 0
    }

    private struct Connection: Sendable {
        let source: IPPrefix
        var isHalfOpen = true
        /// The value: has its user logged in?
        var calls: [UInt64: Bool] = [:]
    }

    public var configuration: Configuration
    public private(set) var total = Usage()
    private var sources: [IPPrefix: Usage] = [:]
    private var connections: [ConnectionTicket: Connection] = [:]
    private var buckets: TokenBuckets
    private var callBuckets = TokenBuckets()
    private var nextNumber: UInt64 = 1

    public init(configuration: Configuration = Configuration()) {
        self.configuration = configuration
        buckets = TokenBuckets()
    }

    /// Sources with an open connection, and token buckets.
    public var memory: (sources: Int, buckets: Int) { (sources.count, buckets.count + callBuckets.count) }

    /// After many connections have ended: room that they took goes back.
    public mutating func trim() {
        sources.shrinkIfSparse()
        connections.shrinkIfSparse()
        for ticket in connections.keys { connections[ticket]?.calls.shrinkIfSparse() }
    }

    public func usage(of address: IPAddress) -> Usage { sources[Self.source(address)] ?? Usage() }

    // ---- connections ----

    public mutating func admitConnection(
        from address: IPAddress, now: ContinuousClock.Instant
    ) -> Result<ConnectionTicket, Refusal> {
        let source = Self.source(address)
        guard
            configuration.attemptsPerSecondPerSource <= 0
                || buckets.take(
                    source, rate: configuration.attemptsPerSecondPerSource, burst: configuration.attemptBurstPerSource,
                    capacity: configuration.rememberedSources, now: now)
        else { return .failure(.rate) }
        let own = sources[source] ?? Usage()
        guard total.connections < configuration.connections else { return .failure(.connections) }
        guard own.connections < configuration.connectionsPerSource else { return .failure(.connectionsPerSource) }
        guard total.halfOpen < configuration.halfOpen else { return .failure(.halfOpen) }
        guard own.halfOpen < configuration.halfOpenPerSource else { return .failure(.halfOpenPerSource) }
        let ticket = ConnectionTicket(number: number())
        connections[ticket] = Connection(source: source)
        count(source) {
            $0.connections += 1
            $0.halfOpen += 1
        }
        return .success(ticket)
    }

    /// Its Start-Control-Connection-Request has been accepted.
    public mutating func connectionStarted(_ ticket: ConnectionTicket) {
        guard let connection = connections[ticket], connection.isHalfOpen else { return }
        connections[ticket]?.isHalfOpen = false
        count(connection.source) { $0.halfOpen -= 1 }
    }

    /// Gives back its calls as well.
    public mutating func connectionClosed(_ ticket: ConnectionTicket) {
        guard let connection = connections.removeValue(forKey: ticket) else { return }
        count(connection.source) {
            $0.connections -= 1
            if connection.isHalfOpen { $0.halfOpen -= 1 }
            $0.calls -= connection.calls.count
            $0.unauthenticated -= connection.calls.count { !$0.value }
        }
    }

    // ---- calls ----

    public mutating func admitCall(on ticket: ConnectionTicket, now: ContinuousClock.Instant) -> Result<CallTicket, Refusal> {
        guard let connection = connections[ticket] else { return .failure(.noConnection) }
        guard
            configuration.callsPerSecondPerSource <= 0
                || callBuckets.take(
                    connection.source, rate: configuration.callsPerSecondPerSource, burst: configuration.callBurstPerSource,
                    capacity: configuration.rememberedSources, now: now)
        else { return .failure(.callRate) }
        let own = sources[connection.source] ?? Usage()
        guard total.calls < configuration.calls else { return .failure(.calls) }
        guard connection.calls.count < configuration.callsPerConnection else { return .failure(.callsPerConnection) }
        guard own.calls < configuration.callsPerSource else { return .failure(.callsPerSource) }
        guard total.unauthenticated < configuration.unauthenticated else { return .failure(.unauthenticated) }
        guard own.unauthenticated < configuration.unauthenticatedPerSource else { return .failure(.unauthenticatedPerSource) }
        let call = CallTicket(connection: ticket, number: number())
        connections[ticket]?.calls[call.number] = false
        count(connection.source) {
            $0.calls += 1
            $0.unauthenticated += 1
        }
        return .success(call)
    }

    public mutating func callAuthenticated(_ call: CallTicket) {
        guard let connection = connections[call.connection], connection.calls[call.number] == false else { return }
        connections[call.connection]?.calls[call.number] = true
        count(connection.source) { $0.unauthenticated -= 1 }
    }

    public mutating func callClosed(_ call: CallTicket) {
        guard let connection = connections[call.connection], let authenticated = connection.calls[call.number] else { return }
        connections[call.connection]?.calls[call.number] = nil
        count(connection.source) {
            $0.calls -= 1
            if !authenticated { $0.unauthenticated -= 1 }
        }
    }

    // ---- inside ----

    private static func source(_ address: IPAddress) -> IPPrefix {
        guard address.family == .v6, let network = IPPrefix(containing: address, length: 64) else { return IPPrefix(address) }
        return network
    }

    private mutating func number() -> UInt64 {
        defer { nextNumber += 1 }
        return nextNumber
    }

    private mutating func count(_ source: IPPrefix, _ change: (inout Usage) -> Void) {
        change(&total)
        var own = sources[source] ?? Usage()
        change(&own)
        sources[source] = own == Usage() ? nil : own
    }
}

/// One token bucket for each source that has used some of its tokens lately. A full bucket is the same as none, so those are
/// forgotten first.
struct TokenBuckets: Sendable {
    private struct Bucket: Sendable {
        var tokens: Double
        var filledAt: ContinuousClock.Instant
    }

    private var buckets: [IPPrefix: Bucket] = [:]
    private var lastSweep: ContinuousClock.Instant?

    var count: Int { buckets.count }

    /// False if the source has no token left.
    mutating func take(
        _ source: IPPrefix, rate: Double, burst: Double, capacity: Int, now: ContinuousClock.Instant
    ) -> Bool {
        let known = buckets[source]
        var tokens = known.map { Self.tokens($0, rate: rate, burst: burst, now: now) } ?? burst
        guard tokens >= 1 else { return false }
        tokens -= 1
        if known == nil { makeRoom(rate: rate, burst: burst, capacity: capacity, now: now) }
        buckets[source] = Bucket(tokens: tokens, filledAt: now)
        return true
    }

    /// At most one sweep a second: between two, a crowd of new sources costs each of them no more than one eviction.
    private mutating func makeRoom(rate: Double, burst: Double, capacity: Int, now: ContinuousClock.Instant) {
        guard buckets.count >= max(capacity, 1) else { return }
        if lastSweep.map({ now - $0 >= .seconds(1) }) ?? true {
            lastSweep = now
            buckets = buckets.filter { Self.tokens($0.value, rate: rate, burst: burst, now: now) < burst }
        }
        while buckets.count >= max(capacity, 1), let victim = buckets.first?.key { buckets[victim] = nil }
    }

    private static func tokens(_ bucket: Bucket, rate: Double, burst: Double, now: ContinuousClock.Instant) -> Double {
        min(burst, bucket.tokens + max(0, (now - bucket.filledAt) / .seconds(1)) * rate)
    }
}
