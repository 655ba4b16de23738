import Testing

@testable import Addresses

@Suite struct DictionaryShrinkTests {
    @Test func aCrowdLeavesNoRoomBehind() {
        var table = Dictionary(uniqueKeysWithValues: (0..<2000).map { ($0, $0) })
        table.shrinkIfSparse()
        #expect(table.count == 2000)
        for key in 10..<2000 { table[key] = nil }
        #expect(table.capacity >= 2000)
        table.shrinkIfSparse()
        #expect(table == Dictionary(uniqueKeysWithValues: (0..<10).map { ($0, $0) }))
        #expect(table.capacity < 50)
    }
}
