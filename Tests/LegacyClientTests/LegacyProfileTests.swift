import Addresses
import PPP
import PPTP
import Testing

@testable import LegacyClient

private func bytes(_ hex: String) -> [UInt8] {
    let digits = hex.filter { !$0.isWhitespace }.compactMap(\.hexDigitValue)
    return stride(from: 0, to: digits.count - 1, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}

/// What pptp-linux 1.10.0 and pppd 2.4.9 sent in a recorded session, byte for byte.
@Suite("pppd's profile against a recorded session")
struct RecordedProfileTests {
    static let startRequest = bytes(
        "009c00011a2b3c4d00010000010000000000000300000003ffff00016c6f63616c" + String(repeating: "00", count: 59) + "63616e616e69616e"
            + String(repeating: "00", count: 56))
    static let callRequest = bytes(
        "00a800011a2b3c4d00070000f49c000000000960009896800000000300000003000300000000" + String(repeating: "00", count: 130))
    static let callClear = bytes("001000011a2b3c4d000c0000f49c0000")

    @Test func controlConnection() throws {
        var connection = ClientConnection(profile: LegacyProfile.pppd.control)
        var now = ContinuousClock.now
        #expect(sent(connection.start(now: now)) == Self.startRequest)
        let opened = connection.openCall(0xF49C, now: now)
        #expect(opened)
        var server = ServerConnection(now: now)
        for case .send(let reply) in server.receive(Self.startRequest, now: now) {
            // It waits a second before it calls.
            #expect(sent(connection.received(reply, now: now)).isEmpty)
        }
        #expect(connection.nextDeadline == now + .seconds(1))
        now += .seconds(1)
        let request = sent(connection.timer(now: now))
        #expect(request == Self.callRequest)
        for case .openCall(let handle, _) in server.receive(request, now: now) {
            for case .send(let reply) in server.acceptCall(handle, callID: 7) ?? [] { _ = connection.received(reply, now: now) }
        }
        // The farewell: clear and close, no Stop-Request.
        let farewell = connection.stop(now: now)
        #expect(sent(farewell) == Self.callClear)
        #expect(farewell.last == .close(.stopped))
    }

    private func sent(_ actions: [ClientConnection.Action]) -> [UInt8] {
        actions.flatMap { if case .send(let message) = $0 { message.encoded() } else { [UInt8]() } }
    }

    @Test func linkAndNetwork() throws {
        var link = Link(.pppd)
        link.start()
        let lcp = try #require(link.sent(PPPProtocol.lcp, code: 1).first)
        // MRU 1400, ACCM 0, a magic number of its own, PFC, ACFC.
        #expect(lcp.options.count == 20)
        #expect(Array(lcp.options[..<12]) == bytes("010405780206000000000506"))
        #expect(Array(lcp.options[16...]) == bytes("07020802"))
        #expect(link.sent(PPPProtocol.ccp, code: 1).map(\.options) == [bytes("120601000040")])
        #expect(link.sent(PPPProtocol.ipcp, code: 1).map(\.options) == [bytes("030600000000"), bytes("03060a08000a")])
        let ipv6 = try #require(link.sent(PPPProtocol.ipv6cp, code: 1).first)
        #expect(Array(ipv6.options[..<2]) == bytes("010a"))
        #expect(ipv6.options.count == 10)
    }

    @Test func ipcpWaitsForEncryption() throws {
        var link = Link(.pppd)
        link.start()
        let firstIPCP = try #require(link.frames.firstIndex { $0.fromClient && $0.number == PPPProtocol.ipcp })
        let ccpAck = try #require(link.frames.firstIndex { !$0.fromClient && $0.number == PPPProtocol.ccp && $0.code == 2 })
        #expect(firstIPCP > ccpAck)
    }
}

@Suite("What sets the profiles apart")
struct LegacyProfileTests {
    @Test func windows() throws {
        var link = Link(.windows)
        link.start()
        let asked = try #require(link.sent(PPPProtocol.lcp, code: 1).first).options
        #expect(asked.starts(with: bytes("01040578 0506")))
        // Callback control, MRRU 1614, endpoint discriminator.
        #expect(asked.suffix(from: 10).starts(with: bytes("07020802 0d0306 1104064e 13")))
        // Rejected by the server, and given up.
        #expect(try #require(link.sent(PPPProtocol.lcp, code: 1).last).options.count == 14)
        let identifications = link.sent(PPPProtocol.lcp, code: 12).map { String(decoding: $0.payload.dropFirst(8), as: UTF8.self) }
        #expect(identifications == ["MSRASV5.20", "MSRAS-0-TILL"])
        // In parallel: IPCP is asked for before CCP is settled.
        let firstIPCP = try #require(link.frames.firstIndex { $0.fromClient && $0.number == PPPProtocol.ipcp })
        let ccpAck = try #require(link.frames.firstIndex { !$0.fromClient && $0.number == PPPProtocol.ccp && $0.code == 2 })
        #expect(firstIPCP < ccpAck)
        #expect(link.network?.dns == [IPAddress("10.8.0.53")!])
        #expect(LegacyProfile.windows.control.linkInfo != nil)
    }

    @Test func embedded() throws {
        var link = Link(.embedded)
        link.start()
        #expect(link.sent(PPPProtocol.lcp, code: 1).first?.options == bytes("010405b4"))
        // Van Jacobson compression is asked for, and taken back.
        let requests = link.sent(PPPProtocol.ipcp, code: 1).map(\.options)
        #expect(requests.first?.starts(with: bytes("0206002d")) == true)
        #expect(requests.last?.starts(with: bytes("0306")) == true)
        // The server's own MRU rules what we send it: 1400 less MPPE's four bytes.
        #expect(link.network?.mtu == 1396)
        #expect(!link.commands.contains { if case .update(let update) = $0 { update.flags?.contains(.sendPFC) == false } else { false } })
    }

    @Test(arguments: [LegacyEncryption.Strength.bits128, .bits56, .bits40])
    func strengths(_ strength: LegacyEncryption.Strength) {
        var profile = LegacyProfile.pppd
        profile.encrypt(.mppe(bits: strength, stateful: false))
        var server = Link.serverConfiguration
        server.encryption.strengths = [.bits128, .bits56, .bits40]
        var link = Link(profile, server: server)
        link.start()
        #expect(link.network?.encryptionBits == strength.rawValue)
    }

    @Test(arguments: [true, false])
    func stateful(_ allowed: Bool) {
        var profile = LegacyProfile.pppd
        profile.encrypt(.mppe(bits: .bits128, stateful: true))
        var server = Link.serverConfiguration
        server.encryption.allowsStateful = allowed
        var link = Link(profile, server: server)
        link.start()
        #expect(link.sent(PPPProtocol.ccp, code: 1).first?.options == bytes("120600000040"))
        // The server itself asks for stateless. For its other direction it may agree.
        #expect(link.network?.statelessReceive == !allowed || link.network?.statelessTransmit == !allowed)
    }

    @Test func inTheClear() {
        var profile = LegacyProfile.pppd
        profile.encrypt(.none)
        var server = Link.serverConfiguration
        server.encryption.mode = .optional
        var link = Link(profile, server: server)
        link.start()
        #expect(link.network?.encryptionBits == 0)
        #expect(link.network?.mtu == 1400)
        #expect(link.call.initialFlags == [])
        // Against a server that wants encryption there is no network.
        link = Link(profile)
        link.start()
        link.wait(.seconds(60))
        #expect(link.network == nil)
        #expect(link.ended??.kind == .negotiation)
    }
}
