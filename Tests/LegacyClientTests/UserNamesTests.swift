import Testing

@testable import LegacyClient

@Suite("User names of many sessions")
struct UserNamesTests {
    @Test func expansions() throws {
        #expect(try UserNames.expand(["ann"], count: nil) == ["ann"])
        #expect(try UserNames.expand(["ann"], count: 3) == ["ann", "ann", "ann"])
        #expect(try UserNames.expand(["ann", "bob"], count: nil) == ["ann", "bob"])
        #expect(try UserNames.expand(["ann", "bob"], count: 2) == ["ann", "bob"])
        #expect(try UserNames.expand(["u%d"], count: 3) == ["u1", "u2", "u3"])
        #expect(try UserNames.expand(["u%03d@x"], count: 2) == ["u001@x", "u002@x"])
        #expect(try UserNames.expand(["u%01d"], count: 12).last == "u12")
        #expect(try UserNames.expand(["u%d"], count: nil) == ["u1"])
    }

    @Test(arguments: [
        ([], nil), (["ann"], 0), (["a", "b"], 3), (["a%d", "b"], nil), (["a%s"], 2), (["a%"], 2), (["a%d%d"], 2), (["a%12d"], 2),
        (["a%010d"], 2),
    ] as [([String], Int?)])
    func refusals(_ names: [String], _ count: Int?) {
        #expect(throws: UserNames.PatternError.self) { try UserNames.expand(names, count: count) }
    }
}
