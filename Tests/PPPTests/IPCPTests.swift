import Addresses
import Testing

@testable import PPP

@Suite struct IPCPTests {
    private func server(_ given: AddressAssignment = assignment) -> (IPCPPolicy, RandomSource) {
        var random = RandomSource(SeededGenerator(5))
        var policy = IPCPPolicy(configuration: PPPConfiguration(role: .server))
        policy.assignment = given
        policy.restart(random: &random)
        return (policy, random)
    }
    private func parse(_ text: String) -> [ConfigurationOption] { ConfigurationOption.parse(hex(text)[...])! }

    @Test func `our request is our address`() {
        #expect(server().0.request().bytes == hex("0306 0a080001"))
    }

    @Test func `an address that is not the assigned one is Nak'ed to it`() {
        for asked in ["0306 00000000", "0306 c0a80105"] {
            var (policy, random) = server()
            #expect(policy.judge(parse(asked), random: &random) == .nak(parse("0306 0a08000a")))
            #expect(policy.addresses == nil)
        }
        var (policy, random) = server()
        #expect(policy.judge(parse("0306 0a08000a"), random: &random) == .ack)
        #expect(policy.addresses?.peer == assignment.peer)
    }

    @Test func `a request without an address is told it`() {
        var (policy, random) = server()
        #expect(policy.judge([], random: &random) == .nak(parse("0306 0a08000a")))
    }

    @Test func `name servers that we have are told, the others rejected`() {
        var (policy, random) = server()
        let windows = parse("0306 00000000 8106 00000000 8206 00000000 8306 00000000 8406 00000000")
        #expect(policy.judge(windows, random: &random) == .reject(parse("8206 00000000 8306 00000000 8406 00000000")))
        let rest = parse("0306 00000000 8106 00000000")
        #expect(policy.judge(rest, random: &random) == .nak(parse("0306 0a08000a 8106 0a080035")))
        #expect(policy.judge(parse("0306 0a08000a 8106 0a080035"), random: &random) == .ack)
    }

    @Test func `two of each are told`() {
        var given = assignment
        given.dns = [IPAddress("10.0.0.1")!, IPAddress("10.0.0.2")!]
        given.nbns = [IPAddress("10.0.0.3")!, IPAddress("10.0.0.4")!]
        var (policy, random) = server(given)
        let asked = parse("0306 0a08000a 8106 00000000 8206 00000000 8306 00000000 8406 00000000")
        #expect(
            policy.judge(asked, random: &random) == .nak(parse("8106 0a000001 8206 0a000003 8306 0a000002 8406 0a000004")))
    }

    @Test func `header compression, IP-Addresses and wrong lengths are rejected`() {
        for text in ["0206 002d0f01", "010a 0000000000000000", "0304 0a08", "8103 00", "9004 0000"] {
            var (policy, random) = server()
            var bytes = hex(text)
            bytes[1] = UInt8(bytes.count)
            let options = ConfigurationOption.parse(bytes[...])!
            #expect(policy.judge(options, random: &random) == .reject(options))
        }
    }

    @Test func `the client takes what the server says`() {
        var configuration = PPPConfiguration(role: .client)
        configuration.requestsNameServers = true
        configuration.requestsHeaderCompression = true
        var random = RandomSource(SeededGenerator(5))
        var policy = IPCPPolicy(configuration: configuration)
        policy.restart(random: &random)
        #expect(policy.request().map(\.type) == [2, 3, 129, 130, 131, 132])
        policy.rejected(parse("0206 002d0f01 8206 00000000 8306 00000000 8406 00000000"))
        policy.naked(parse("0306 0a08000a 8106 0a080035"), random: &random)
        #expect(policy.request().bytes == hex("0306 0a08000a 8106 0a080035"))
        policy.acknowledged(policy.request())
        #expect(policy.judge(parse("0306 0a080001"), random: &random) == .ack)
        #expect(policy.addresses?.local == assignment.peer && policy.addresses?.peer == assignment.local)
        #expect(policy.dns == assignment.dns && policy.nbns.isEmpty)
        #expect(policy.judge(parse("0306 00000000"), random: &random) == .reject(parse("0306 00000000")))
    }

    @Test func `a client that insists on no address does not get a network`() {
        var bench = Bench()
        bench.openLink()
        bench.authenticate()
        bench.openEncryption()
        bench.note(bench.session.assign(assignment, now: bench.now))
        bench.acknowledge(PPPProtocol.ipcp)
        for id in 1...6 { bench.ask(PPPProtocol.ipcp, id: UInt8(id), []) }
        bench.advance(.seconds(7))
        #expect(bench.log.networkUp == nil && bench.log.termination == .networkRefused)
    }

    @Test func `a client that will not hear of our address gets its network all the same`() {
        var bench = Bench()
        bench.openLink()
        bench.authenticate()
        bench.openEncryption()
        bench.note(bench.session.assign(assignment, now: bench.now))
        let request = bench.request(PPPProtocol.ipcp)
        bench.receive(PPPProtocol.ipcp, code: 4, id: request.identifier, Array(request.data))
        bench.acknowledge(PPPProtocol.ipcp)
        bench.ask(PPPProtocol.ipcp, parse("0306 0a08000a"))
        #expect(bench.last.networkUp?.local == assignment.local)
    }
}
