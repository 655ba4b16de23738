import Testing

@testable import Gateway

@Suite struct HookOutputTests {
    private func output(_ parts: String...) -> HookOutput {
        var output = HookOutput()
        for part in parts { output.append(Array(part.utf8)) }
        return output
    }

    @Test func nothing() {
        #expect(output().lines == [])
        #expect(output("", "\n\n").lines == [])
        #expect(output("\r\n").lastWords == "")
    }

    @Test func linesComeInPieces() {
        let output = output("fir", "st\nsec\u{7}", "ond\r\n", "\n")
        #expect(output.lines == ["first", "sec?ond"])
        #expect(output.lastWords == "sec?ond")
        #expect(output.count == 16)
    }

    @Test(arguments: [1, 7, 4095, 4096, 4097, 100_000])
    func theRestIsCounted(_ piece: Int) {
        var output = HookOutput()
        let text = Array(repeating: UInt8(ascii: "a"), count: 10_000) + Array("\nthe end\n".utf8)
        for start in stride(from: 0, to: text.count, by: piece) { output.append(text[start..<min(text.count, start + piece)]) }
        #expect(output.lines == [String(repeating: "a", count: HookOutput.mostKept), "... and 5913 bytes more"])
        #expect(output.lastWords == "the end")
        #expect(output.count == 10_009)
    }

    @Test func aLongLastLineIsShown() {
        let output = output(String(repeating: "a", count: 1000) + "z")
        #expect(output.lastWords == String(repeating: "a", count: HookOutput.mostLastWords - 1) + "z")
    }

    @Test func whatFitsExactlyIsAll() {
        let text = String(repeating: "a", count: HookOutput.mostKept)
        #expect(output(text).lines == [text])
        #expect(output(text, "b").lines == [text, "... and 1 bytes more"])
    }
}
