import Testing

@testable import WireGuard

@Suite struct UAPIConversationTests {
    /// What one client's bytes lead to, taken in pieces of `size`.
    private func actions(_ text: String, pieces size: Int = UAPIConversation.chunk) -> [UAPIConversation.Action] {
        var conversation = UAPIConversation()
        var actions: [UAPIConversation.Action] = []
        let bytes = Array(text.utf8)
        for start in stride(from: 0, to: bytes.count, by: size) {
            conversation.receive(bytes[start..<min(start + size, bytes.count)])
            while let action = conversation.next() { actions.append(action) }
        }
        return actions
    }

    private var port: InterfaceChange {
        var change = InterfaceChange()
        change.listenPort = 7
        return change
    }

    static let several = "get=1\n\nset=1\nlisten_port=7\n\nset=1\n\nget=1\n\n"

    @Test(arguments: [1, 2, 3, 5, 7, 1000]) func severalRequestsHoweverTheyArrive(_ size: Int) {
        #expect(actions(Self.several, pieces: size) == [.list, .apply(port), .apply(InterfaceChange()), .list])
    }

    @Test func aRequestThatIsCutShortIsNone() {
        for length in 0..<"set=1\nlisten_port=7\n\n".utf8.count {
            #expect(actions(String("set=1\nlisten_port=7\n\n".prefix(length))).isEmpty)
        }
    }

    @Test(arguments: ["", "x", "get=2", "set=0", "GET=1", " get=1", "get=1 ", "errno=0", "get=1\r"]) func otherOperationsEndIt(_ line: String) {
        #expect(actions("get=1\n\n\(line)\nget=1\n\n") == [.list, .end])
    }

    @Test func aRefusedRequestIsSkippedToItsEnd() {
        #expect(actions("set=1\nlisten_port=x\nlisten_port=8\n\nget=1\n\n", pieces: 4) == [.refuse(.invalid), .list])
        #expect(actions("set=1\nlisten_port\n\nset=1\nlisten_port=7\n\n") == [.refuse(.notProtocol), .apply(port)])
        #expect(actions("get=1\nx\n\nget=1\n\n") == [.refuse(.invalid), .list])
    }

    @Test(arguments: [1, 1024, UAPIConversation.chunk]) func aLineWithoutEnd(_ size: Int) {
        let long = String(repeating: "a", count: UAPIConversation.longestLine + 1)
        #expect(actions(long + "\nget=1\n\n", pieces: size) == [.end])
        #expect(actions("set=1\n" + long, pieces: size) == [.refuse(.inputOutput)])
        #expect(actions("set=1\n" + long + "\n\nget=1\n\n", pieces: size) == [.refuse(.inputOutput)])
        #expect(actions("get=1\n" + long, pieces: size) == [.refuse(.inputOutput)])
        #expect(actions("set=1\nx\n" + long, pieces: size) == [.refuse(.notProtocol), .end])
    }

    @Test func theLongestLinePasses() {
        let line = "x=" + String(repeating: "a", count: UAPIConversation.longestLine - 2)
        #expect(actions("set=1\n\(line)\n\nget=1\n\n") == [.refuse(.invalid), .list])
    }

    @Test(arguments: [("set=1\n", UAPIConversation.Action.refuse(.inputOutput)), ("set=1\nx\n", .end)])
    func aRequestWithoutEnd(_ start: String, _ last: UAPIConversation.Action) {
        let limit = 65536
        let line = "fwmark=000000000000000000000000000000000000000000000000000001\n"
        for (count, isTooLong) in [(limit / line.utf8.count, false), (limit / line.utf8.count + 1, true)] {
            var conversation = UAPIConversation(longestRequest: limit)
            var actions: [UAPIConversation.Action] = []
            for text in [start] + Array(repeating: line, count: count) + ["\nget=1\n\n"] {
                conversation.receive(Array(text.utf8))
                while let action = conversation.next() { actions.append(action) }
            }
            #expect((actions.last == last) == isTooLong)
            #expect(conversation.hasEnded == isTooLong)
        }
    }

    @Test func idleIsOnlyBetweenRequests() {
        var conversation = UAPIConversation()
        #expect(conversation.isIdle)
        conversation.receive(Array("g".utf8))
        #expect(conversation.next() == nil && !conversation.isIdle)
        conversation.receive(Array("et=1\n".utf8))
        #expect(conversation.next() == nil && !conversation.isIdle)
        conversation.receive(Array("\n".utf8))
        #expect(conversation.next() == .list && conversation.isIdle)
    }
}
