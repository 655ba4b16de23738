import Testing

@testable import PPP

private let lcp = PPPProtocol.lcp

@Suite struct LCPTests {
    private func policy(_ adjust: (inout PPPConfiguration) -> Void = { _ in }) -> (LCPPolicy, RandomSource) {
        var configuration = PPPConfiguration(role: .server)
        adjust(&configuration)
        var random = RandomSource(SeededGenerator(3))
        var policy = LCPPolicy(configuration: configuration)
        policy.restart(random: &random)
        return (policy, random)
    }
    private func judge(_ options: [ConfigurationOption], _ adjust: (inout PPPConfiguration) -> Void = { _ in }) -> Judgement {
        var (policy, random) = policy(adjust)
        return policy.judge(options, random: &random)
    }

    @Test func `our request: MRU, MS-CHAPv2, magic, PFC, ACFC`() {
        let (policy, _) = policy()
        let request = policy.request()
        #expect(request.map(\.type) == [1, 3, 5, 7, 8])
        #expect(request[0].bytes == hex("0104 0578") && request[1].bytes == hex("0305 c223 81"))
        #expect(request[3].bytes == hex("0702") && request[4].bytes == hex("0802"))
    }

    @Test func `what pppd asks for is acknowledged and remembered`() {
        var (policy, random) = policy()
        let options = ConfigurationOption.parse(hex("01040578 020600000000 0506aca3e3e1 0702 0802")[...])!
        #expect(policy.judge(options, random: &random) == .ack)
        #expect(policy.options == LinkOptions(peerMRU: 1400, localMRU: 1500, sendACFC: true, sendPFC: true))
    }

    @Test func `Windows' callback and multilink options are rejected, unchanged and in order`() {
        let options = ConfigurationOption.parse(hex("01040578 0506aca3e3e1 0702 0802 0d0306 1104064e 130901aabbccddeeff")[...])!
        #expect(judge(options) == .reject(Array(options.suffix(3))))
    }

    @Test(arguments: [
        "0103ff", "0206000000", "0304c0", "0504ffff", "070300", "080300", "0406c02500000000"
    ].map { $0 }) func `options of a wrong length, and those that we never take, are rejected`(text: String) {
        var bytes = hex(text)
        bytes[1] = UInt8(bytes.count)
        let options = ConfigurationOption.parse(bytes[...])!
        #expect(judge(options) == .reject(options))
    }

    @Test func `an option that comes twice is rejected`() {
        let magic = ConfigurationOption(type: 5, UInt32(7))
        let other = ConfigurationOption(type: 5, UInt32(8))
        #expect(judge([magic, other]) == .reject([other]))
    }

    @Test func `a server does not authenticate itself`() {
        let options = [LCPPolicy.option(.msCHAPv2)]
        #expect(judge(options) == .reject(options))
    }

    @Test func `a client takes MS-CHAPv2 and asks for it when something else is demanded`() {
        #expect(judge([LCPPolicy.option(.msCHAPv2)]) { $0.role = .client } == .ack)
        #expect(judge([LCPPolicy.option(.pap)]) { $0.role = .client } == .nak([LCPPolicy.option(.msCHAPv2)]))
        #expect(
            judge([LCPPolicy.option(.pap)]) {
                $0.role = .client
                $0.authentication = [.pap]
            } == .reject([LCPPolicy.option(.pap)]))
    }

    @Test func `magic 0 and our own magic are Nak'ed with another number`() throws {
        for mine in [false, true] {
            var (policy, random) = policy()
            let own = policy.localMagic
            let value = mine ? own : 0
            guard case .nak(let wanted) = policy.judge([ConfigurationOption(type: 5, value)], random: &random) else {
                Issue.record("not Nak'ed")
                return
            }
            let suggested = try #require(wanted.first?.uint32)
            #expect(wanted.count == 1 && suggested != 0 && suggested != own)
            #expect(policy.loops == (mine ? 1 : 0))
        }
    }

    @Test func `a tiny MRU is Nak'ed with the smallest that we take`() {
        #expect(judge([ConfigurationOption(type: 1, UInt16(100))]) == .nak([ConfigurationOption(type: 1, UInt16(128))]))
    }

    @Test func `an embedded client's Nak of our MRU is taken if it makes sense`() {
        var (policy, random) = policy()
        policy.naked([ConfigurationOption(type: 1, UInt16(576))], random: &random)
        #expect(policy.request().first?.uint16 == 576)
        policy.acknowledged(policy.request())
        #expect(policy.options.localMRU == 576)
        policy.naked([ConfigurationOption(type: 1, UInt16(9000))], random: &random)
        #expect(policy.request().map(\.type) == [3, 5, 7, 8])
    }

    @Test func `rejected options are left out of the next request`() {
        var (policy, _) = policy()
        let request = policy.request()
        policy.rejected(request.filter { $0.type != 3 })
        #expect(policy.request().map(\.type) == [3])
        #expect(policy.localMagic == 0 && !policy.authenticationRefused)
    }

    @Test func `a Nak of MS-CHAPv2 moves to what the configuration also allows`() {
        var (policy, random) = policy { $0.authentication = [.msCHAPv2, .msCHAPv1, .pap] }
        policy.naked([LCPPolicy.option(.pap)], random: &random)
        #expect(policy.method == .pap)
        policy.naked([ConfigurationOption(type: 3, data: hex("c227"))], random: &random)
        #expect(policy.method == .msCHAPv1)
        policy.naked([ConfigurationOption(type: 3, data: hex("c227"))], random: &random)
        #expect(policy.authenticationRefused)
    }

    @Test(arguments: [UInt8(3), 4]) func `a client that refuses MS-CHAPv2 is told to go, and not asked without it`(code: UInt8) {
        var bench = Bench()
        bench.receive(lcp, code: code, id: bench.request(lcp).identifier, LCPPolicy.option(.msCHAPv2).bytes)
        #expect(bench.last.frames(lcp).map(\.code) == [5])
        bench.receive(lcp, code: 6, id: bench.last.frames(lcp)[0].identifier)
        #expect(bench.last == [.terminated(.peerRefusesAuthentication)])
    }

    @Test func `a line that returns everything is a loop`() {
        var bench = Bench()
        for _ in 0..<100 where bench.log.termination == nil {
            let frames = bench.last.frames(lcp)
            if frames.isEmpty { bench.advance(.seconds(3)) }
            for frame in frames { bench.receive(lcp, frame) }
        }
        bench.advance(.seconds(10))
        #expect(bench.log.termination == .loopedBack)
    }

    /// The peer has just attached to its end: what we sent before is most likely lost. Before our Ack, which would open its side.
    @Test func `our request is sent again, once, before the Ack, when the peer is heard`() {
        var bench = Bench()
        let request = bench.request(lcp)
        bench.ask(lcp, id: 1, [])
        #expect(bench.last.frames(lcp).map(\.code) == [1, 2])
        #expect(bench.last.frames(lcp)[0] == request, "the same one: two answers to it are one")
        bench.ask(lcp, id: 1, [])
        #expect(bench.last.frames(lcp).map(\.code) == [2])
        bench.receive(lcp, code: 2, id: request.identifier, Array(request.data))
        let up = bench.last
        bench.receive(lcp, code: 2, id: request.identifier, Array(request.data))
        #expect(!up.frames(PPPProtocol.chap).isEmpty && bench.last.frames(lcp).isEmpty, "the second Ack changes nothing")
    }

    @Test func `after Max-Failure Naks the option is rejected`() {
        var bench = Bench()
        for id in 1...5 {
            bench.ask(lcp, id: UInt8(id), [ConfigurationOption(type: 5, UInt32(0))])
            // With the first sign of the peer our own request goes out once more.
            #expect(bench.last.frames(lcp).map(\.code) == (id == 1 ? [1, 3] : [3]))
        }
        bench.ask(lcp, id: 6, [ConfigurationOption(type: 5, UInt32(0))])
        #expect(bench.last.frames(lcp) == [ControlPacket(code: 4, identifier: 6, data: hex("0506 00000000"))])
        bench.ask(lcp, id: 7, [])
        #expect(bench.last.frames(lcp).map(\.code) == [2])
    }
}
