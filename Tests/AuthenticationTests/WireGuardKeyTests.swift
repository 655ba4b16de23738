import Testing

@testable import Authentication

@Suite struct WireGuardKeyTests {
    private func encoded(_ bytes: [UInt8]) -> String {
        var text = Array("k=".utf8)
        bytes.withUnsafeBytes { WireGuardKey.encode($0, onto: &text) }
        return String(decoding: text.dropFirst(2), as: UTF8.self)
    }

    /// Worked out with coreutils' base64.
    @Test(arguments: [
        ([UInt8](repeating: 0, count: 32), "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="),
        ([UInt8](repeating: 0xFF, count: 32), "//////////////////////////////////////////8="),
        (Array(0..<32), "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="),
        ((0..<32).map { UInt8($0 * 8 + 3) }, "AwsTGyMrMztDS1NbY2tze4OLk5ujq7O7w8vT2+Pr8/s="),
    ])
    func bothWays(bytes: [UInt8], text: String) {
        #expect(encoded(bytes) == text)
        #expect(WireGuardKey.decode(text) == Secret(bytes))
        #expect(WireGuardKey.canonical(text) == text)
        #expect(WireGuardKey.decode(" \(text)\r\n") == Secret(bytes))
    }

    @Test func random() {
        for _ in 0..<200 {
            let bytes = (0..<32).map { _ in UInt8.random(in: 0...255) }
            #expect(WireGuardKey.decode(encoded(bytes)) == Secret(bytes))
        }
    }

    @Test(arguments: [
        "", "AAAA", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAB=", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=A", "AAAAAAAAAAAAAAAAAAAAA AAAAAAAAAAAAAAAAAAAAA=",
        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA-A=",
    ])
    func wrong(_ text: String) {
        #expect(WireGuardKey.decode(text) == nil)
        #expect(WireGuardKey.canonical(text) == nil)
    }
}
