import Testing

@testable import Documents

@Suite struct DocumentsTests {
    @Test func bars() {
        let empty = BarPlot(title: "t", series: ["a"], groups: [(name: "g", bars: [nil])])
        #expect(empty.svg.isEmpty)
        let plot = BarPlot(
            title: "t", series: ["a", "b"], groups: [(name: "g", bars: [.init(value: 1, least: 0.5, greatest: 2), .init(value: 2, least: 2, greatest: 2)])])
        // The scale ends at the greatest value; a range is drawn where there is one.
        #expect(plot.svg.contains("width=\"235.0\"") && plot.svg.contains("width=\"470.0\""))
        #expect(plot.svg.components(separatedBy: "class=\"range\"").count == 2)
    }

    @Test func threeDigitsThatCount() {
        #expect([0, 0.0012, 0.5, 1.234, 12.34, 123.4, 12345].map(number) == ["0", "0.0012", "0.50", "1.23", "12.3", "123", "12345"])
    }

    @Test func areas() {
        #expect(AreaPlot(title: "t", series: ["a"], labels: ["1"], values: [[1]]).svg.isEmpty)
        #expect(AreaPlot(title: "t", series: ["a"], labels: ["1", "2"], values: [[0], [0]]).svg.isEmpty)
        let svg = AreaPlot(title: "t & u", series: ["a", "b"], labels: ["1", "2", "3"], values: [[4, 0], [2, 2], [0, 4]]).svg
        // The first series lies at the bottom: from all of the height down to nothing; the second one fills the rest.
        #expect(svg.contains("<polygon class=\"s0\" points=\"40.0,26.0 380.0,126.0 720.0,226.0 720.0,226.0 380.0,226.0 40.0,226.0\"/>"))
        #expect(svg.contains("<polygon class=\"s1\" points=\"40.0,26.0 380.0,26.0 720.0,26.0 720.0,226.0 380.0,126.0 40.0,26.0\"/>"))
        #expect(svg.contains(">t &amp; u</text>"))
    }

    @Test func columnsAreAsWideAsTheirLongestCell() {
        #expect(textTable(["a", "bb"], [["ccc", "d"], ["", "e"]]) == ["a    bb", "ccc  d", "     e"])
    }

    @Test func cellsAndTitlesAreText() {
        #expect(HTMLPage.table(["<b>"], [["a & \"b\""]]).contains("<th>&lt;b&gt;</th></tr>\n<tr><td>a &amp; &quot;b&quot;</td>"))
        #expect(HTMLPage(title: "<x>").text("<p></p>").contains("<title>&lt;x&gt;</title>"))
    }
}
