import Addresses
import Testing

@testable import PPTP

private let a = IPAddress("192.0.2.1")!
private let b = IPAddress("192.0.2.2")!
private let c = IPAddress("192.0.2.3")!

private func limits(_ change: (inout AdmissionLimits.Configuration) -> Void) -> AdmissionLimits {
    var configuration = AdmissionLimits.Configuration()
    configuration.attemptsPerSecondPerSource = 0
    configuration.callsPerSecondPerSource = 0
    change(&configuration)
    return AdmissionLimits(configuration: configuration)
}

extension Result {
    fileprivate var refusal: Failure? { if case .failure(let error) = self { error } else { nil } }
}

@Suite struct AdmissionLimitsTests {
    enum Event: Sendable {
        case connect(IPAddress, AdmissionLimits.Refusal?)
        /// By the order of the admitted connections.
        case started(Int)
        case disconnect(Int)
        case call(Int, AdmissionLimits.Refusal?)
        /// By the order of the admitted calls.
        case loggedIn(Int)
        case hangUp(Int)
    }

    struct Row: Sendable, CustomTestStringConvertible {
        let name: String
        let limit: @Sendable (inout AdmissionLimits.Configuration) -> Void
        let events: [Event]
        var testDescription: String { name }
    }

    static let truthTable: [Row] = [
        Row(
            name: "connections, total", limit: { $0.connections = 2 },
            events: [
                .connect(a, nil), .connect(b, nil), .connect(c, .connections), .started(0), .connect(c, .connections),
                .disconnect(0), .connect(c, nil), .connect(c, .connections),
            ]),
        Row(
            name: "connections, per source", limit: { $0.connectionsPerSource = 1 },
            events: [
                .connect(a, nil), .connect(a, .connectionsPerSource), .connect(b, nil), .started(0),
                .connect(a, .connectionsPerSource), .disconnect(0), .connect(a, nil),
            ]),
        Row(
            name: "half-open, total", limit: { $0.halfOpen = 2 },
            events: [
                .connect(a, nil), .connect(b, nil), .connect(c, .halfOpen), .started(0), .connect(c, nil), .connect(c, .halfOpen),
                .disconnect(1), .connect(c, nil), .disconnect(0), .connect(c, .halfOpen),
            ]),
        Row(
            name: "half-open, per source", limit: { $0.halfOpenPerSource = 1 },
            events: [
                .connect(a, nil), .connect(a, .halfOpenPerSource), .connect(b, nil), .started(0), .started(0), .connect(a, nil),
                .connect(a, .halfOpenPerSource),
            ]),
        Row(
            name: "calls, total", limit: { $0.calls = 2 },
            events: [
                .connect(a, nil), .connect(b, nil), .call(0, nil), .call(1, nil), .call(1, .calls), .loggedIn(0),
                .call(0, .calls),
                .hangUp(0), .hangUp(0), .call(0, nil), .call(0, .calls),
            ]),
        Row(
            name: "calls, per connection", limit: { $0.callsPerConnection = 1 },
            events: [
                .connect(a, nil), .connect(a, nil), .call(0, nil), .call(0, .callsPerConnection), .call(1, nil), .hangUp(0),
                .call(0, nil),
            ]),
        Row(
            name: "calls, per source", limit: { $0.callsPerSource = 2 },
            events: [
                .connect(a, nil), .connect(a, nil), .connect(b, nil), .call(0, nil), .call(1, nil), .call(0, .callsPerSource),
                .call(2, nil), .disconnect(1), .call(0, nil), .call(0, .callsPerSource),
            ]),
        Row(
            name: "unauthenticated, total", limit: { $0.unauthenticated = 1 },
            events: [
                .connect(a, nil), .connect(b, nil), .call(0, nil), .call(1, .unauthenticated), .loggedIn(0), .call(1, nil),
                .call(0, .unauthenticated), .hangUp(0), .call(0, .unauthenticated), .hangUp(1), .call(0, nil),
            ]),
        Row(
            name: "unauthenticated, per source", limit: { $0.unauthenticatedPerSource = 1 },
            events: [
                .connect(a, nil), .connect(b, nil), .call(0, nil), .call(0, .unauthenticatedPerSource), .call(1, nil),
                .loggedIn(0),
                .loggedIn(0), .call(0, nil), .call(0, .unauthenticatedPerSource), .disconnect(0),
                .call(1, .unauthenticatedPerSource),
            ]),
        Row(
            name: "closed connection", limit: { _ in },
            events: [
                .connect(a, nil), .call(0, nil), .disconnect(0), .disconnect(0), .started(0), .call(0, .noConnection),
                .loggedIn(0),
                .hangUp(0),
            ]),
    ]

    @Test(arguments: truthTable) func holds(_ row: Row) throws {
        var limits = limits(row.limit)
        var connections: [AdmissionLimits.ConnectionTicket] = []
        var calls: [AdmissionLimits.CallTicket] = []
        for (step, event) in row.events.enumerated() {
            switch event {
            case .connect(let source, let refusal):
                let result = limits.admitConnection(from: source, now: start)
                #expect(result.refusal == refusal, "step \(step)")
                if let ticket = try? result.get() { connections.append(ticket) }
            case .started(let index): limits.connectionStarted(connections[index])
            case .disconnect(let index): limits.connectionClosed(connections[index])
            case .call(let index, let refusal):
                let result = limits.admitCall(on: connections[index], now: start)
                #expect(result.refusal == refusal, "step \(step)")
                if let ticket = try? result.get() { calls.append(ticket) }
            case .loggedIn(let index): limits.callAuthenticated(calls[index])
            case .hangUp(let index): limits.callClosed(calls[index])
            }
        }
        for ticket in connections { limits.connectionClosed(ticket) }
        #expect(limits.total == AdmissionLimits.Usage())
        #expect(limits.memory.sources == 0)
    }

    @Test func callRateCountsOverAllConnectionsOfASource() throws {
        var limits = limits {
            $0.callsPerSecondPerSource = 2
            $0.callBurstPerSource = 3
        }
        let first = try limits.admitConnection(from: a, now: start).get(), second = try limits.admitConnection(from: a, now: start).get()
        let other = try limits.admitConnection(from: b, now: start).get()
        for connection in [first, second, first] { limits.callClosed(try limits.admitCall(on: connection, now: start).get()) }
        #expect(limits.admitCall(on: first, now: start).refusal == .callRate)
        #expect(limits.admitCall(on: second, now: start).refusal == .callRate)
        #expect(limits.admitCall(on: other, now: start).refusal == nil)
        #expect(limits.admitCall(on: second, now: start + .milliseconds(500)).refusal == nil)
        #expect(limits.admitCall(on: second, now: start + .milliseconds(500)).refusal == .callRate)
    }

    @Test func attemptRate() {
        var limits = limits {
            $0.attemptsPerSecondPerSource = 2
            $0.attemptBurstPerSource = 3
        }
        func refusal(_ source: IPAddress, _ seconds: Double) -> AdmissionLimits.Refusal? {
            limits.admitConnection(from: source, now: .at(seconds)).refusal
        }
        #expect((0..<3).allSatisfy { _ in refusal(a, 0) == nil })
        #expect(refusal(a, 0) == .rate)
        #expect(refusal(a, 0.4) == .rate)
        #expect(refusal(b, 0.4) == nil)
        #expect(refusal(a, 0.5) == nil)
        #expect(refusal(a, 0.5) == .rate)
        #expect((0..<3).allSatisfy { _ in refusal(a, 100) == nil })
        #expect(refusal(a, 100) == .rate)
    }

    @Test func refusedAttemptsCostATokenToo() {
        var limits = limits {
            $0.connectionsPerSource = 0
            $0.attemptsPerSecondPerSource = 1
            $0.attemptBurstPerSource = 2
        }
        #expect(
            (0..<3).map { _ in limits.admitConnection(from: a, now: start).refusal } == [
                .connectionsPerSource, .connectionsPerSource, .rate,
            ])
    }

    @Test func oneHostsIPv6AddressesCountTogether() throws {
        var limits = limits { $0.connectionsPerSource = 1 }
        let first = try #require(IPAddress("2001:db8:0:1::1"))
        let neighbour = try #require(IPAddress("2001:db8:0:1:ffff::9"))
        let other = try #require(IPAddress("2001:db8:0:2::1"))
        #expect(limits.admitConnection(from: first, now: start).refusal == nil)
        #expect(limits.admitConnection(from: neighbour, now: start).refusal == .connectionsPerSource)
        #expect(limits.admitConnection(from: other, now: start).refusal == nil)
        #expect(limits.usage(of: neighbour).connections == 1)
    }

    @Test func memoryIsBounded() {
        var limits = limits {
            $0.connections = 10
            $0.attemptsPerSecondPerSource = 1
            $0.attemptBurstPerSource = 2
            $0.rememberedSources = 100
        }
        for number in 0..<5_000 {
            _ = limits.admitConnection(from: IPAddress(v4: 0x0A00_0000 + UInt32(number)), now: .at(Double(number) / 1_000))
            #expect(limits.memory.buckets <= 100)
        }
        #expect(limits.memory.sources == 10)
    }

    @Test func refilledBucketsAreForgottenFirst() {
        var limits = limits {
            $0.attemptsPerSecondPerSource = 1
            $0.attemptBurstPerSource = 2
            $0.rememberedSources = 100
        }
        for number in 0..<99 { _ = limits.admitConnection(from: IPAddress(v4: 0x0A00_0000 + UInt32(number)), now: start) }
        for _ in 0..<2 { _ = limits.admitConnection(from: a, now: .at(5)) }
        _ = limits.admitConnection(from: b, now: .at(5))
        #expect(limits.memory.buckets == 2)
        #expect(limits.admitConnection(from: a, now: .at(5)).refusal == .rate)
    }
}
