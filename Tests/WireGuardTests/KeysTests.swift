import Testing

@testable import WireGuard

@Suite struct KeysTests {
    /// The pair as wg(8) prints it: `printf '\x11' ... | base64 | wg pubkey`.
    @Test func thePublicKeyIsWhatTheToolsCompute() throws {
        let key = try #require(PrivateKey(base64: "ERERERERERERERERERERERERERERERERERERERERERE="))
        #expect(key.publicKey.description == "e06Qm75//kTEZaIgA31gjuNYl9Me+XLwf3SJLLD3PxM=")
        // Clamped: RFC 7748 section 5.
        #expect(key.exportBase64() == "EBEREREREREREREREREREREREREREREREREREREREVE=")
        #expect(key == PrivateKey(bytes: [UInt8](repeating: 0x11, count: 32)))
        #expect(PrivateKey(base64: key.exportBase64()) == key)
    }

    @Test func newKeysDiffer() {
        let (one, two) = (PrivateKey(), PrivateKey())
        #expect(one != two)
        #expect(one.publicKey != two.publicKey)
        one.withBytes {
            #expect($0[0] & 7 == 0)
            #expect($0[31] & 0xC0 == 0x40)
        }
        #expect(PresharedKey() != PresharedKey())
        #expect(!PresharedKey().isZero)
        #expect(presharedKey(0).isZero)
    }

    @Test func secretsDoNotPrint() {
        let key = PrivateKey()
        let preshared = PresharedKey()
        let peer = PeerConfiguration(publicKey: publicKey(1), allowedIPs: [], presharedKey: preshared)
        let tunnel = TunnelConfiguration(interfaceName: "wg0", privateKey: key, peers: [peer])
        var dumped = ""
        dump(tunnel, to: &dumped)
        for text in [
            "\(key)", String(reflecting: key), "\(preshared)", String(reflecting: preshared), "\(tunnel)", "\(peer)", dumped,
        ] {
            #expect(!text.contains(key.exportBase64()))
            #expect(!text.contains(preshared.exportBase64()))
        }
        #expect("\(key)" == "(hidden)")
        #expect(dumped.contains("(hidden)"))
    }

    @Test(arguments: [
        "", "e06Qm75//kTEZaIgA31gjuNYl9Me+XLwf3SJLLD3PxM", "e06Qm75//kTEZaIgA31gjuNYl9Me+XLwf3SJLLD3PxMA",
        "e06Qm75//kTEZaIgA31gjuNYl9Me+XLwf3SJLLD3PxM=\n",
        "!06Qm75//kTEZaIgA31gjuNYl9Me+XLwf3SJLLD3PxM=", "e06Qm75//kTEZaIgA31gjuNYl9Me+XLwf3SJLLD3Pw==",
    ])
    func textThatIsNotAKey(_ text: String) {
        #expect(PublicKey(text) == nil)
        #expect(PrivateKey(base64: text) == nil)
        #expect(PresharedKey(base64: text) == nil)
    }

    @Test func lengthsAreExact() {
        #expect(PublicKey(bytes: [UInt8](repeating: 1, count: 31)) == nil)
        #expect(PrivateKey(bytes: [UInt8](repeating: 1, count: 33)) == nil)
        #expect(PresharedKey(bytes: []) == nil)
    }

    @Test func hexadecimalOfTheUAPISocket() {
        #expect(String(decoding: [0x0A, 0xFF].withUnsafeBytes { hexadecimal($0) }.prefix(2), as: UTF8.self) == "0a")
        #expect(decodeKey(hexadecimal: repeated("ab")[...])?.withBytes { Array($0) } == [UInt8](repeating: 0xAB, count: 32))
        #expect(decodeKey(hexadecimal: repeated("ab").dropLast()) == nil)
        #expect(decodeKey(hexadecimal: (repeated("ab").dropLast() + "x")[...]) == nil)
    }
}
