import Testing

@testable import Authentication

@Suite struct SecretTests {
    @Test func showsNothing() {
        let secret = Secret(utf8: "hunter2")
        var dumped = ""
        dump(secret, to: &dumped)
        for text in ["\(secret)", String(reflecting: secret), dumped, "\([secret])", "\(Optional(secret) as Any)"] {
            #expect(!text.contains("hunter2") && !text.contains("0x"))
        }
    }

    @Test func comparesContents() {
        #expect(Secret([1, 2, 3]) == Secret([1, 2, 3]))
        #expect(Secret([1, 2, 3]) != Secret([1, 2, 4]))
        #expect(Secret([1, 2, 3]) != Secret([1, 2]))
        #expect(Secret([]) == Secret([]))
    }

    @Test func constantTimeEquality() {
        #expect(constantTimeEqual([1, 2], [1, 2]))
        #expect(!constantTimeEqual([1, 2], [1, 3]))
        #expect(!constantTimeEqual([1, 2], [0, 2]))
        #expect(!constantTimeEqual([1], [1, 2]))
        #expect(constantTimeEqual([UInt8](), [UInt8]()))
    }

    @Test func holdsItsBytes() {
        let secret = Secret(count: 4) { $0.copyBytes(from: [9, 8, 7]) }
        #expect(secret.withUnsafeBytes { Array($0) } == [9, 8, 7, 0])
    }

    @Test func userNamesCannotForgeALogLine() {
        #expect(printableUserName(Array("ann".utf8)) == "ann")
        #expect(printableUserName(Array("größe".utf8)) == "größe")
        #expect(!printableUserName(Array("ann\n2026-01-01 root logged in".utf8)).contains("\n"))
        #expect(!printableUserName([0x1B, 0x5B, 0x33, 0x31, 0x6D]).contains("\u{1B}"))
        #expect(!printableUserName(Array("a\u{202E}b".utf8)).unicodeScalars.contains("\u{202E}"))
        #expect(printableUserName([0x61, 0xF6]) == "aö")
    }
}
