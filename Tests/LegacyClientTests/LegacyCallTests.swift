import Addresses
import Authentication
import DataPath
import PPP
import Testing

@testable import LegacyClient

@Suite("One call's PPP")
struct LegacyCallTests {
    @Test(arguments: LegacyProfileName.allCases)
    func comesUp(_ name: LegacyProfileName) throws {
        var link = Link(name.profile)
        link.start()
        let network = try #require(link.network)
        #expect(network.address == IPAddress("10.8.0.10"))
        #expect(network.peer == IPAddress("10.8.0.1"))
        #expect(network.encryptionBits == 128)
        #expect(network.statelessReceive && network.statelessTransmit)
        #expect(link.ended == nil)

        // Both ends have the same keys, crossed.
        func key(_ direction: Direction) -> [UInt8]? {
            link.commands.compactMap { if case .rekey(direction, let encryption?) = $0 { encryption.startKey } else { nil } }.last
        }
        func serverKey(_ direction: KeyDirection) -> [UInt8]? { link.serverKeys.last { $0.0 == direction }?.1?.startKey.bytes }
        let transmit = try #require(key(.transmit))
        let receive = try #require(key(.receive))
        #expect(transmit == serverKey(.receive))
        #expect(receive == serverKey(.transmit))
        #expect(transmit != receive)
    }

    @Test(arguments: LegacyProfileName.allCases)
    func commandsAreInOrder(_ name: LegacyProfileName) throws {
        var link = Link(name.profile)
        link.start()
        let receiveKey = try #require(link.commands.firstIndex { if case .rekey(.receive, .some) = $0 { true } else { false } })
        let ccpAck = try #require(
            link.commands.firstIndex {
                if case .inject(PPPProtocol.ccp, let payload) = $0 { payload.first == 2 } else { false }
            })
        #expect(receiveKey < ccpAck)
        let bind = try #require(link.commands.firstIndex { if case .bind = $0 { true } else { false } })
        #expect(bind > ccpAck)
        guard case .bind(let binding) = link.commands[bind] else { return }
        #expect(binding.prefixes == [IPPrefix("10.8.0.10/32")])
        #expect(binding.gatewayAddress == IPAddress("10.8.0.1"))
        #expect(binding.mtu == 1396)
    }

    @Test func prefixesBehindTheClientAreBound() {
        var account = Link.account
        account.prefixes = [IPPrefix("192.168.7.0/24")!]
        var link = Link(.pppd, account: account)
        link.start()
        #expect(
            link.commands.contains {
                if case .bind(let binding) = $0 { binding.prefixes == [IPPrefix("10.8.0.10/32")!, IPPrefix("192.168.7.0/24")!] } else { false }
            })
    }

    @Test func headerCompressionOnlyIfTheServerAskedForIt() {
        func flags(_ asks: Bool) -> SessionFlags? {
            var server = Link.serverConfiguration
            server.lcp.protocolFieldCompression = asks
            server.lcp.addressControlCompression = asks
            var link = Link(.pppd, server: server)
            link.start()
            return link.commands.compactMap { if case .update(let update) = $0 { update.flags } else { nil } }.last
        }
        #expect(flags(true) == [.requireEncryption, .sendACFC, .sendPFC])
        #expect(flags(false) == [.requireEncryption])
    }

    @Test func wrongPassword() {
        var link = Link(.pppd)
        link.serverPassword = Link.hash("another")
        link.start()
        link.wait(.seconds(10))
        #expect(link.ended == .some(.authentication(code: 691)))
        #expect(link.network == nil)
    }

    @Test func aSecondTryWouldBeNoBetter() {
        var link = Link(.pppd)
        link.serverPassword = Link.hash("another")
        link.mayRetry = true
        link.start()
        link.wait(.seconds(10))
        #expect(link.ended == .some(.authentication(code: 691)))
        #expect(link.sent(PPPProtocol.chap, code: 2).count == 1)
    }

    @Test func serverThatDoesNotKnowThePassword() {
        var link = Link(.pppd)
        link.forgesProof = true
        link.start()
        link.wait(.seconds(10))
        #expect(link.ended == .some(.serverNotAuthentic))
        #expect(link.network == nil)
        #expect(!link.commands.contains { if case .rekey(_, .some) = $0 { true } else { false } })
    }

    @Test func domainIsPartOfTheNameButNotOfTheHash() {
        var account = Link.account
        account.user = "OFFICE\\lab"
        var link = Link(.windows, account: account)
        link.start()
        #expect(link.network != nil)
        #expect(link.sent(PPPProtocol.chap, code: 2).first.map { String(decoding: $0.payload.suffix(10), as: UTF8.self) } == "OFFICE\\lab")
    }

    @Test func hangUp() throws {
        var link = Link(.pppd)
        link.start()
        link.client { $0.hangUp(now: $1) }
        link.settle()
        #expect(link.ended == .some(nil))
        #expect(link.sent(PPPProtocol.lcp, code: 5).count == 1)
        guard case .peerTerminated = try #require(link.serverEnd ?? endOf(&link)) else {
            Issue.record("the server took it for something else")
            return
        }
    }

    /// The server waits one restart period after its Terminate-Ack (RFC 1661 section 3.7).
    private func endOf(_ link: inout Link) -> TerminationReason? {
        link.wait(.seconds(4))
        return link.serverEnd
    }

    @Test func hangUpWithoutAnAnswer() {
        var link = Link(.pppd)
        link.start()
        link.client { $0.hangUp(now: $1) }
        // Nobody there any more.
        link.server = PPPSession(configuration: Link.serverConfiguration)
        link.wait(.seconds(10))
        #expect(link.ended == .some(nil))
        #expect(link.sent(PPPProtocol.lcp, code: 5).count == 2)
    }

    @Test func serverEndsALiveLink() {
        var link = Link(.pppd)
        link.start()
        link.serve { $0.close(reason: .administrative("Maintenance"), now: $1) }
        link.settle()
        link.wait(.seconds(4))
        #expect(link.ended == .some(.lost("the server ended the link: Maintenance")))
        #expect(link.networkWentDown)
    }

    @Test func serverEndsALinkThatIsNotUp() {
        var link = Link(.pppd)
        link.client { $0.start(now: $1) }
        link.serve { $0.start(now: $1) }
        link.serve { $0.close(reason: .administrative("No"), now: $1) }
        link.settle()
        link.wait(.seconds(40))
        #expect(link.ended??.kind == .negotiation)
    }

    @Test func silentServer() {
        var link = Link(.pppd)
        link.client { $0.start(now: $1) }
        link.wait(.seconds(60))
        #expect(link.ended??.kind == .negotiation)
        #expect(link.sent(PPPProtocol.lcp, code: 1).count == 10)
    }

    @Test func callGone() {
        var link = Link(.pppd)
        link.start()
        link.client { $0.lowerLayerDown(because: .call("cleared"), now: $1) }
        #expect(link.ended == .some(.lost("cleared")))
        // Silent from then on.
        let before = link.frames.count
        link.client { $0.timer(now: $1 + .seconds(60)) }
        #expect(link.frames.count == before)
    }

    @Test func callGoneBeforeTheNetworkWasUp() {
        var link = Link(.pppd)
        link.client { $0.start(now: $1) }
        link.client { $0.lowerLayerDown(because: .call("cleared"), now: $1) }
        #expect(link.ended == .some(.call("cleared")))
    }

    /// pptpd clears the call right behind pppd's Terminate-Request.
    @Test func theLinksOwnReasonCountsMore() {
        var profile = LegacyProfile.pppd
        profile.encrypt(.none)
        var link = Link(profile)
        link.start()
        // The server has refused by now; the link would wait for more.
        #expect(link.ended == nil)
        link.client { $0.lowerLayerDown(because: .call("cleared"), now: $1) }
        #expect(link.ended == .some(.negotiation("the server ended the link: MPPE encryption is required")))
    }

    @Test func lostEncryptionIsNegotiatedAgainAndTheNetworkStays() {
        var link = Link(.pppd)
        link.start()
        let keys = link.commands.count { if case .rekey(_, .some) = $0 { true } else { false } }
        link.client { $0.decryptionLost(now: $1) }
        link.settle()
        #expect(link.commands.count { if case .rekey(_, .some) = $0 { true } else { false } } == keys + 2)
        #expect(!link.networkWentDown)
        #expect(link.ended == nil)
    }

    @Test func echoesOfADeadServerEndTheLink() {
        var link = Link(.pppd)
        link.start()
        link.server = PPPSession(configuration: Link.serverConfiguration)
        link.wait(.seconds(200))
        #expect(link.ended??.kind == .lost)
        #expect(link.sent(PPPProtocol.lcp, code: 9).count == 4)
    }

    @Test(arguments: [
        (1400, 1500, true, 1396),
        (1500, 1500, true, 1456),
        (1460, 1500, true, 1456),
        (1400, 1500, false, 1400),
        (1500, 1500, false, 1456),
        (1400, 1300, true, 1256),
        (3, 1500, true, 68),
    ] as [(UInt16, UInt16, Bool, UInt16)])
    func mtu(_ peerMRU: UInt16, _ path: UInt16, _ encrypted: Bool, _ expected: UInt16) {
        #expect(LegacyCall.mtu(peerMRU: peerMRU, pathMTU: path, encrypted: encrypted) == expected)
    }
}
