// What the evidence means. A rule says something only when the evidence can mean nothing else; what is left over at the end of an attempt
// that came to nothing gets the general verdict of its stage, so that no failure is without one.
extension Attempt {
    /// Seconds without any GRE after which a client is not just slow: pptp-linux starts within one, Windows within three.
    public static let patience = 5.0

    /// The most telling first; none for a healthy attempt.
    public var verdicts: [Verdict] {
        var found = transportVerdicts + logInVerdicts + encryptionVerdicts + pathVerdicts + tunnelVerdicts
        if end != nil, stage < .open, end != .byUs, found.isEmpty { found.append(leftOver) }
        // Sorting that keeps the rules' own order.
        return found.enumerated().sorted { ($1.element.severity, $0.offset) < ($0.element.severity, $1.offset) }.map(\.element)
    }

    /// Whether something has to be done.
    public var hasFailed: Bool { verdicts.contains { $0.severity == .failure } }

    var host: String { "\(clientAddress)" }
    var secondsText: String { seconds < 10 ? "\((seconds * 10).rounded() / 10) s" : "\(Int(seconds)) s" }

    private var leftOver: Verdict {
        if end == .hungUp, logIn == nil || logIn == .accepted {
            return Verdict(
                .hungUpEarly, .note, evidence: "the client hung up after \(secondsText), at the stage \"\(stage.rawValue)\"",
                next: "look at the client's own log; if nobody pressed cancel there, record the next try",
                commands: [captureCommand])
        }
        return Verdict(
            .notNegotiated,
            evidence: "the attempt ended after \(secondsText) at the stage \"\(stage.rawValue)\" (\(end?.rawValue ?? "")): LCP requests \(negotiation.lcp.requestsIn) in, "
                + "\(negotiation.lcp.requestsOut) out, answers \(negotiation.lcp.answersIn); GRE packets \(gre.received) in, \(gre.sent) out",
            next: "record the next try and compare both directions", commands: [captureCommand])
    }

    var captureCommand: String { "sudo tcpdump -ni any -w pptp.pcap 'host \(host) and (tcp port \(port) or ip proto 47)'" }
}
