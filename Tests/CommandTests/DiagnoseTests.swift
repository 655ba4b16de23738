import Addresses
import Diagnosis
import Foundation
import Testing

@testable import Gateway
@testable import causeway

@Suite struct DiagnoseTests {
    static func view(_ stage: Attempt.Stage, user: String?) -> DiagnosisView {
        var attempt = Attempt(clientAddress: IPAddress("198.51.100.7")!, gatewayAddress: IPAddress("192.0.2.1")!, stage: stage, seconds: 8)
        attempt.gre.sent = 3
        return DiagnosisView(
            session: 7, connection: 2, user: user, startedAt: Date(timeIntervalSince1970: 1_700_000_000), endedAt: nil, attempt: attempt, verdicts: attempt.verdicts)
    }

    @Test func table() {
        #expect(
            attemptTable([Self.view(.called, user: nil), Self.view(.open, user: "ann")]) == """
                SESSION  USER  CLIENT        STARTED               ENDED  STAGE   VERDICT
                7        -     198.51.100.7  2023-11-14T22:13:20Z  -      called  gre-blocked-inbound
                7        ann   198.51.100.7  2023-11-14T22:13:20Z  -      open    healthy
                """)
    }

    @Test func text() {
        let lines = attemptText(Self.view(.called, user: nil)).split(separator: "\n").map(String.init)
        #expect(lines[0] == "session 7: nobody logged in at 198.51.100.7, 2023-11-14T22:13:20Z, stage called, live for 8 s")
        #expect(lines[1] == "  GRE 0 in, 3 out; LCP requests 0 in, 0 out, 0 answered; challenges 0, responses 0")
        #expect(lines[2] == "  FAILURE gre-blocked-inbound")
        #expect(lines.last == "          $ sudo tcpdump -ni any 'ip proto 47 and host 198.51.100.7'")
        #expect(attemptText(Self.view(.open, user: "ann")).hasSuffix("nothing is wrong"))
    }
}
