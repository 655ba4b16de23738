import Testing

@testable import DataPath

@Suite struct WireGuardSecretTests {
    let bytes = (1...32).map(UInt8.init)

    @Test func exactly32Bytes() {
        #expect(WireGuardSecret(copying: bytes)?.withBytes { Array($0) } == bytes)
        for count in [0, 31, 33] { #expect(WireGuardSecret(copying: [UInt8](repeating: 1, count: count)) == nil) }
    }

    @Test func noneIsZero() {
        #expect(WireGuardSecret.none.isNone)
        #expect(WireGuardSecret(copying: [UInt8](repeating: 0, count: 32)) == WireGuardSecret.none)
        #expect(WireGuardSecret(copying: bytes)?.isNone == false)
    }

    @Test func anyBitMakesAnotherKey() {
        let key = WireGuardSecret(copying: bytes)!
        #expect(key == WireGuardSecret(copying: bytes)!)
        for index in bytes.indices {
            var other = bytes
            other[index] ^= 0x80
            #expect(key != WireGuardSecret(copying: other)!)
        }
    }

    /// Neither print, nor string interpolation, nor a dump of what holds it shows the bytes.
    @Test func itIsNeverShown() {
        let secret = WireGuardSecret(copying: [UInt8](repeating: 0xAB, count: 32))
        let change = WireGuardEngine.PeerChange(publicKey: bytes, presharedKey: secret)
        var dumped = ""
        dump(change, to: &dumped)
        for text in ["\(change)", String(reflecting: change), dumped, "\(change.presharedKey!)"] {
            #expect(text.contains("(hidden)"))
            #expect(!text.contains("171"))
        }
    }
}
