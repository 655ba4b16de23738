import CNettle

// MS-CHAPv2, RFC 2759, and the MPPE start keys that come out of it, RFC 3079 section 3. Sizes on the wire:
// authenticator challenge 16, peer challenge 16, NT-Response 24, authenticator response "S=" + 40 upper-case hexadecimal digits.

/// The functions of RFC 2759 section 8 and RFC 3079 section 3.4, for either end of the link.
public enum MSCHAPv2 {
    public static let challengeLength = 16
    public static let responseLength = 24
    /// Of a start key. Shorter session keys (40, 56 bits) are cut from the same 16 bytes.
    public static let startKeyLength = 16

    public enum Role: Sendable {
        case server
        case client
    }

    public struct StartKeys: Sendable {
        public var send: Secret
        public var receive: Secret
    }

    /// NtPasswordHash (section 8.3): MD4 over the password in UTF-16LE. Bytes that are not UTF-8 are taken as Latin-1.
    public static func ntHash(password: Secret) -> Secret {
        password.withUnsafeBytes { bytes in
            if let text = String(validating: bytes, as: UTF8.self) {
                md4(units: text.utf16)
            } else {
                md4(units: bytes.map(UInt16.init))
            }
        }
    }

    /// The hash an old pppd client makes of a password with characters outside ASCII: each byte becomes one UTF-16 unit.
    /// nil where it would be the same as `ntHash`.
    public static func bytewiseNTHash(password: Secret) -> Secret? {
        password.withUnsafeBytes { bytes in
            guard bytes.contains(where: { $0 >= 0x80 }) else { return nil }
            let hash = md4(units: bytes.map(UInt16.init))
            return hash == ntHash(password: password) ? nil : hash
        }
    }

    /// The name that goes into the challenge hash: without `DOMAIN\` (section 8.2).
    public static func withoutDomain(_ userName: [UInt8]) -> ArraySlice<UInt8> {
        guard let backslash = userName.lastIndex(of: UInt8(ascii: "\\")) else { return userName[...] }
        return userName[(backslash + 1)...]
    }

    /// ChallengeHash (section 8.2): 8 bytes.
    public static func challengeHash(peerChallenge: [UInt8], authenticatorChallenge: [UInt8], userName: [UInt8]) -> [UInt8] {
        var hash = SHA1()
        hash.update(peerChallenge)
        hash.update(authenticatorChallenge)
        hash.update(withoutDomain(userName))
        return Array(hash.digest().prefix(8))
    }

    /// ChallengeResponse (section 8.5): the challenge under three DES keys cut from the hash, padded to 21 bytes.
    public static func challengeResponse(challenge: [UInt8], ntHash: Secret) -> [UInt8] {
        precondition(challenge.count == 8 && ntHash.count == 16)
        var response = [UInt8](repeating: 0, count: responseLength)
        let padded = Secret(count: 21) { buffer in ntHash.withUnsafeBytes { buffer.copyMemory(from: $0) } }
        padded.withUnsafeBytes { padded in
            for block in 0..<3 {
                var context = des_ctx()
                var key = desKey(padded[(block * 7)..<(block * 7 + 7)])
                // A weak key (section 8.6 uses whatever the password gives) is set all the same; only the return value tells.
                _ = nettle_des_set_key(&context, &key)
                response.withUnsafeMutableBufferPointer {
                    nettle_des_encrypt(&context, 8, $0.baseAddress! + block * 8, challenge)
                }
                wipe(&context)
                wipe(&key)
            }
        }
        return response
    }

    /// GenerateNTResponse (section 8.1).
    public static func ntResponse(
        authenticatorChallenge: [UInt8], peerChallenge: [UInt8], userName: [UInt8], ntHash: Secret
    ) -> [UInt8] {
        let challenge = challengeHash(
            peerChallenge: peerChallenge, authenticatorChallenge: authenticatorChallenge, userName: userName)
        return challengeResponse(challenge: challenge, ntHash: ntHash)
    }

    /// GenerateAuthenticatorResponse (section 8.7): `S=` and 40 digits.
    public static func authenticatorResponse(
        authenticatorChallenge: [UInt8], peerChallenge: [UInt8], ntResponse: [UInt8], userName: [UInt8], ntHash: Secret
    ) -> String {
        var inner = SHA1()
        inner.update(md4(ntHash))
        inner.update(ntResponse)
        inner.update("Magic server to client signing constant".utf8)
        var outer = SHA1()
        outer.update(inner.digest())
        outer.update(
            challengeHash(peerChallenge: peerChallenge, authenticatorChallenge: authenticatorChallenge, userName: userName))
        outer.update("Pad to make it do more than one iteration".utf8)
        let digits = Array("0123456789ABCDEF")
        return "S=" + String(outer.digest().flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] })
    }

    /// CheckAuthenticatorResponse (section 8.8): whether the message of a CHAP Success packet begins with the response we expect.
    public static func verify(successMessage: [UInt8], expected: String) -> Bool {
        constantTimeEqual(successMessage.prefix(expected.utf8.count), Array(expected.utf8))
    }

    /// The start keys of one end (RFC 3079 sections 3.3 and 3.4: GetMasterKey, GetAsymmetricStartKey).
    public static func startKeys(ntHash: Secret, ntResponse: [UInt8], role: Role) -> StartKeys {
        let master = masterKey(ntHash: ntHash, ntResponse: ntResponse)
        let toClient = asymmetricStartKey(master: master, clientSends: false)
        let toServer = asymmetricStartKey(master: master, clientSends: true)
        return role == .server ? StartKeys(send: toClient, receive: toServer) : StartKeys(send: toServer, receive: toClient)
    }

    static func masterKey(ntHash: Secret, ntResponse: [UInt8]) -> Secret {
        var hash = SHA1()
        hash.update(md4(ntHash))
        hash.update(ntResponse)
        hash.update("This is the MPPE Master Key".utf8)
        return hash.secret(count: 16)
    }

    static func asymmetricStartKey(master: Secret, clientSends: Bool) -> Secret {
        let magic =
            clientSends
            ? "On the client side, this is the send key; on the server side, it is the receive key."
            : "On the client side, this is the receive key; on the server side, it is the send key."
        var hash = SHA1()
        hash.update(master)
        hash.update(repeatElement(0, count: 40))
        hash.update(magic.utf8)
        hash.update(repeatElement(0xF2, count: 40))
        return hash.secret(count: startKeyLength)
    }
}
