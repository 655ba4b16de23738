import Testing

@testable import PPP

@Suite struct CCPTests {
    private func policy(_ encryption: EncryptionPolicy = EncryptionPolicy()) -> (CCPPolicy, RandomSource) {
        var configuration = PPPConfiguration(role: .server)
        configuration.encryption = encryption
        return (CCPPolicy(configuration: configuration), RandomSource(SeededGenerator(4)))
    }
    private func mppe(_ bits: UInt32) -> ConfigurationOption { ConfigurationOption(type: 18, bits) }

    private static let all: MPPEStrengths = [.bits40, .bits56, .bits128]

    /// The peer's bits, what the configuration allows, and what we answer: nil for an Ack, else the Nak.
    @Test(arguments: [
        (UInt32(0x0100_0040), MPPEStrengths.bits128, false, UInt32?.none),
        (0x0100_0060, .bits128, false, 0x0100_0040),  // two strengths
        (0x0100_00E1, .bits128, false, 0x0100_0040),  // Windows: all strengths and MPPC
        (0x0100_0041, .bits128, false, 0x0100_0040),  // MPPC
        (0x0100_0050, .bits128, false, 0x0100_0040),  // the obsolete bit
        (0x0000_0040, .bits128, false, 0x0100_0040),  // stateful
        (0x0000_0040, .bits128, true, nil),
        (0x0100_0040, .bits128, true, nil),
        (0x0100_0020, .bits128, false, 0x0100_0040),  // too weak
        (0x0100_0020, all, false, nil),
        (0x0100_0080, all, false, nil),
        (0x0100_00A0, all, false, 0x0100_0080),  // the best of what it knows
        (0x0100_0040, .bits40, false, 0x0100_0020),
        (0x0100_0000, .bits128, false, 0x0100_0040),  // no strength at all
        (0x0000_0001, .bits128, false, 0x0100_0040),  // MPPC alone
    ]) func `the peer's request`(bits: UInt32, strengths: MPPEStrengths, stateful: Bool, nak: UInt32?) {
        var (policy, random) = policy(EncryptionPolicy(strengths: strengths, allowsStateful: stateful))
        policy.restart(random: &random)
        let judgement = policy.judge([mppe(bits)], random: &random)
        #expect(judgement == (nak.map { .nak([mppe($0)]) } ?? .ack))
        #expect((policy.transmit == nil) == (nak != nil))
        if nak == nil { #expect(policy.transmit.map(CCPPolicy.bits) == bits) }
    }

    @Test func `other compression is rejected, MPPE beside it stays for the next round`() {
        var (policy, random) = policy()
        let deflate = ConfigurationOption(type: 26, data: [0x78, 0])
        #expect(policy.judge([deflate, mppe(0x0100_0040)], random: &random) == .reject([deflate]))
        #expect(policy.judge([ConfigurationOption(type: 18, data: [1])], random: &random) == .reject([ConfigurationOption(type: 18, data: [1])]))
    }

    @Test func `no option at all: asked to think again only if encryption is required`() {
        var (required, random) = policy()
        #expect(required.judge([], random: &random) == .nak([mppe(0x0100_0040)]))
        var (optional, _) = policy(EncryptionPolicy(mode: .optional))
        #expect(optional.judge([], random: &random) == .ack)
    }

    @Test func `our request names the best strength alone, stateless`() {
        let (policy, _) = policy(EncryptionPolicy(strengths: Self.all))
        #expect(policy.request() == [mppe(0x0100_0040)])
    }

    @Test func `a Nak moves to a weaker strength only if it is allowed`() {
        var (wide, random) = policy(EncryptionPolicy(strengths: Self.all))
        wide.naked([mppe(0x0100_0020)], random: &random)
        #expect(wide.request() == [mppe(0x0100_0020)] && !wide.refused)
        wide.acknowledged(wide.request())
        #expect(wide.receive == CCPPolicy.Agreement(bits: 40, stateless: true))
        var (strict, _) = policy()
        strict.naked([mppe(0x0100_0020)], random: &random)
        #expect(strict.refused && strict.request().isEmpty)
    }

    @Test func `a Nak towards stateful is followed only if it is allowed`() {
        var (strict, random) = policy()
        strict.naked([mppe(0x0000_0040)], random: &random)
        #expect(strict.request() == [mppe(0x0100_0040)])
        var (lax, _) = policy(EncryptionPolicy(allowsStateful: true))
        lax.naked([mppe(0x0000_0040)], random: &random)
        #expect(lax.request() == [mppe(0x0000_0040)])
    }

    @Test func `stateful and stateless may differ by direction`() {
        var bench = Bench { $0.encryption.allowsStateful = true }
        bench.openLink()
        bench.authenticate()
        bench.ask(PPPProtocol.ccp, [mppe(0x0000_0040)])
        #expect(bench.last.contains(.setKey(.receive, MPPEParameters(bits: 128, stateless: true, startKey: serverKeys.receive))))
        bench.acknowledge(PPPProtocol.ccp)
        #expect(bench.last.contains(.setKey(.transmit, MPPEParameters(bits: 128, stateless: false, startKey: serverKeys.send))))
    }

    @Test func `a Nak after our Ack changes the receive key before the new request leaves`() throws {
        var bench = Bench { $0.encryption.strengths = [.bits40, .bits128] }
        bench.openLink()
        bench.authenticate()
        bench.ask(PPPProtocol.ccp, [mppe(0x0100_0020)])
        #expect(bench.last.contains(.setKey(.receive, MPPEParameters(bits: 128, stateless: true, startKey: serverKeys.receive))))
        let request = bench.request(PPPProtocol.ccp)
        bench.receive(PPPProtocol.ccp, code: 3, id: request.identifier, mppe(0x0100_0020).bytes)
        let actions = bench.last.filter { if case .note = $0 { false } else { true } }
        #expect(actions.first == .setKey(.receive, MPPEParameters(bits: 40, stateless: true, startKey: serverKeys.receive)))
        #expect(Array(actions.dropFirst()).frames(PPPProtocol.ccp, code: 1).first?.data.elementsEqual(mppe(0x0100_0020).bytes) == true)
        bench.acknowledge(PPPProtocol.ccp)
        #expect(bench.last.contains(.setKey(.transmit, MPPEParameters(bits: 40, stateless: true, startKey: serverKeys.send))))
    }

    @Test func `Reset-Requests that come here are ignored`() {
        var bench = Bench()
        bench.openAll()
        bench.receive(PPPProtocol.ccp, code: 14, id: 1)
        bench.receive(PPPProtocol.ccp, code: 15, id: 1)
        #expect(bench.last.isEmpty)
    }

    @Test func `a peer that Naks forever is not asked forever`() {
        var bench = Bench()
        bench.openLink()
        bench.authenticate()
        var rounds = 0
        while bench.log.frames(PPPProtocol.lcp, code: 5).isEmpty, rounds < 50 {
            rounds += 1
            bench.receive(PPPProtocol.ccp, code: 3, id: bench.request(PPPProtocol.ccp).identifier, mppe(0x0000_0040).bytes)
        }
        #expect(rounds == Limit.naksTaken + 1)
    }
}
