import Addresses
import Diagnosis
import Foundation
import PPP
import PPTP
import Testing

@testable import Gateway

@Suite struct AttemptBookTests {
    static func entry(_ number: UInt64) -> AttemptBook.Entry {
        let attempt = Attempt(clientAddress: IPAddress("198.51.100.7")!, gatewayAddress: IPAddress("192.0.2.1")!, stage: .called, seconds: 8)
        return .init(session: number, connection: number, user: nil, endedAt: Date(), attempt: attempt, verdicts: attempt.verdicts)
    }

    @Test func theOldestGoFirst() {
        var book = AttemptBook()
        let all = UInt64(AttemptBook.capacity + 3)
        for number in 1...all { book.add(Self.entry(number)) }
        #expect(book.entries.map(\.session) == Array(4...all))
        #expect(book.counts == [.greBlockedInbound: all])
    }

    /// Whoever fails all the time does not fill the log.
    @Test func linesAreRationed() {
        var book = AttemptBook()
        let now = ContinuousClock.now
        let lines = (0..<1000).count { _ in book.mayLog(now: now + .milliseconds(10)) }
        #expect(lines == AttemptBook.perSecond)
        let later = book.mayLog(now: now + .seconds(2))
        #expect(later)
    }

    @Test func unknownCallsAreRememberedBySource() {
        var calls = UnknownCalls()
        let now = ContinuousClock.now, first = IPAddress("203.0.113.1")!
        calls.saw(7, from: first, now: now)
        calls.saw(8, from: first, now: now + .seconds(1))
        #expect(calls[first]?.count == 2)
        #expect(calls[first]?.callID == 8)
        for number in 0..<UInt32(UnknownCalls.capacity) { calls.saw(1, from: IPAddress(v4: 0x0A00_0000 + number), now: now + .seconds(2 + Int(number))) }
        #expect(calls[first] == nil)
        #expect(calls[IPAddress("10.0.0.0")!] != nil)
    }

    /// The link knows better than the line why it ended, except where it was the line.
    @Test func ends() {
        #expect(Attempt.End(CallEnd.clearedByPeer) == .hungUp)
        #expect(Attempt.End(CallEnd.connectionClosed(.peerClosed)) == .cut)
        #expect(Attempt.End(CallEnd.connectionClosed(.echoTimeout)) == .controlEchoTimeout)
        #expect(Attempt.End(TerminationReason.lowerLayerDown) == nil)
        #expect(Attempt.End(TerminationReason.encryptionRefused) == .encryptionRefused)
        #expect(Attempt.LogInResult(.wrongPassword) == .wrongPassword)
        #expect(Attempt.LogInResult(.policy("outside hours")) == .refused)
    }

    @Test func subjects() {
        let address = IPAddress("198.51.100.7")!
        #expect(DiagnosisSubject().matches(nil, nil, address))
        #expect(DiagnosisSubject(user: "ann").matches(1, "ann", address))
        #expect(!DiagnosisSubject(user: "ann").matches(1, nil, address))
        #expect(!DiagnosisSubject(session: 2).matches(1, "ann", address))
        #expect(!DiagnosisSubject(address: IPAddress("198.51.100.8")!).matches(1, "ann", address))
    }
}
