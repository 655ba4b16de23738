import Testing

@testable import PPP

/// RFC 1661 section 4.1, transcribed: actions / next state, "-" where nothing may happen.
private let table: [(Automaton.Event, String)] = [
    (.up, "2 | irc,scr/6 | - | - | - | - | - | - | - | -"),
    (.down, "- | - | 0 | tls/1 | 0 | 1 | 1 | 1 | 1 | tld/1"),
    (.open, "tls/1 | 1 | irc,scr/6 | 3 | 5 | 5 | 6 | 7 | 8 | 9"),
    (.close, "0 | tlf/0 | 2 | 2 | 4 | 4 | irc,str/4 | irc,str/4 | irc,str/4 | tld,irc,str/4"),
    (.timeoutRetry, "- | - | - | - | str/4 | str/5 | scr/6 | scr/6 | scr/8 | -"),
    (.timeoutGiveUp, "- | - | - | - | tlf/2 | tlf/3 | tlf/3 | tlf/3 | tlf/3 | -"),
    (.goodRequest, "- | - | sta/2 | irc,scr,sca/8 | 4 | 5 | sca/8 | sca,tlu/9 | sca/8 | tld,scr,sca/8"),
    (.badRequest, "- | - | sta/2 | irc,scr,scn/6 | 4 | 5 | scn/6 | scn/7 | scn/6 | tld,scr,scn/6"),
    (.ack, "- | - | sta/2 | sta/3 | 4 | 5 | irc/7 | scr/6 | irc,tlu/9 | tld,scr/6"),
    (.nakOrReject, "- | - | sta/2 | sta/3 | 4 | 5 | irc,scr/6 | scr/6 | irc,scr/8 | tld,scr/6"),
    (.terminateRequest, "- | - | sta/2 | sta/3 | sta/4 | sta/5 | sta/6 | sta/6 | sta/6 | tld,zrc,sta/5"),
    (.terminateAck, "- | - | 2 | 3 | tlf/2 | tlf/3 | 6 | 6 | 8 | tld,scr/6"),
    (.unknownCode, "- | - | scj/2 | scj/3 | scj/4 | scj/5 | scj/6 | scj/7 | scj/8 | scj/9"),
    (.permittedReject, "- | - | 2 | 3 | 4 | 5 | 6 | 6 | 8 | 9"),
    (.catastrophicReject, "- | - | tlf/2 | tlf/3 | tlf/2 | tlf/3 | tlf/3 | tlf/3 | tlf/3 | tld,irc,str/5"),
    (.echo, "- | - | 2 | 3 | 4 | 5 | 6 | 7 | 8 | ser/9"),
]

private let names: [String: Automaton.Action] = [
    "tlu": .layerUp, "tld": .layerDown, "tls": .layerStarted, "tlf": .layerFinished, "irc": .initializeRestartCount,
    "zrc": .zeroRestartCount, "scr": .sendRequest, "sca": .sendAck, "scn": .sendNakOrReject, "str": .sendTerminateRequest,
    "sta": .sendTerminateAck, "scj": .sendCodeReject, "ser": .sendEchoReply,
]

@Suite struct AutomatonTests {
    @Test(arguments: table.indices) func `every event in every state does what the RFC's table says`(row: Int) throws {
        let (event, cells) = table[row]
        let columns = cells.split(separator: "|").map { $0.trimmingSpaces }
        try #require(columns.count == Automaton.State.allCases.count)
        for (state, cell) in zip(Automaton.State.allCases, columns) {
            var actions: [Automaton.Action] = []
            var next = state
            if cell != "-" {
                let parts = cell.split(separator: "/")
                next = try #require(Automaton.State(rawValue: UInt8(parts.last!)!))
                if parts.count == 2 { actions = parts[0].split(separator: ",").map { names[String($0)]! } }
            }
            let result = Automaton.transition(state, event)
            #expect(result.0 == actions && result.1 == next, "\(event) in \(state): \(result)")
        }
    }

    @Test func `the table has a row for every event`() {
        #expect(Set(table.map(\.0)) == Set(Automaton.Event.allCases))
    }

    @Test func `the restart timer runs from Closing to Ack-Sent`() {
        let running = Automaton.State.allCases.filter { state in
            var automaton = Automaton()
            reach(state, &automaton)
            return automaton.timerRuns
        }
        #expect(running == [.closing, .stopping, .requestSent, .ackReceived, .ackSent])
    }

    private func reach(_ state: Automaton.State, _ automaton: inout Automaton) {
        let paths: [Automaton.State: [Automaton.Event]] = [
            .initial: [], .starting: [.open], .closed: [.up], .stopped: [.open, .up, .timeoutGiveUp], .closing: [.open, .up, .close],
            .stopping: [.open, .up, .ack, .goodRequest, .terminateRequest], .requestSent: [.open, .up],
            .ackReceived: [.open, .up, .ack], .ackSent: [.open, .up, .goodRequest], .opened: [.open, .up, .ack, .goodRequest],
        ]
        for event in paths[state]! { _ = automaton.handle(event) }
        #expect(automaton.state == state)
    }
}

extension Substring {
    fileprivate var trimmingSpaces: Substring { drop { $0 == " " }.prefix { $0 != " " } }
}
