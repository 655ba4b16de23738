import Addresses
import Testing

@testable import Diagnosis

extension Attempt {
    /// Of a client at 198.51.100.7, as far as `stage`, with all that a healthy one leaves behind on its way there.
    static func sample(_ stage: Stage, _ end: End? = nil, seconds: Double = 8, _ change: (inout Attempt) -> Void = { _ in }) -> Attempt {
        var attempt = Attempt(clientAddress: IPAddress("198.51.100.7")!, gatewayAddress: IPAddress("192.0.2.1")!, stage: stage, seconds: seconds)
        attempt.end = end
        if stage >= .called {
            (attempt.callID, attempt.peerCallID) = (4711, 12)
            attempt.gre.sent = 3
            attempt.negotiation.lcp.requestsOut = 3
        }
        if stage >= .linked {
            attempt.gre.received = 4
            attempt.negotiation.lcp = .settled
            attempt.negotiation.challengesOut = 1
        }
        if stage >= .authenticated {
            attempt.negotiation.responsesIn = 1
            attempt.logIn = .accepted
            attempt.userName = "ann"
            var tunnel = Tunnel(name: "hub", interface: "cw-hub", endpoint: "192.0.2.9:51820", handshakeSeconds: 12, receivedBytes: 300, sentBytes: 400, isUp: true)
            tunnel.innerAddress = IPAddress("10.8.0.10")
            attempt.tunnel = tunnel
        }
        if stage == .open {
            attempt.negotiation.ccp = .settled
            attempt.negotiation.ipcp = .settled
            attempt.gre.received = 2000
            attempt.gre.sent = 2000
        }
        change(&attempt)
        return attempt
    }
}

extension Negotiation.Exchange {
    static var settled: Self {
        var exchange = Self()
        (exchange.requestsIn, exchange.requestsOut, exchange.answersIn, exchange.acksIn, exchange.acksOut) = (1, 1, 1, 1, 1)
        return exchange
    }
}

/// What each kind of evidence means; the table holds every name that there is.
@Suite struct AttemptTests {
    struct Case: Sendable, CustomTestStringConvertible {
        var name: Verdict.Name
        /// Something of the evidence that must be in the text.
        var says: String
        var attempt: Attempt
        var testDescription: String { "\(name.rawValue): \(says)" }
    }

    static let cases: [Case] = [
        Case(name: .greBlockedInbound, says: "in 8.0 s not one GRE packet came from 198.51.100.7, while we sent 3", attempt: .sample(.called)),
        Case(name: .greBlockedInbound, says: "in 2.5 s", attempt: .sample(.called, .hungUp, seconds: 2.5)),
        Case(
            name: .greBlockedOutbound, says: "has asked for LCP 4 times, but in 8.0 s it answered none of our 3",
            attempt: .sample(.called) {
                $0.gre.received = 4
                $0.negotiation.lcp.requestsIn = 4
            }),
        Case(name: .greOtherSource, says: "9 GRE packets", attempt: .sample(.called) { $0.gre.otherSource = 9 }),
        Case(
            name: .greUnknownCall, says: "5 GRE packets came from 198.51.100.7 with a call ID that no session has (77)",
            attempt: .sample(.called) {
                $0.gre.unknownCall = 5
                $0.gre.unknownCallID = 77
            }),
        Case(name: .natWithoutHelper, says: "1 other session from 198.51.100.7 works", attempt: .sample(.called) { $0.neighbours.live = 1 }),
        Case(
            name: .natWithoutHelper, says: "2 live sessions from 198.51.100.7 use the same call ID",
            attempt: .sample(.called) {
                ($0.neighbours.live, $0.neighbours.sameCallID) = (1, 1)
            }),
        Case(
            name: .natWithoutHelper, says: "none of our 3 LCP requests was answered",
            attempt: .sample(.called) {
                ($0.neighbours.live, $0.gre.received, $0.negotiation.lcp.requestsIn) = (2, 4, 4)
            }),
        Case(
            name: .greBlockedOutbound, says: "although each was acknowledged, and none of our 3 challenges",
            attempt: .sample(.linked) {
                ($0.negotiation.lcp.requestsIn, $0.negotiation.lcp.acksOut, $0.negotiation.challengesOut) = (4, 4, 3)
            }),
        Case(
            name: .natWithoutHelper, says: "GRE of 2 sessions comes from 198.51.100.7, and none of them hears us",
            attempt: .sample(.called) {
                ($0.neighbours.unanswered, $0.gre.received, $0.negotiation.lcp.requestsIn) = (1, 4, 4)
            }),
        Case(name: .startMissing, says: "no Start-Control-Connection-Request came in 10 s", attempt: .sample(.connected, .startTimeout, seconds: 10)),
        Case(name: .startMissing, says: "without a word of PPTP", attempt: .sample(.connected, .cut, seconds: 0.1)),
        Case(name: .callMissing, says: "no Outgoing-Call-Request came in 60 s", attempt: .sample(.started, .idle, seconds: 60)),
        Case(name: .controlCut, says: "after the start and before any call", attempt: .sample(.started, .cut, seconds: 0.2)),
        Case(name: .controlCut, says: "was reset 0.3 s after the call was accepted", attempt: .sample(.called, .cut, seconds: 0.3) { $0.wasReset = true }),
        Case(
            name: .idleTimeout, says: "silent for 300 s and then reset",
            attempt: .sample(.open, .cut, seconds: 900) {
                $0.wasReset = true
                $0.silentSeconds = 300
            }),
        Case(name: .idleTimeout, says: "did not answer an Echo-Request", attempt: .sample(.open, .controlEchoTimeout, seconds: 900) { $0.silentSeconds = 120 }),
        Case(name: .malformedControl, says: "is not PPTP", attempt: .sample(.connected, .malformed, seconds: 0.1)),
        Case(name: .malformedControl, says: "broke the protocol", attempt: .sample(.open, .malformed)),
        Case(name: .unknownUser, says: "user \"zed\" at 198.51.100.7 is in no secrets file", attempt: .refused(.unknownUser, "zed")),
        Case(name: .wrongPassword, says: "user \"ann\" at 198.51.100.7 exists", attempt: .refused(.wrongPassword, "ann")),
        Case(name: .lockedOut, says: "authentication.lockout-failures", attempt: .refused(.lockedOut, "ann")),
        Case(name: .loginRefused, says: "outside the hours", attempt: .refused(.refused, "ann") { $0.refusal = "outside the hours" }),
        Case(
            name: .authenticationRefused, says: "wants PAP instead",
            attempt: .sample(.called, .authenticationRefused) {
                $0.gre.received = 3
                $0.negotiation.methodWanted = 0xC023
            }),
        Case(
            name: .authenticationRefused, says: "wants CHAP with MD5 instead",
            attempt: .sample(.called, .authenticationRefused) {
                $0.gre.received = 3
                ($0.negotiation.methodWanted, $0.negotiation.algorithmWanted) = (0xC223, 5)
            }),
        Case(
            name: .authenticationRefused, says: "refuses MS-CHAPv2",
            attempt: .sample(.called) {
                $0.gre.received = 3
                $0.negotiation.rejectsAuthentication = true
            }),
        Case(name: .noResponse, says: "3 MS-CHAPv2 challenges", attempt: .sample(.linked, .loggedInTooLate) { $0.negotiation.challengesOut = 3 }),
        Case(name: .encryptionRefused, says: "rejects MPPE", attempt: .sample(.authenticated, .encryptionRefused) { $0.negotiation.rejectsEncryption = true }),
        Case(name: .encryptionRefused, says: "answered 0 of 10", attempt: .sample(.authenticated, .encryptionRefused) { $0.negotiation.ccp.requestsOut = 10 }),
        Case(
            name: .encryptionStrength, says: "offers MPPE with 40 bits, and here 128 bits",
            attempt: .sample(.authenticated, .encryptionRefused) { $0.negotiation.bitsAsked = 0x0100_0020 }),
        Case(
            name: .encryptionStateful, says: "asked 6 times without the stateless bit",
            attempt: .sample(.authenticated, .encryptionRefused) {
                $0.negotiation.bitsAsked = 0x40
                $0.negotiation.ccp.requestsIn = 6
            }),
        Case(
            name: .desynchronised, says: "lost their place 2 times, and 40 packets could not be decrypted, with 3 GRE packets lost",
            attempt: .sample(.open) {
                ($0.encryption.recoveries, $0.encryption.undecryptable, $0.gre.lost) = (2, 40, 3)
            }),
        Case(name: .noAddress, says: "no address could be given", attempt: .sample(.authenticated, .noAddress)),
        Case(
            name: .networkRefused, says: "0 of our 10 were answered",
            attempt: .sample(.authenticated, .networkFailed) {
                $0.negotiation.ccp = .settled
                $0.negotiation.ipcp.requestsOut = 10
            }),
        Case(name: .peerVanished, says: "after 900 s", attempt: .sample(.open, .echoTimeout, seconds: 900)),
        Case(
            name: .mtuBlackHole, says: "those of 1280 bytes come back and those of 1500 do not",
            attempt: .sample(.open) {
                ($0.path.largestAnswered, $0.path.smallestUnanswered) = (1280, 1500)
            }),
        Case(name: .pathLoss, says: "of 2200 GRE packets of the client at 198.51.100.7, 200 never came (9 %)", attempt: .sample(.open) { $0.gre.lost = 200 }),
        Case(
            name: .hubSilent, says: "no handshake with its hub at 192.0.2.9:51820 yet, 1480 bytes were sent, and it has sent nothing at all",
            attempt: .sample(.open) {
                ($0.tunnel!.handshakeSeconds, $0.tunnel!.receivedBytes, $0.tunnel!.sentBytes) = (nil, 0, 1480)
            }),
        Case(name: .hubSilent, says: "for 400 s", attempt: .sample(.open) { $0.tunnel!.handshakeSeconds = 400 }),
        Case(name: .hubSilent, says: "yet", attempt: .sample(.open) {
            ($0.tunnel!.handshakeSeconds, $0.tunnel!.sentBytes, $0.tunnel!.isUp) = (nil, 0, false)
        }),
        Case(name: .hubRefusesAddress, says: "7 packets of 10.8.0.10 went to no peer", attempt: .sample(.open) { $0.tunnel!.noPeer = 7 }),
        Case(
            name: .notNegotiated, says: "ended after 8.0 s at the stage \"called\" (lcp-failed): LCP requests 1 in, 3 out, answers 1",
            attempt: .sample(.called, .linkFailed) {
                ($0.gre.received, $0.negotiation.lcp.requestsIn, $0.negotiation.lcp.answersIn) = (2, 1, 1)
            }),
        Case(name: .hungUpEarly, says: "at the stage \"linked\"", attempt: .sample(.linked, .hungUp, seconds: 1)),
    ]

    @Test(arguments: cases) func verdict(_ one: Case) throws {
        let verdicts = one.attempt.verdicts
        let verdict = try #require(verdicts.first)
        #expect(verdicts.map(\.name) == [one.name])
        #expect(verdict.evidence.contains(one.says), "\(verdict.evidence)")
        #expect(!verdict.next.isEmpty)
        // For one line of a log, and to be typed: nothing of a stranger is in a command.
        #expect(!verdict.line.contains("\n"))
        #expect(verdict.commands.allSatisfy { !$0.contains("zed") && !$0.contains("ann ") })
    }

    @Test func everyNameIsInTheTable() { #expect(Set(Self.cases.map(\.name)) == Set(Verdict.Name.allCases)) }

    /// At no stage of its life, and not after its end.
    @Test func aHealthyAttemptHasNone() {
        for stage in Attempt.Stage.allCases {
            let seconds = stage < .linked ? 1.0 : 3
            #expect(Attempt.sample(stage, seconds: seconds).verdicts == [], "\(stage)")
        }
        for end in [Attempt.End.hungUp, .byUs, .cut] { #expect(Attempt.sample(.open, end, seconds: 500).verdicts == []) }
        // Asked for LCP often because its first requests met nobody, and then it went well.
        #expect(Attempt.sample(.open) { $0.negotiation.lcp.requestsIn = 5 }.verdicts == [])
        // MS-CHAPv2 was its second choice.
        #expect(Attempt.sample(.open) { $0.negotiation.methodWanted = 0xC023 }.verdicts == [])
        // Others of its address work as well, and one uses the same call ID: the helper, or our own call IDs, keep them apart.
        #expect(!Attempt.sample(.open) { ($0.neighbours.live, $0.neighbours.sameCallID) = (3, 1) }.hasFailed)
        // An uplink that nobody has used yet has shaken nobody's hand.
        #expect(Attempt.sample(.open) { ($0.tunnel!.handshakeSeconds, $0.tunnel!.sentBytes, $0.tunnel!.receivedBytes) = (nil, 0, 0) }.verdicts == [])
    }

    /// One that is still on its way is not judged before its time.
    @Test func patience() {
        #expect(Attempt.sample(.called, seconds: Attempt.patience - 0.1).verdicts == [])
        #expect(Attempt.sample(.called, seconds: Attempt.patience).verdicts.map(\.name) == [.greBlockedInbound])
        #expect(Attempt.sample(.called, .byUs, seconds: 1).verdicts == [])
    }

    @Test func severityComesFirst() {
        let attempt = Attempt.sample(.open) {
            $0.gre.lost = 200
            $0.tunnel!.noPeer = 1
        }
        #expect(attempt.verdicts.map(\.name) == [.hubRefusesAddress, .pathLoss])
        #expect(attempt.hasFailed)
    }

    /// Whatever ends an attempt before it is open is told, unless it was us.
    @Test func noFailureIsWithoutAVerdict() {
        let ends: [Attempt.End] = [
            .hungUp, .cut, .startTimeout, .idle, .controlEchoTimeout, .malformed, .linkFailed, .loggedInTooLate, .notAuthenticated, .authenticationRefused,
            .encryptionRefused, .networkFailed, .noAddress, .echoTimeout,
        ]
        for stage in Attempt.Stage.allCases where stage < .open {
            for end in ends { #expect(!Attempt.sample(stage, end).verdicts.isEmpty, "\(stage) \(end)") }
        }
    }
}

extension Attempt {
    fileprivate static func refused(_ result: LogInResult, _ name: String, _ change: (inout Attempt) -> Void = { _ in }) -> Attempt {
        .sample(.linked, .notAuthenticated) {
            $0.logIn = result
            $0.userName = name
            $0.negotiation.responsesIn = 1
            $0.negotiation.failuresOut = 1
            change(&$0)
        }
    }
}
