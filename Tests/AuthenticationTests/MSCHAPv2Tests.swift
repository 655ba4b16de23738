import Testing

@testable import Authentication

private func bytes(_ secret: Secret) -> [UInt8] { secret.withUnsafeBytes { Array($0) } }

/// RFC 2759 section 9.2 and RFC 3079 section 3.5 share their input.
private enum Vector {
    static let user = Array("User".utf8)
    static let password = Secret(utf8: "clientPass")
    static let authenticator = hex("5B5D7C7D7B3F2F3E3C2C602132262628")
    static let peer = hex("21402324255E262A28295F2B3A337C7E")
    static let hash = hex("44EBBA8D5312B8D611474411F56989AE")
    static let response = hex("82309ECD8D708B5EA08FAA3981CD83544233114A3D85D6DF")
    static let success = "S=407A5589115FD0D6209F510FE9C04566932CDA56"
}

@Suite struct MSCHAPv2Tests {
    @Test func ntPasswordHash() { #expect(bytes(MSCHAPv2.ntHash(password: Vector.password)) == Vector.hash) }

    @Test func hashOfTheEmptyPassword() {
        #expect(bytes(MSCHAPv2.ntHash(password: Secret([]))) == hex("31D6CFE0D16AE931B73C59D7E0C089C0"))
    }

    @Test func challengeHash() {
        let hash = MSCHAPv2.challengeHash(
            peerChallenge: Vector.peer, authenticatorChallenge: Vector.authenticator, userName: Vector.user)
        #expect(hash == hex("D02E4386BCE91226"))
    }

    @Test(arguments: ["BIGCO\\User", "a\\b\\User", "\\User"]) func challengeHashLeavesOutTheDomain(name: String) {
        let hash = MSCHAPv2.challengeHash(
            peerChallenge: Vector.peer, authenticatorChallenge: Vector.authenticator, userName: Array(name.utf8))
        #expect(hash == hex("D02E4386BCE91226"))
    }

    @Test func ntResponse() {
        let response = MSCHAPv2.ntResponse(
            authenticatorChallenge: Vector.authenticator, peerChallenge: Vector.peer, userName: Vector.user,
            ntHash: Secret(Vector.hash))
        #expect(response == Vector.response)
    }

    @Test func hashOfTheHash() { #expect(bytes(md4(Secret(Vector.hash))) == hex("41C00C584BD2D91C4017A2A12FA59F3F")) }

    @Test func authenticatorResponse() {
        let text = MSCHAPv2.authenticatorResponse(
            authenticatorChallenge: Vector.authenticator, peerChallenge: Vector.peer, ntResponse: Vector.response,
            userName: Vector.user, ntHash: Secret(Vector.hash))
        #expect(text == Vector.success)
    }

    /// RFC 2759 section 9.3.
    @Test func desKeyParity() {
        #expect(desKey(hex("FC156AF7EDCD6C")) == hex("FD0B5B5E7F6E34D9"))
        #expect(desKey(hex("0EDDE3337D427F")) == hex("0E6E7967 37EA08FE"))
        #expect(desKey(hex("00000000000000")) == hex("0101010101010101"))
    }

    /// A hash of zeros makes three weak DES keys; the response is what DES gives all the same.
    @Test func weakDESKeysAreUsed() {
        let response = MSCHAPv2.challengeResponse(
            challenge: hex("0000000000000000"), ntHash: Secret([UInt8](repeating: 0, count: 16)))
        #expect(response == hex("8CA64DE9C1B123A7 8CA64DE9C1B123A7 8CA64DE9C1B123A7"))
    }

    /// RFC 3079 section 3.5.3; the shorter keys of 3.5.1 are the beginning of the same.
    @Test func startKeys() {
        let hash = Secret(Vector.hash)
        #expect(bytes(MSCHAPv2.masterKey(ntHash: hash, ntResponse: Vector.response)) == hex("FDECE3717A8C838CB388E527AE3CDD31"))
        let server = MSCHAPv2.startKeys(ntHash: hash, ntResponse: Vector.response, role: .server)
        #expect(bytes(server.send) == hex("8B7CDC149B993A1BA118CB153F56DCCB"))
        let client = MSCHAPv2.startKeys(ntHash: hash, ntResponse: Vector.response, role: .client)
        #expect(client.receive == server.send)
        #expect(client.send == server.receive)
        #expect(server.send != server.receive)
    }

    @Test func theSuccessMessageIsComparedWhole() {
        let expected = Vector.success
        #expect(MSCHAPv2.verify(successMessage: Array("\(expected) M=Access granted".utf8), expected: expected))
        #expect(MSCHAPv2.verify(successMessage: Array(expected.utf8), expected: expected))
        #expect(!MSCHAPv2.verify(successMessage: Array(expected.utf8.dropLast()), expected: expected))
        #expect(!MSCHAPv2.verify(successMessage: Array((expected.dropLast() + "7").utf8), expected: expected))
        #expect(!MSCHAPv2.verify(successMessage: [], expected: expected))
    }

    struct Exchange: Sendable {
        var challenge: String
        var value: String
        var success: String
    }

    /// Recorded between pppd and two servers; user lab, password Secret-Passw0rd.
    @Test(arguments: [
        Exchange(
            challenge: "ab521a843884c9e25155b12a3a6ddfdc",
            value: "063db11e5609772e67c1c38738bb4b1a00000000000000004d375fa2ad8ce287499c416e4a00632d06d511914a006ab900",
            success: "S=8CD8A977E733EBE496DCF23EEF10D55D931F3D44"),
        Exchange(
            challenge: "71788d1bc5512b5f131a6ce0adc901ed",
            value: "2659760a591879f05b1efe43ac110297000000000000000057914399068c082a34e361dcf8d4875452a39f447b29626300",
            success: "S=B60F042E4B66CABFA4DEB517E1EFFD95B5B5CA27"),
    ])
    func recordedLogIns(exchange: Exchange) {
        let challenge = hex(exchange.challenge)
        let value = hex(exchange.value)
        let peer = Array(value[..<16])
        let response = Array(value[24..<48])
        let hash = MSCHAPv2.ntHash(password: Secret(utf8: "Secret-Passw0rd"))
        let user = Array("lab".utf8)
        #expect(
            MSCHAPv2.ntResponse(authenticatorChallenge: challenge, peerChallenge: peer, userName: user, ntHash: hash) == response)
        #expect(
            MSCHAPv2.authenticatorResponse(
                authenticatorChallenge: challenge, peerChallenge: peer, ntResponse: response, userName: user, ntHash: hash)
                == exchange.success)
    }

    @Test func passwordsOutsideASCII() {
        let utf8 = Secret(utf8: "größe")
        let windows = Secret(count: 10) { buffer in
            for (index, unit) in "größe".utf16.enumerated() {
                buffer.storeBytes(of: unit.littleEndian, toByteOffset: index * 2, as: UInt16.self)
            }
        }
        #expect(MSCHAPv2.ntHash(password: utf8) == md4(windows))
        // The same password in a file written in Latin-1 gives what Windows makes of it.
        #expect(MSCHAPv2.ntHash(password: Secret([0x67, 0x72, 0xF6, 0xDF, 0x65])) == md4(windows))
        #expect(MSCHAPv2.bytewiseNTHash(password: utf8) == md4(units: Array("größe".utf8).map(UInt16.init)))
        #expect(MSCHAPv2.bytewiseNTHash(password: Vector.password) == nil)
        #expect(MSCHAPv2.bytewiseNTHash(password: Secret([0xF6])) == nil)
    }
}
