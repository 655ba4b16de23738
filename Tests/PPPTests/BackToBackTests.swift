import Addresses
import Testing

@testable import PPP

/// A client and a server, and a network between them that loses, delays, reorders and repeats; both owners are played here.
private struct World {
    enum Side: CaseIterable {
        case client, server
        var other: Side { self == .client ? .server : .client }
    }

    struct Network {
        var loss = 0.0
        var duplication = 0.0
        var delay: ClosedRange<Int> = 5...5  // milliseconds
    }

    struct InFlight {
        var at: ContinuousClock.Instant
        var to: Side
        var number: UInt16
        var payload: [UInt8]
    }

    var client: PPPSession
    var server: PPPSession
    var network: Network
    var random: SeededGenerator
    var now = t0
    var flying: [InFlight] = []
    var later: [(at: ContinuousClock.Instant, side: Side, action: PPPAction)] = []
    var logs: [Side: [PPPAction]] = [.client: [], .server: []]
    var keys: [Side: [KeyDirectionName: MPPEParameters]] = [.client: [:], .server: [:]]
    var isUp: [Side: Bool] = [.client: false, .server: false]
    var rejections = 0

    enum KeyDirectionName { case receive, transmit }

    init(_ client: PPPConfiguration, _ server: PPPConfiguration, network: Network = Network(), seed: UInt64 = 1) {
        self.client = PPPSession(configuration: client, random: SeededGenerator(seed &* 2))
        self.server = PPPSession(configuration: server, random: SeededGenerator(seed &* 2 &+ 1))
        self.network = network
        random = SeededGenerator(seed)
        handle(.server, self.server.start(now: now))
        handle(.client, self.client.start(now: now))
    }

    var trace: [String] = []

    mutating func handle(_ side: Side, _ actions: [PPPAction]) {
        trace += actions.map { "\((now - t0) / .milliseconds(1)) \(side) \($0)" }
        logs[side]! += actions
        for action in actions {
            switch action {
            case .send(let number, let payload):
                if Double.random(in: 0..<1, using: &random) < network.loss { continue }
                let copies = Double.random(in: 0..<1, using: &random) < network.duplication ? 2 : 1
                for _ in 0..<copies {
                    let delay = Int.random(in: network.delay, using: &random)
                    flying.append(InFlight(at: now + .milliseconds(delay), to: side.other, number: number, payload: payload))
                }
            case .authenticate, .allocateAddress, .challenged, .verify:
                later.append((now + .milliseconds(Int.random(in: 0...40, using: &random)), side, action))
            case .setKey(let direction, let parameters):
                keys[side]![direction == .receive ? .receive : .transmit] = parameters
            case .networkUp: isUp[side] = true
            case .networkDown: isUp[side] = false
            default: break
            }
        }
    }

    /// The owner's answer, some time after it was asked.
    mutating func answer(_ side: Side, _ action: PPPAction) {
        switch action {
        case .authenticate(let credentials):
            let verdict: AuthenticationVerdict
            if rejections > 0 {
                rejections -= 1
                verdict = .reject(code: 691, retry: true, message: "no")
            } else {
                verdict = Bench.accept
            }
            handle(side, server.authenticated(identifier: credentials.identifier, verdict, now: now))
        case .allocateAddress: handle(side, server.assign(assignment, now: now))
        case .challenged(let challenge):
            let actions = client.respond(
                identifier: challenge.identifier, peerChallenge: [UInt8](repeating: 3, count: 16),
                ntResponse: Array(challenge.challenge.prefix(8)) + [UInt8](repeating: 4, count: 16), userName: Array("lab".utf8), now: now)
            handle(side, actions)
        case .verify: handle(side, client.verifiedSuccess(keys: clientKeys, now: now))
        default: break
        }
    }

    mutating func deliver(_ side: Side, _ number: UInt16, _ payload: [UInt8]) {
        handle(
            side,
            side == .client
                ? client.receive(protocol: number, payload: payload, now: now)
                : server.receive(protocol: number, payload: payload, now: now))
    }

    /// One event, the next in time. False when nothing happens before `end`.
    mutating func step(until end: ContinuousClock.Instant) -> Bool {
        let packet = flying.indices.min { flying[$0].at < flying[$1].at }
        let question = later.indices.min { later[$0].at < later[$1].at }
        let times = [packet.map { flying[$0].at }, question.map { later[$0].at }, client.deadline, server.deadline]
        guard let next = times.compactMap({ $0 }).min(), next <= end else { return false }
        now = max(now, next)
        if let packet, flying[packet].at == next {
            let frame = flying.remove(at: packet)
            deliver(frame.to, frame.number, frame.payload)
        } else if let question, later[question].at == next {
            let (_, side, action) = later.remove(at: question)
            answer(side, action)
        } else if client.deadline == next {
            handle(.client, client.timer(now: now))
        } else {
            handle(.server, server.timer(now: now))
        }
        return true
    }

    mutating func run(for duration: Duration, until condition: (World) -> Bool = { _ in false }) {
        let end = now + duration
        var events = 0
        while !condition(self), events < 20_000, step(until: end) { events += 1 }
        #expect(events < 20_000, "the two talk without end")
    }

    /// What happened, for a failing test's message.
    var story: String { trace.suffix(60).joined(separator: "\n") }

    var bothUp: Bool { isUp[.client]! && isUp[.server]! }
    /// Each can read what the other writes.
    var keysAgree: Bool {
        keys[.client]![.transmit] != nil && keys[.client]![.transmit] == keys[.server]![.receive]
            && keys[.server]![.transmit] != nil && keys[.server]![.transmit] == keys[.client]![.receive]
    }
    func termination(_ side: Side) -> TerminationReason? { logs[side]!.termination }
}

private func server(_ adjust: (inout PPPConfiguration) -> Void = { _ in }) -> PPPConfiguration {
    var configuration = PPPConfiguration(role: .server)
    adjust(&configuration)
    return configuration
}

private let profiles: [(name: String, configuration: PPPConfiguration)] = [
    ("windows", .windowsClient()), ("pppd", .pppdClient()), ("embedded", .embeddedClient()),
]

@Suite struct BackToBackTests {
    @Test(arguments: profiles.indices) func `each kind of client comes up within a second, and hangs up`(profile: Int) throws {
        var world = World(profiles[profile].configuration, server())
        world.run(for: .seconds(1)) { $0.bothUp && $0.keysAgree }
        #expect(world.bothUp && world.keysAgree)
        let up = try #require(world.logs[.client]!.networkUp)
        #expect(up.local == assignment.peer && up.peer == assignment.local && up.encrypted)
        #expect(up.dns == (profiles[profile].name == "windows" ? assignment.dns : []))
        world.handle(.client, world.client.close(reason: .administrative("bye"), now: world.now))
        world.run(for: .seconds(5))
        #expect(world.termination(.client) == .administrative("bye"))
        #expect(world.termination(.server) == .peerTerminated(Array("bye".utf8)))
    }

    @Test func `what the clients are recognised by is noted`() {
        var windows = World(.windowsClient(hostName: "TILL7"), server())
        windows.run(for: .seconds(1))
        let notes = windows.logs[.server]!.notes
        #expect(notes.contains(.identification(Array("MSRASV5.20".utf8))) && notes.contains(.identification(Array("MSRAS-0-TILL7".utf8))))
        #expect(notes.contains { if case .peerAsks(PPPProtocol.lcp, let options) = $0 { options.map(\.type) == [1, 5, 7, 8, 13, 17, 19] } else { false } })
        var pppd = World(.pppdClient(), server())
        pppd.run(for: .seconds(1))
        #expect(pppd.logs[.server]!.notes.contains(.rejectedProtocol(PPPProtocol.ipv6cp)))
        #expect(pppd.logs[.client]!.notes.contains(.peerRejectedProtocol(PPPProtocol.ipv6cp)))
        #expect(pppd.logs[.client]!.notes.contains(.peerRefusedOption(protocol: PPPProtocol.ipcp, type: 2)))
    }

    @Test func `a wrong password may be tried again`() {
        var world = World(.windowsClient(), server())
        world.rejections = 2
        world.run(for: .seconds(2)) { $0.bothUp }
        #expect(world.bothUp)
        #expect(world.logs[.client]!.count { if case .authenticationFailed = $0 { true } else { false } } == 2)
    }

    @Test func `but not for ever`() {
        var world = World(.windowsClient(), server())
        world.rejections = 3
        world.run(for: .seconds(20))
        #expect(world.termination(.server) == .authenticationFailed)
        #expect(world.termination(.client) == .authenticationFailed)
        #expect(world.logs[.server]!.networkUp == nil)
    }

    @Test func `stateful for a client that asks, where it is allowed`() {
        var asking = PPPConfiguration.pppdClient()
        asking.encryption.requestsStateful = true
        asking.encryption.allowsStateful = true
        var strict = World(asking, server())
        strict.run(for: .seconds(2))
        #expect(strict.keysAgree && strict.keys[.server]![.transmit]?.stateless == true)
        var lax = World(asking, server { $0.encryption.allowsStateful = true })
        lax.run(for: .seconds(2))
        #expect(lax.keysAgree && lax.keys[.server]![.transmit]?.stateless == false && lax.keys[.server]![.receive]?.stateless == true)
    }

    @Test(arguments: [MPPEStrengths.bits40, .bits56, .bits128]) func `each strength`(strength: MPPEStrengths) {
        var weak = PPPConfiguration.embeddedClient()
        weak.encryption.strengths = strength
        var world = World(weak, server { $0.encryption.strengths = [.bits40, .bits56, .bits128] })
        world.run(for: .seconds(2))
        #expect(world.bothUp && world.keysAgree)
        #expect(world.keys[.server]![.transmit]?.bits == (strength == .bits40 ? 40 : strength == .bits56 ? 56 : 128))
    }

    @Test func `no strength in common`() {
        var weak = PPPConfiguration.embeddedClient()
        weak.encryption.strengths = .bits40
        var world = World(weak, server())
        world.run(for: .seconds(40))
        #expect(world.logs[.server]!.networkUp == nil && world.termination(.server) != nil && world.termination(.client) != nil)
    }

    @Test func `the keep-alive goes both ways and disturbs nothing`() {
        var world = World(.pppdClient(), server { $0.rechallengeInterval = .seconds(60) })
        world.run(for: .seconds(600))
        #expect(world.bothUp && world.keysAgree)
        #expect(world.logs[.server]!.frames(PPPProtocol.lcp, code: 9).count >= 29)
        #expect(world.logs[.client]!.frames(PPPProtocol.lcp, code: 9).count >= 19)
        #expect(world.logs[.server]!.notes.count { $0 == .reauthenticated } >= 9)
        #expect(!world.logs[.server]!.contains(.networkDown))
    }

    @Test func `decryption lost on either side is mended`() {
        for side in [World.Side.server, .client] {
            var world = World(.windowsClient(), server())
            world.run(for: .seconds(1))
            if side == .server {
                world.handle(.server, world.server.decryptionLost(now: world.now))
            } else {
                world.handle(.client, world.client.decryptionLost(now: world.now))
            }
            #expect(!world.keysAgree)
            world.run(for: .seconds(1))
            #expect(world.bothUp && world.keysAgree, "\(world.story)")
            #expect(!world.logs[.server]!.contains(.networkDown) && !world.logs[.client]!.contains(.networkDown))
        }
    }

    /// Loss, duplicates and reordering as no GRE window would let them through: the two still agree, or end cleanly.
    @Test(arguments: profiles.indices, UInt64(1)...40) func `bad networks`(profile: Int, seed: UInt64) {
        var configuration = profiles[profile].configuration
        configuration.authenticationTimeout = .seconds(120)
        configuration.negotiationTimeout = .seconds(120)
        let patient = server {
            $0.authenticationTimeout = .seconds(120)
            $0.negotiationTimeout = .seconds(120)
            $0.echoInterval = nil
        }
        let network = World.Network(loss: 0.15, duplication: 0.1, delay: 5...120)
        var world = World(configuration, patient, network: network, seed: seed)
        world.run(for: .seconds(240)) { $0.bothUp && $0.keysAgree }
        #expect(world.bothUp && world.keysAgree, "\(profiles[profile].name) \(seed):\n\(world.story)")
        // Once everything in flight has landed they still agree.
        world.network = World.Network()
        world.run(for: .seconds(20))
        #expect(world.bothUp && world.keysAgree)
    }

    @Test(arguments: UInt64(1)...20) func `a link of 1.2 seconds' round trip`(seed: UInt64) {
        var world = World(.pppdClient(), server(), network: World.Network(delay: 600...600), seed: seed)
        world.run(for: .seconds(20)) { $0.bothUp && $0.keysAgree }
        #expect(world.bothUp && world.keysAgree)
        #expect(world.logs[.server]!.count { if case .linkOptions = $0 { true } else { false } } == 1)
    }

    /// Whatever is sent, the invariants of the action list hold.
    @Test(arguments: UInt64(1)...60) func `garbage between good packets`(seed: UInt64) {
        var random = SeededGenerator(seed)
        var world = World(.windowsClient(), server(), network: World.Network(delay: 5...50), seed: seed)
        for _ in 0..<200 {
            _ = world.step(until: world.now + .seconds(1))
            let recorded = world.logs.values.flatMap { $0 }
            guard case .send(let number, var payload)? = recorded.randomElement(using: &random), !payload.isEmpty else { continue }
            for _ in 0..<Int.random(in: 0...3, using: &random) {
                payload[Int.random(in: 0..<payload.count, using: &random)] = UInt8.random(in: 0...255, using: &random)
            }
            world.deliver(World.Side.allCases.randomElement(using: &random)!, number, payload)
        }
        for side in World.Side.allCases {
            var up = false
            var live: Set<World.KeyDirectionName> = []
            var ended = false
            for action in world.logs[side]! {
                #expect(!ended, "an action after the end")
                switch action {
                case .networkUp:
                    #expect(!up && live.count == 2)
                    up = true
                case .networkDown:
                    #expect(up)
                    up = false
                case .setKey(let direction, let parameters):
                    let name = direction == .receive ? World.KeyDirectionName.receive : .transmit
                    if parameters == nil { live.remove(name) } else { live.insert(name) }
                case .terminated:
                    #expect(!up && live.isEmpty)
                    ended = true
                default: break
                }
            }
        }
    }
}
