import Testing

@testable import Settings

@Suite struct KeyLocatorTests {
    struct Case: Sendable {
        var text: String
        var lines: [String: Int]
    }

    @Test(arguments: [
        Case(text: "", lines: [:]),
        Case(text: "a = 1\nb=2", lines: ["a": 1, "b": 2]),
        Case(text: "# x = 1\n\n  a = 1 # b = 2\n", lines: ["a": 3]),
        Case(text: "[t]\na = 1\n[t.u]\nb = 2\n", lines: ["t": 1, "t.a": 2, "t.u": 3, "t.u.b": 4]),
        Case(text: "[[t]]\na = 1\n[[t]]\na = 2\n", lines: ["t": 1, "t[0]": 1, "t[0].a": 2, "t[1]": 3, "t[1].a": 4]),
        Case(
            text: "[[t]]\n[[t.p]]\nk = 1\n[[t.p]]\nk = 2\n[[t]]\n[[t.p]]\nk = 3\n[t.o]\nk = 4\n",
            lines: [
                "t": 1, "t[0]": 1, "t[0].p": 2, "t[0].p[0]": 2, "t[0].p[0].k": 3, "t[0].p[1]": 4, "t[0].p[1].k": 5, "t[1]": 6,
                "t[1].p": 7, "t[1].p[0]": 7, "t[1].p[0].k": 8, "t[1].o": 9, "t[1].o.k": 10,
            ]),
        Case(text: "a.b . c = 1\na.d = 2", lines: ["a": 1, "a.b": 1, "a.b.c": 1, "a.d": 2]),
        Case(text: "\"x.y\" = 1\n'z w'.v = 2\n\"\\u0041\" = 3", lines: ["\"x.y\"": 1, "\"z w\"": 2, "\"z w\".v": 2, "A": 3]),
        Case(text: "a = [\n  1, # one ]\n  2,\n]\nb = 3", lines: ["a": 1, "a[0]": 2, "a[1]": 3, "b": 5]),
        Case(
            text: "a = [[1, 2], ['x',\n'y']]",
            lines: ["a": 1, "a[0]": 1, "a[0][0]": 1, "a[0][1]": 1, "a[1]": 1, "a[1][0]": 1, "a[1][1]": 2]),
        Case(text: "a = {b = 1, c = {d = [2]}}\ne = 1", lines: ["a": 1, "a.b": 1, "a.c": 1, "a.c.d": 1, "a.c.d[0]": 1, "e": 2]),
        Case(text: "a = [{b = 1},\n{b = 2}]", lines: ["a": 1, "a[0]": 1, "a[0].b": 1, "a[1]": 2, "a[1].b": 2]),
        Case(text: "a = \"\"\"\nx = 1\n\\\"\"\" \"\"\"\nb = 2", lines: ["a": 1, "b": 4]),
        Case(text: "a = '''\n[t]\n'''''\nb = 2", lines: ["a": 1, "b": 4]),
        Case(
            text: "a = \"]#\\\"\" # c\nb = ''\nc = \"\"\nd = 2024-01-01 10:00:00\ne = 1",
            lines: ["a": 1, "b": 2, "c": 3, "d": 4, "e": 5]),
        Case(text: "a = 1\r\nb = 2\r\n", lines: ["a": 1, "b": 2]),
        // Not TOML: the scan stops where it is lost.
        Case(text: "a = 1\n= 2\nb = 3", lines: ["a": 1]),
        Case(text: "a = \"open\nb = 3", lines: ["a": 1]),
        Case(text: "[a\nb = 1", lines: [:]),
    ])
    func lines(sample: Case) { #expect(KeyLocator(sample.text).lines == sample.lines) }

    /// On the first of these the parser would end the process.
    @Test(arguments: [
        "[=", "a = 1\n[ #\n", "[[.a]]", "[a\n", "= 1", "a = \n", "a", "a = [1", "a = {b = 1", "a = \"x", "a = '''x''", "[\"a",
    ])
    func getsLost(text: String) {
        #expect(KeyLocator(text).lostLine != nil)
        var sample = Sample()
        sample.top = text
        #expect(sample.issues.count == 1)
    }

    @Test func findsItsWay() {
        for text in [
            "", "\u{FEFF}a = 1", "a = 1", "a = 1979-05-27 07:32:00Z # x", "[ a . \"b\" ]\nc = +1.0e-3", "a = [ # x\n]", "a = {}",
        ] {
            #expect(KeyLocator(text).lostLine == nil)
        }
    }

    @Test func theClosestKeyAround() {
        let locator = KeyLocator("[t]\na = [1]\n[[u]]\n")
        #expect(locator["t.missing"] == 1)
        #expect(locator["t.a[7]"] == 2)
        #expect(locator["u[0].missing"] == 3)
        #expect(locator["missing"] == nil)
    }

    @Test func anythingEndsTheScan() {
        let alphabet = Array("[]{}=.,\"'\\#\n a1-".utf8)
        var state: UInt64 = 42
        for _ in 0..<20_000 {
            let text = (0..<24).map { _ in
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                return alphabet[Int(state >> 33) % alphabet.count]
            }
            let lines = text.reduce(1) { $0 + ($1 == UInt8(ascii: "\n") ? 1 : 0) }
            #expect(KeyLocator(String(decoding: text, as: UTF8.self)).lines.values.allSatisfy { (1...lines).contains($0) })
        }
        #expect(KeyLocator("a = " + String(repeating: "[", count: 100_000)).lines["a"] == 1)
    }
}
