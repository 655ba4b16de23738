import Doctor
import Testing

@testable import causeway

@Suite struct DoctorTextTests {
    static let findings = [
        Finding(.clock, .ok, "it is synchronised"), Finding(.reversePath, .fail, "net.ipv4.conf.all.rp_filter is 1", ["sudo sysctl -w net.ipv4.conf.all.rp_filter=0"]),
    ]

    @Test func table() {
        #expect(
            findingsText(Self.findings) == """
                      CHECK                WHY
                ok    clock                it is synchronised
                fail  reverse-path-filter  net.ipv4.conf.all.rp_filter is 1

                reverse-path-filter:
                  $ sudo sysctl -w net.ipv4.conf.all.rp_filter=0
                """)
    }

    @Test func checklist() {
        #expect(
            checklistText(Self.findings) == """
                [x] clock: it is synchronised
                [ ] reverse-path-filter: net.ipv4.conf.all.rp_filter is 1
                      $ sudo sysctl -w net.ipv4.conf.all.rp_filter=0
                """)
    }
}
