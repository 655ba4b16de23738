import Addresses
import Foundation
import Testing

@testable import PPP

private let lcp = PPPProtocol.lcp
private let chap = PPPProtocol.chap
private let ccp = PPPProtocol.ccp
private let ipcp = PPPProtocol.ipcp

/// The life of a server's session, one client's behaviour at a time.
@Suite struct PPPSessionTests {
    @Test func `a whole session comes up in order`() throws {
        var bench = Bench()
        bench.openAll()
        let up = try #require(bench.log.networkUp)
        #expect(up.local == assignment.local && up.peer == assignment.peer && up.encrypted && up.peerMRU == 1500 && up.localMRU == 1400)
        #expect(bench.log.contains(.authenticationSucceeded(userName: Array("lab".utf8))))
        let order = bench.log.compactMap { action -> String? in
            switch action {
            case .linkOptions: "link"
            case .authenticate: "authenticate"
            case .authenticationSucceeded: "user"
            case .setKey(.receive, .some): "receive key"
            case .setKey(.transmit, .some): "transmit key"
            case .allocateAddress: "address"
            case .networkUp: "network"
            default: nil
            }
        }
        #expect(order == ["link", "authenticate", "user", "receive key", "transmit key", "address", "network"])
    }

    @Test func `the receive key is live before our CCP Ack leaves, the transmit key is set when the peer has acknowledged`() throws {
        var bench = Bench()
        bench.openLink()
        bench.authenticate()
        bench.ask(ccp, [Bench.mppe])
        let key = MPPEParameters(bits: 128, stateless: true, startKey: serverKeys.receive)
        #expect(bench.last.first == .setKey(.receive, key) || bench.last.dropFirst().first == .setKey(.receive, key))
        let keyIndex = try #require(bench.last.firstIndex(of: .setKey(.receive, key)))
        let ackIndex = try #require(bench.last.firstIndex { if case .send(ccp, let bytes) = $0 { bytes[0] == 2 } else { false } })
        #expect(keyIndex < ackIndex)
        #expect(!bench.last.contains(.setKey(.transmit, MPPEParameters(bits: 128, stateless: true, startKey: serverKeys.send))))
        bench.acknowledge(ccp)
        #expect(bench.last.first == .setKey(.transmit, MPPEParameters(bits: 128, stateless: true, startKey: serverKeys.send)))
    }

    @Test func `the key is live too when the peer acknowledges before it asks`() throws {
        var bench = Bench()
        bench.openLink()
        bench.authenticate()
        bench.acknowledge(ccp)
        #expect(bench.last.isEmpty)
        bench.ask(ccp, [Bench.mppe])
        let actions = bench.last.filter { if case .note = $0 { false } else { true } }
        #expect(actions.first == .setKey(.receive, MPPEParameters(bits: 128, stateless: true, startKey: serverKeys.receive)))
        #expect(actions[1] == .send(protocol: ccp, payload: ControlPacket(code: 2, identifier: 1, data: Bench.mppe.bytes).bytes))
        #expect(actions[2] == .setKey(.transmit, MPPEParameters(bits: 128, stateless: true, startKey: serverKeys.send)))
    }

    @Test func `the first LCP requests are repeated early until the client is heard`() {
        var bench = Bench()
        bench.advance(.milliseconds(499))
        #expect(bench.last.sends == 0)
        bench.advance(.milliseconds(1))
        #expect(bench.last.frames(lcp, code: 1) == [bench.request(lcp)])
        bench.advance(.milliseconds(1000))
        #expect(bench.last.frames(lcp, code: 1).count == 1)
        bench.advance(.milliseconds(2999))
        #expect(bench.last.sends == 0)
        bench.advance(.milliseconds(1))
        #expect(bench.last.frames(lcp, code: 1).count == 1)
    }

    @Test func `a client that never speaks is given up after ten requests or the authentication time, whichever is first`() {
        var bench = Bench { $0.authenticationTimeout = .seconds(60) }
        bench.advance(.seconds(59))
        #expect(bench.log.frames(lcp, code: 1).count == 10)
        #expect(bench.last.termination == .linkNegotiationFailed)
        var short = Bench { $0.authenticationTimeout = .seconds(10) }
        short.advance(.seconds(17))
        #expect(short.last.termination == .authenticationTimeout)
    }

    @Test func `a duplicate Ack does not tear the link down`() {
        var bench = Bench()
        let request = bench.request(lcp)
        bench.openLink()
        bench.receive(lcp, code: 2, id: request.identifier, Array(request.data))
        #expect(bench.last == [.note(.malformed(protocol: lcp))])
    }

    @Test func `a request repeated because our Ack was lost is acknowledged again, without a renegotiation`() {
        var bench = Bench()
        bench.openLink()
        bench.advance(.seconds(2))
        bench.ask(lcp, [ConfigurationOption(type: 5, UInt32(0x1234_5678))])
        #expect(bench.last.frames(lcp).map(\.code) == [2] && bench.last.count == 1)
    }

    @Test func `LCP renegotiated on a live link stops the data and authenticates again`() throws {
        var bench = Bench()
        bench.openAll()
        bench.now += .seconds(60)
        bench.ask(lcp, id: 9, [ConfigurationOption(type: 5, UInt32(0x9999_0000))])
        #expect(bench.last.contains(.networkDown))
        #expect(bench.last.contains(.setKey(.transmit, nil)) && bench.last.contains(.setKey(.receive, nil)))
        #expect(bench.last.contains(.note(.renegotiation(protocol: lcp))))
        let down = try #require(bench.last.firstIndex(of: .networkDown))
        let request = try #require(bench.last.firstIndex { if case .send(lcp, let bytes) = $0 { bytes[0] == 1 } else { false } })
        #expect(down < request)
        bench.acknowledge(lcp)
        #expect(bench.last.frames(chap, code: 1).count == 1)
        bench.authenticate()
        bench.openEncryption()
        bench.openNetwork()
        #expect(bench.last.networkUp != nil)
        #expect(bench.log.count { $0 == .authenticationSucceeded(userName: Array("lab".utf8)) } == 2)
        #expect(bench.log.count { if case .allocateAddress = $0 { true } else { false } } == 2)
    }

    @Test func `IPCP sent together with CCP is held and answered once CCP is open`() throws {
        var bench = Bench()
        bench.openLink()
        bench.authenticate()
        bench.ask(ccp, [Bench.mppe])
        bench.ask(ipcp, id: 5, [ConfigurationOption(type: 3, UInt32(0))])
        #expect(bench.last == [.allocateAddress(requested: nil)])
        bench.note(bench.session.assign(assignment, now: bench.now))
        #expect(bench.last.isEmpty)
        bench.acknowledge(ccp)
        let nak = try #require(bench.last.frames(ipcp, code: 3).first)
        #expect(nak.identifier == 5 && nak.data.elementsEqual(hex("0306 0a08000a")))
    }

    @Test func `the address that the client wishes reaches the owner`() {
        var bench = Bench()
        bench.openLink()
        bench.authenticate()
        bench.ask(ipcp, [ConfigurationOption(type: 3, UInt32(0xC0A8_0105))])
        #expect(bench.last == [.allocateAddress(requested: IPAddress("192.168.1.5")!)])
    }

    @Test func `network protocols before the authentication are dropped without an answer`() {
        var bench = Bench()
        bench.openLink()
        bench.ask(ipcp, [])
        #expect(bench.last == [.note(.outOfPhase(protocol: ipcp))])
        bench.ask(ccp, [Bench.mppe])
        #expect(bench.last == [.note(.outOfPhase(protocol: ccp))])
    }

    @Test func `a client that refuses encryption is shown the door when it is required`() {
        var reject = Bench()
        reject.openLink()
        reject.authenticate()
        let request = reject.request(ccp)
        reject.receive(ccp, code: 4, id: request.identifier, Array(request.data))
        #expect(reject.last.frames(ccp).isEmpty && reject.last.frames(lcp, code: 5).count == 1)
        reject.receive(lcp, code: 6, id: reject.last.frames(lcp, code: 5)[0].identifier)
        #expect(reject.last == [.terminated(.encryptionRefused)])

        var protocolReject = Bench()
        protocolReject.openLink()
        protocolReject.authenticate()
        protocolReject.receive(lcp, code: 8, id: 3, hex("80fd") + protocolReject.request(ccp).bytes)
        #expect(protocolReject.last.frames(lcp, code: 5).count == 1)

        var none = Bench()
        none.openLink()
        none.authenticate()
        none.acknowledge(ccp)
        for id in 1...6 { none.ask(ccp, id: UInt8(id), []) }
        #expect(none.last.frames(lcp, code: 5).count == 1)
        #expect(!none.log.contains { if case .allocateAddress = $0 { true } else { false } })
    }

    @Test func `without required encryption the same client gets its network in the clear`() throws {
        var bench = Bench { $0.encryption.mode = .optional }
        bench.openLink()
        bench.authenticate()
        bench.receive(lcp, code: 8, id: 3, hex("80fd") + bench.request(ccp).bytes)
        bench.openNetwork()
        let up = try #require(bench.last.networkUp)
        #expect(!up.encrypted)
        #expect(!bench.log.contains { if case .setKey = $0 { true } else { false } })
    }

    @Test func `with encryption off CCP is rejected as a protocol`() {
        var bench = Bench { $0.encryption.mode = .none }
        bench.openLink()
        bench.authenticate()
        bench.ask(ccp, [Bench.mppe])
        #expect(bench.last.frames(lcp, code: 8).first?.data.prefix(2).elementsEqual(hex("80fd")) == true)
        bench.openNetwork()
        #expect(bench.last.networkUp != nil)
    }

    @Test func `required encryption without keys ends the session`() {
        var bench = Bench()
        bench.openLink()
        bench.authenticate(.accept(authenticatorResponse: "S=00", keys: nil))
        #expect(bench.last.frames(lcp, code: 5).count == 1)
        bench.advance(.seconds(7))
        #expect(bench.last.termination == .encryptionRefused)
    }

    @Test func `lost decryption negotiates CCP again and leaves the network up`() {
        var bench = Bench()
        bench.openAll()
        bench.note(bench.session.decryptionLost(now: bench.now))
        #expect(bench.last.contains(.setKey(.receive, nil)) && bench.last.contains(.setKey(.transmit, nil)))
        #expect(bench.last.frames(ccp, code: 1).count == 1 && !bench.last.contains(.networkDown))
        bench.note(bench.session.decryptionLost(now: bench.now))
        #expect(bench.last.isEmpty)
        bench.ask(ccp, id: 8, [Bench.mppe])
        bench.acknowledge(ccp)
        #expect(bench.last.contains(.setKey(.transmit, MPPEParameters(bits: 128, stateless: true, startKey: serverKeys.send))))
        bench.advance(.seconds(120))
        #expect(bench.log.contains(.networkDown) == false || bench.log.termination == .echoTimeout)
    }

    @Test func `a CCP that does not come back ends a session that needs it`() {
        var bench = Bench { $0.echoInterval = nil }
        bench.openAll()
        bench.note(bench.session.decryptionLost(now: bench.now))
        bench.advance(.seconds(60))
        #expect(bench.log.termination == .encryptionRefused)
    }

    @Test func `pppd hangs up with two Terminate-Requests, each is answered`() {
        var bench = Bench()
        bench.openAll()
        bench.receive(lcp, code: 5, id: 2, Array("MPPE disabled".utf8))
        #expect(bench.last.contains(.networkDown))
        #expect(bench.last.frames(lcp) == [ControlPacket(code: 6, identifier: 2)])
        bench.receive(lcp, code: 5, id: 3, Array("MPPE disabled".utf8))
        #expect(bench.last.frames(lcp) == [ControlPacket(code: 6, identifier: 3)])
        bench.advance(.seconds(3))
        #expect(bench.last == [.terminated(.peerTerminated(Array("MPPE disabled".utf8)))])
        bench.receive(lcp, code: 5, id: 4)
        #expect(bench.last.isEmpty && bench.session.deadline == nil)
    }

    @Test func `our own hang-up ends with the peer's Ack, or without it after two tries`() {
        var polite = Bench()
        polite.openAll()
        polite.note(polite.session.close(reason: .administrative("shutdown"), now: polite.now))
        #expect(polite.last.contains(.networkDown))
        let request = polite.last.frames(lcp, code: 5)[0]
        #expect(request.data.elementsEqual(Array("shutdown".utf8)))
        polite.receive(lcp, code: 6, id: request.identifier)
        #expect(polite.last == [.terminated(.administrative("shutdown"))])

        var silent = Bench()
        silent.openAll()
        silent.note(silent.session.close(reason: .administrative("shutdown"), now: silent.now))
        silent.advance(.seconds(6))
        #expect(silent.last.frames(lcp, code: 5).count == 1 && silent.last.termination == .administrative("shutdown"))
    }

    @Test func `the call is gone`() {
        var bench = Bench()
        bench.openAll()
        bench.note(bench.session.lowerLayerDown(now: bench.now))
        #expect(bench.last == [.networkDown, .setKey(.transmit, nil), .setKey(.receive, nil), .terminated(.lowerLayerDown)])
        bench.note(bench.session.close(reason: .administrative(""), now: bench.now))
        #expect(bench.last.isEmpty)
    }

    @Test func `a client that has gone is noticed by its missing echoes`() {
        var bench = Bench {
            $0.echoInterval = .seconds(10)
            $0.echoFailures = 3
        }
        bench.openAll()
        bench.advance(.seconds(39))
        #expect(bench.last.frames(lcp, code: 9).count == 3 && bench.last.termination == nil)
        bench.advance(.seconds(1))
        #expect(bench.last.termination == .echoTimeout && bench.last.contains(.networkDown))
    }

    @Test func `answered echoes keep the link, also when they carry our own magic number`() {
        var bench = Bench { $0.echoInterval = .seconds(10) }
        bench.openAll()
        for _ in 0..<10 {
            bench.advance(.seconds(10))
            let echo = bench.last.frames(lcp, code: 9)[0]
            bench.receive(lcp, code: 10, id: echo.identifier, Array(echo.data))
        }
        #expect(bench.log.termination == nil)
    }

    @Test func `a client that rejects Echo-Requests as a code is not asked again`() {
        var bench = Bench { $0.echoInterval = .seconds(10) }
        bench.openAll()
        bench.advance(.seconds(10))
        bench.receive(lcp, code: 7, id: 1, bench.last.frames(lcp, code: 9)[0].bytes)
        bench.advance(.seconds(100))
        #expect(bench.last.isEmpty && bench.log.termination == nil)
    }

    @Test func `the client's echoes are answered with our magic number and its data`() {
        var bench = Bench()
        bench.openLink()
        let own = bench.options(lcp).first { $0.type == 5 }!.data
        bench.receive(lcp, code: 9, id: 42, hex("12345678 cafe"))
        #expect(bench.last.frames(lcp) == [ControlPacket(code: 10, identifier: 42, data: own + [0xCA, 0xFE])])
        bench.receive(lcp, code: 9, id: 43, own)
        #expect(bench.last == [.note(.possibleLoop)])
        bench.receive(lcp, code: 9, id: 44, [1, 2, 3])
        #expect(bench.last == [.note(.malformed(protocol: lcp))])
    }

    @Test func `Windows' Identification, Time-Remaining and Discard are taken without an answer`() {
        var bench = Bench()
        bench.openLink()
        bench.receive(lcp, code: 12, id: 2, hex("12345678") + Array("MSRASV5.20".utf8))
        #expect(bench.last == [.note(.identification(Array("MSRASV5.20".utf8)))])
        bench.receive(lcp, code: 13, id: 3, hex("12345678 00000e10") + Array("bye".utf8))
        #expect(bench.last == [.note(.timeRemaining(seconds: 3600, message: Array("bye".utf8)))])
        bench.receive(lcp, code: 11, id: 4, hex("12345678"))
        #expect(bench.last.isEmpty)
    }

    @Test func `an unknown LCP code is rejected`() {
        var bench = Bench()
        bench.openLink()
        bench.receive(lcp, code: 99, id: 7, [1, 2])
        #expect(bench.last.frames(lcp, code: 7).first?.data.elementsEqual([99, 7, 0, 6, 1, 2]) == true)
    }

    @Test func `unknown protocols are rejected, cut to the peer's MRU, and not without end`() {
        var bench = Bench()
        bench.openLink([ConfigurationOption(type: 1, UInt16(128))])
        bench.note(bench.session.receive(protocol: 0x8057, payload: [UInt8](repeating: 1, count: 1000), now: bench.now))
        #expect(bench.last.frames(lcp, code: 8).first?.bytes.count == 128)
        var rejects = 0
        for _ in 0..<100 {
            bench.note(bench.session.receive(protocol: 0x80CF, payload: [1, 2, 3], now: bench.now))
            rejects += bench.last.sends
        }
        #expect(rejects == 7)
        bench.now += .seconds(1)
        bench.note(bench.session.receive(protocol: 0x80CF, payload: [1, 2, 3], now: bench.now))
        #expect(bench.last.sends == 1)
    }

    @Test func `a Protocol-Reject of encrypted data is only noted`() {
        var bench = Bench()
        bench.openAll()
        bench.receive(lcp, code: 8, id: 3, hex("00fd 9000"))
        #expect(bench.last == [.note(.peerRejectedProtocol(0x00FD))])
    }

    @Test func `a peer that rejects what we never sent has lost its key: CCP is negotiated again, once in ten seconds`() {
        var bench = Bench()
        bench.openAll()
        func reject(_ times: Int) {
            for n in 0..<times { bench.receive(lcp, code: 8, id: UInt8(n), [0x2C, UInt8(n), 0x66, 0x4A]) }
        }
        reject(7)
        #expect(bench.last == [.note(.peerRejectedProtocol(0x2C06))])
        reject(1)
        #expect(bench.last.contains(.setKey(.transmit, nil)) && bench.last.contains(.note(.renegotiation(protocol: ccp))))
        #expect(bench.last.frames(ccp, code: 1).count == 1 && !bench.last.contains(.networkDown))
        bench.ask(ccp, id: 8, [Bench.mppe])
        bench.acknowledge(ccp)
        reject(100)
        #expect(bench.last == [.note(.peerRejectedProtocol(0x2C63))])
        bench.now += .seconds(10)
        reject(7)
        bench.now += .seconds(10)
        reject(7)
        #expect(bench.last == [.note(.peerRejectedProtocol(0x2C06))])
        reject(1)
        #expect(bench.last.frames(ccp, code: 1).count == 1)
    }

    @Test func `a Protocol-Reject of CHAP or IPCP ends the session`() {
        var chapRejected = Bench()
        chapRejected.openLink()
        chapRejected.receive(lcp, code: 8, id: 3, hex("c223 01"))
        chapRejected.advance(.seconds(7))
        #expect(chapRejected.last.termination == .peerRefusesAuthentication)
        var ipcpRejected = Bench()
        ipcpRejected.openLink()
        ipcpRejected.authenticate()
        ipcpRejected.openEncryption()
        ipcpRejected.note(ipcpRejected.session.assign(assignment, now: ipcpRejected.now))
        ipcpRejected.receive(lcp, code: 8, id: 3, hex("8021 01"))
        ipcpRejected.advance(.seconds(7))
        #expect(ipcpRejected.last.termination == .networkRefused)
    }

    @Test func `no address for this user`() {
        var bench = Bench()
        bench.openLink()
        bench.authenticate()
        bench.openEncryption()
        bench.note(bench.session.refuseAddress(now: bench.now))
        bench.advance(.seconds(7))
        #expect(bench.last.termination == .noAddress)
    }

    @Test func `a client that stops half way is not waited for forever`() {
        var authentication = Bench()
        authentication.openLink()
        authentication.advance(.seconds(40))
        #expect(authentication.log.termination == .authenticationTimeout)
        var network = Bench { $0.echoInterval = nil }
        network.openLink()
        network.authenticate()
        network.openEncryption()
        network.advance(.seconds(50))
        #expect(network.log.termination == .negotiationTimeout)
    }

    @Test func `a hang-up in the middle of LCP is answered and final`() {
        var bench = Bench()
        bench.receive(lcp, code: 5, id: 8, [])
        #expect(bench.last.frames(lcp) == [ControlPacket(code: 6, identifier: 8)])
        #expect(bench.last.termination == .peerTerminated([]))
    }

    @Test func `a verdict that comes after a renegotiation is not the next user's`() {
        var bench = Bench()
        bench.openLink()
        bench.respond("alice")
        let old = bench.challenge.identifier
        bench.ask(lcp, id: 2, [])
        bench.acknowledge(lcp)
        bench.respond("bob")
        // Bob is not asked about while Alice's verdict is on its way, whatever identifiers the two carry.
        #expect(bench.last.credentials == nil)
        bench.note(bench.session.authenticated(identifier: old, Bench.accept, now: bench.now))
        #expect(bench.last.credentials?.userName == Array("bob".utf8) && bench.last.count == 1)
        bench.note(bench.session.authenticated(identifier: bench.challenge.identifier, Bench.accept, now: bench.now))
        #expect(bench.last.contains(.authenticationSucceeded(userName: Array("bob".utf8))))
    }

    @Test func `an address that comes after a renegotiation is not the next user's`() {
        var bench = Bench()
        bench.openLink()
        bench.authenticate()
        bench.openEncryption()
        #expect(bench.last.contains(.allocateAddress(requested: nil)))
        bench.ask(lcp, id: 2, [])
        bench.acknowledge(lcp)
        bench.authenticate()
        bench.openEncryption()
        #expect(!bench.last.contains(.allocateAddress(requested: nil)))
        bench.note(bench.session.assign(assignment, now: bench.now))
        #expect(bench.last == [.allocateAddress(requested: nil)])
        bench.openNetwork()
        #expect(bench.last.networkUp != nil)
    }

    @Test func `a session goes on after it has been encoded and decoded, at any step`() throws {
        func move(_ bench: inout Bench) throws {
            bench.session = try JSONDecoder().decode(PPPSession.self, from: JSONEncoder().encode(bench.session))
        }
        var bench = Bench()
        try move(&bench)
        bench.openLink()
        try move(&bench)
        bench.respond()
        try move(&bench)
        bench.note(bench.session.authenticated(identifier: bench.challenge.identifier, Bench.accept, now: bench.now))
        bench.ask(ccp, [Bench.mppe])
        try move(&bench)
        bench.acknowledge(ccp)
        try move(&bench)
        bench.openNetwork()
        try move(&bench)
        #expect(bench.log.networkUp?.encrypted == true)
        #expect(bench.session.keys == serverKeys)
        bench.advance(.seconds(20))
        #expect(bench.last.frames(lcp, code: 9).count == 1)
    }
}
