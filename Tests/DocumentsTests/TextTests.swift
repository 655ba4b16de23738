import Testing

@testable import Documents

@Suite struct TextTests {
    private func table(_ header: [String], _ rows: [[String]]) -> String { textTable(header, rows).joined(separator: "\n") }

    @Test func tables() {
        #expect(table(["ID", "USER"], []) == "ID  USER")
        #expect(
            table(["ID", "USER", "STATE"], [["1", "ann", "open"], ["1000", "somebody", "-"]])
                == "ID    USER      STATE\n1     ann       open\n1000  somebody  -")
        // Empty cells leave no blanks at the end of a line.
        #expect(table(["A", "B"], [["x", ""]]) == "A  B\nx")
    }

    /// Names outside ASCII are neither cut nor do they shift the columns.
    @Test func tablesOfAllLetters() {
        #expect(table(["USER", "S"], [["zoë", "1"], ["zoe\u{308}", "2"], ["👍🏽", "3"]]) == "USER  S\nzoë   1\nzoe\u{308}   2\n👍🏽     3")
    }

    /// Nothing in what strangers say makes a line of its own, moves the cursor, or turns the line around.
    @Test func whatStrangersSayStaysOnItsLine() {
        #expect(printable("zoë \u{1B}[2J\r\n\u{202E}x\u{9B}\u{2028}") == #"zoë \u{1B}[2J\r\n\u{202E}x\u{009B}\u{2028}"#)
        #expect(table(["USER", "S"], [["a\nb", "1"]]) == "USER  S\na\\nb  1")
    }
}
