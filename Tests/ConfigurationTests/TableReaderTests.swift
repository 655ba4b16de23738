import Testing

@testable import Settings

@Suite struct TableReaderTests {
    @Test(arguments: [
        (TOMLNode.integer(30), Duration.seconds(30)), (.string("30s"), .seconds(30)), (.string("500ms"), .milliseconds(500)),
        (.string("2m"), .seconds(120)), (.string("1h"), .seconds(3600)), (.integer(0), .zero), (.string("0s"), .zero),
    ])
    func durations(node: TOMLNode, expected: Duration) { #expect(node.duration == expected) }

    @Test(arguments: [
        TOMLNode.integer(-1), .string("30"), .string(""), .string("s"), .string("-3s"), .string("3 s"), .string("1d"),
        .string("1.5s"),
        .string("99999999999999999999s"), .integer(.max), .boolean(true), .string("٣s"),
    ])
    func notDurations(node: TOMLNode) { #expect(node.duration == nil) }

    @Test(arguments: [
        (Duration.seconds(90), "90s"), (.seconds(120), "2m"), (.seconds(7200), "2h"), (.milliseconds(50), "50ms"), (.zero, "0s"),
    ])
    func durationText(duration: Duration, expected: String) { #expect(text(duration) == expected) }

    @Test func suggestions() {
        let keys = ["echo-interval", "echo-failures", "mru", "mtu", "dns"]
        #expect(nearest(to: "echo-intervall", among: keys) == "echo-interval")
        #expect(nearest(to: "echo_interval", among: keys) == "echo-interval")
        #expect(nearest(to: "Echo-Failure", among: keys) == "echo-failures")
        #expect(nearest(to: "mur", among: keys) == nil)
        #expect(nearest(to: "mr", among: keys) == "mru")
        #expect(nearest(to: "colour", among: keys) == nil)
    }

    @Test func foundValuesAreShownShortAndOnOneLine() {
        #expect(TOMLNode.string("a\nb").description == "\"a\\nb\"")
        #expect(TOMLNode.string(String(repeating: "x", count: 100)).description.count == 65)
        #expect(TOMLNode.array([]).description == "an empty array")
    }
}
