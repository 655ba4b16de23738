import Testing

@testable import PPP

private let chap = PPPProtocol.chap

@Suite struct CHAPMessageTests {
    /// RFC 2759 section 9.2.
    private let peerChallenge = hex("21402324255E262A28295F2B3A337C7E")
    private let ntResponse = hex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")

    @Test func `a response has 49 bytes of value and a name`() throws {
        let value = CHAPMessage.msCHAPv2Value(peerChallenge: peerChallenge, ntResponse: ntResponse)
        #expect(value.count == 49)
        let packet = ControlPacket(code: 2, identifier: 5, data: CHAPMessage.value(value, name: Array("BIGCO\\johndoe".utf8)))
        let response = try #require(CHAPMessage.msCHAPv2(packet, challenge: [1, 2, 3]))
        #expect(response.peerChallenge == peerChallenge && response.ntResponse == ntResponse)
        #expect(response.userName == Array("BIGCO\\johndoe".utf8) && response.identifier == 5 && response.authenticatorChallenge == [1, 2, 3])
    }

    @Test(arguments: [0, 1, 16, 48, 50, 255]) func `any other length is not a response`(size: Int) {
        let data = [UInt8(size)] + [UInt8](repeating: 1, count: size) + Array("lab".utf8)
        #expect(CHAPMessage.msCHAPv2(ControlPacket(code: 2, identifier: 1, data: data), challenge: []) == nil)
        #expect(CHAPMessage.msCHAPv1(ControlPacket(code: 2, identifier: 1, data: data), challenge: []) == nil)
    }

    @Test func `a value cut short is not a response`() {
        let data = [49] + [UInt8](repeating: 1, count: 48)
        #expect(CHAPMessage.msCHAPv2(ControlPacket(code: 2, identifier: 1, data: data), challenge: []) == nil)
        #expect(CHAPMessage.parseValue([]) == nil)
    }

    @Test func `success and failure strings`() {
        let proof = "S=407A5589115FD0D6209F510FE9C04566932CDA56"
        #expect(text(CHAPMessage.success(authenticatorResponse: proof, message: "Welcome")) == proof + " M=Welcome")
        let challenge = [UInt8](0..<16)
        #expect(
            text(CHAPMessage.failure(method: .msCHAPv2, code: 691, retry: true, challenge: challenge, message: "No"))
                == "E=691 R=1 C=000102030405060708090A0B0C0D0E0F V=3 M=No")
        #expect(
            text(CHAPMessage.failure(method: .msCHAPv1, code: 691, retry: false, challenge: [1, 2, 3, 4, 5, 6, 7, 255], message: "No"))
                == "E=691 R=0 C=01020304050607FF V=2")
    }

    @Test func `a client reads failures, complete or not`() {
        let full = CHAPMessage.parseFailure(Array("E=691 R=1 C=000102030405060708090a0B0C0D0E0F V=3 M=E=1 R=0".utf8)[...])
        #expect(full == CHAPMessage.Failure(code: 691, retry: true, challenge: [UInt8](0..<16)))
        #expect(CHAPMessage.parseFailure(Array("E=647 R=1 C=00 V=3".utf8)[...]) == CHAPMessage.Failure(code: 647, retry: true))
        #expect(CHAPMessage.parseFailure([]) == CHAPMessage.Failure())
        #expect(CHAPMessage.parseFailure(Array("C= E= R=".utf8)[...]) == CHAPMessage.Failure())
    }
}

@Suite struct AuthenticatorTests {
    private let reject = AuthenticationVerdict.reject(code: 691, retry: true, message: "Wrong name or password")

    @Test func `the challenge has 16 random bytes and our name`() throws {
        var first = Bench(seed: 1)
        var second = Bench(seed: 2)
        first.openLink()
        second.openLink()
        let (value, name) = try #require(CHAPMessage.parseValue(first.challenge.data))
        #expect(value.count == 16 && name == Array("causeway".utf8))
        #expect(CHAPMessage.parseValue(second.challenge.data)?.value != value)
    }

    @Test func `the owner is asked with everything that the verdict needs, once`() throws {
        var bench = Bench()
        bench.openLink()
        bench.respond("DOMAIN\\lab")
        guard case .msCHAPv2(let response) = try #require(bench.last.credentials) else { return }
        #expect(response.authenticatorChallenge == CHAPMessage.parseValue(bench.challenge.data)?.value)
        #expect(response.userName == Array("DOMAIN\\lab".utf8) && response.peerChallenge.count == 16 && response.ntResponse.count == 24)
        bench.respond("DOMAIN\\lab")
        #expect(bench.last == [.note(.responseRepeated)])
    }

    @Test func `success carries the proof, and a repeated response gets it again`() {
        var bench = Bench()
        bench.openLink()
        bench.authenticate()
        let success = bench.last.frames(chap)
        #expect(success.map(\.code) == [3] && success[0].identifier == bench.challenge.identifier)
        #expect(text(success[0].data) == "S=" + String(repeating: "0F", count: 20) + " M=Access granted")
        bench.respond()
        #expect(bench.last.frames(chap) == success && bench.last.credentials == nil)
        bench.respond(fill: 8)
        #expect(bench.last == [.note(.outOfPhase(protocol: chap))])
    }

    @Test func `a lost challenge comes again`() {
        var bench = Bench()
        bench.openLink()
        let challenge = bench.challenge
        bench.advance(.seconds(3))
        #expect(bench.last.frames(chap) == [challenge])
    }

    @Test func `a response to no challenge of ours is ignored`() {
        var bench = Bench()
        bench.openLink()
        bench.receive(chap, code: 2, id: bench.challenge.identifier &+ 3, Bench.response())
        #expect(bench.last == [.note(.outOfPhase(protocol: chap))])
        bench.receive(chap, code: 2, id: bench.challenge.identifier, [])
        #expect(bench.last == [.note(.malformed(protocol: chap))])
        bench.respond()
        #expect(bench.last.credentials != nil)
    }

    @Test(arguments: [UInt8(0), 1]) func `a retry answers the challenge of the failure, with its identifier or the next`(step: UInt8) throws {
        var bench = Bench()
        bench.openLink()
        bench.authenticate(reject)
        let failure = try #require(bench.last.frames(chap).first)
        #expect(failure.code == 4 && text(failure.data).hasPrefix("E=691 R=1 C=") && text(failure.data).hasSuffix(" V=3 M=Wrong name or password"))
        #expect(bench.last.contains(.authenticationFailed(AuthenticationFailure(userName: Array("lab".utf8), code: 691, mayRetry: true))))
        bench.respond()
        #expect(bench.last.frames(chap) == [failure])
        let identifier = failure.identifier &+ step
        bench.receive(chap, code: 2, id: identifier, Bench.response(fill: 9))
        guard case .msCHAPv2(let response) = try #require(bench.last.credentials) else { return }
        #expect(response.authenticatorChallenge == CHAPMessage.parseFailure(failure.data).challenge)
        bench.note(bench.session.authenticated(identifier: identifier, Bench.accept, now: bench.now))
        #expect(bench.last.frames(chap).first?.identifier == identifier)
        #expect(bench.last.contains(.authenticationSucceeded(userName: Array("lab".utf8))))
    }

    @Test func `the last failure says so and ends the link`() {
        var bench = Bench { $0.authenticationAttempts = 2 }
        bench.openLink()
        bench.authenticate(reject)
        bench.receive(chap, code: 2, id: bench.challenge.identifier, Bench.response(fill: 9))
        bench.note(bench.session.authenticated(identifier: bench.challenge.identifier, reject, now: bench.now))
        #expect(text(bench.last.frames(chap)[0].data).hasPrefix("E=691 R=0 C="))
        #expect(bench.last.frames(PPPProtocol.lcp, code: 5).count == 1)
        bench.advance(.seconds(7))
        #expect(bench.last.termination == .authenticationFailed)
    }

    @Test func `a verdict for nobody is ignored`() {
        var bench = Bench()
        bench.openLink()
        bench.note(bench.session.authenticated(identifier: bench.challenge.identifier, Bench.accept, now: bench.now))
        #expect(bench.last.isEmpty)
        bench.respond()
        bench.note(bench.session.authenticated(identifier: bench.challenge.identifier &+ 1, Bench.accept, now: bench.now))
        #expect(bench.last.isEmpty)
    }

    @Test func `a re-challenge leaves keys and network alone`() {
        var bench = Bench {
            $0.rechallengeInterval = .seconds(300)
            $0.echoInterval = nil
        }
        bench.openAll()
        let before = bench.challenge
        bench.advance(.seconds(300))
        #expect(bench.last.count == 1 && bench.challenge != before)
        bench.authenticate(.accept(authenticatorResponse: "S=11", keys: clientKeys))
        #expect(bench.last.frames(chap).map(\.code) == [3])
        #expect(bench.last.contains(.note(.reauthenticated)) && bench.last.count == 2)
        #expect(bench.session.keys == serverKeys)
        bench.advance(.seconds(300))
        bench.respond("mallory")
        bench.note(bench.session.authenticated(identifier: bench.challenge.identifier, Bench.accept, now: bench.now))
        #expect(bench.last.frames(chap).map(\.code) == [4] && bench.last.contains(.networkDown))
    }

    @Test func `an unanswered re-challenge ends the link`() {
        var bench = Bench {
            $0.rechallengeInterval = .seconds(300)
            $0.echoInterval = nil
        }
        bench.openAll()
        bench.advance(.seconds(340))
        #expect(bench.log.frames(chap, code: 1).count == 11 && bench.log.termination == .authenticationTimeout)
    }

    @Test func `PAP only where it is configured`() throws {
        let request = CHAPMessage.value(Array("lab".utf8), name: []) + CHAPMessage.value(Array("secret".utf8), name: [])
        var closed = Bench()
        closed.openLink()
        closed.receive(PPPProtocol.pap, code: 1, id: 4, request)
        #expect(closed.last.credentials == nil && closed.last.frames(PPPProtocol.lcp, code: 8).count == 1)

        var open = Bench {
            $0.authentication = [.pap]
            $0.encryption.mode = .none
        }
        open.openLink()
        open.receive(PPPProtocol.pap, code: 1, id: 4, request)
        guard case .pap(let credentials) = try #require(open.last.credentials) else { return }
        #expect(credentials.userName == Array("lab".utf8) && credentials.password == Array("secret".utf8))
        #expect(!"\(credentials)".contains("secret"))
        open.note(open.session.authenticated(identifier: 4, .accept(authenticatorResponse: "", message: "Hi", keys: nil), now: open.now))
        #expect(open.last.frames(PPPProtocol.pap) == [ControlPacket(code: 2, identifier: 4, data: [2] + Array("Hi".utf8))])
        open.openNetwork()
        #expect(open.last.networkUp != nil)
    }

    @Test func `MS-CHAP version 1 only where it is configured`() throws {
        var bench = Bench { $0.authentication = [.msCHAPv1] }
        #expect(bench.options(PPPProtocol.lcp).contains(LCPPolicy.option(.msCHAPv1)))
        bench.openLink()
        #expect(CHAPMessage.parseValue(bench.challenge.data)?.value.count == 8)
        let value = [UInt8](repeating: 1, count: 24) + [UInt8](repeating: 2, count: 24) + [1]
        bench.receive(chap, code: 2, id: bench.challenge.identifier, CHAPMessage.value(value, name: Array("lab".utf8)))
        guard case .msCHAPv1(let response) = try #require(bench.last.credentials) else { return }
        #expect(response.ntResponse == [UInt8](repeating: 2, count: 24) && response.usesNTResponse && response.challenge.count == 8)
    }

    @Test func `keys and passwords do not show`() {
        #expect(!"\(serverKeys)".contains("161") && !String(reflecting: serverKeys).contains("161"))
        var dumped = ""
        dump(serverKeys, to: &dumped)
        #expect(!dumped.contains("161"))
    }
}
