// MPPE.
extension Attempt {
    var encryptionVerdicts: [Verdict] {
        if stage == .open { return lostPlace }
        guard encryption.required, stage >= .authenticated, end == .encryptionRefused || end == .networkFailed || end == .hungUp || end == .cut else { return [] }
        let allowed = encryption.strengths.sorted(by: >).map { "\($0)" }.joined(separator: ", ")
        let offered = (negotiation.bitsAsked ?? 0) | (negotiation.bitsWanted ?? 0)
        let names = [(UInt32(0x40), 128), (0x80, 56), (0x20, 40)].filter { offered & $0.0 != 0 }.map(\.1)
        if !names.isEmpty, Set(names).isDisjoint(with: encryption.strengths) {
            return [
                Verdict(
                    .encryptionStrength,
                    evidence: "the client at \(host) offers MPPE with \(names.map { "\($0)" }.joined(separator: ", ")) bits, and here \(allowed) bits are allowed",
                    next: "set the client to 128 bits (\"maximum strength\"); where it cannot, encryption.strengths lets weaker keys in, which can be broken by trying them all")
            ]
        }
        // The newest word of the client, with no stateless bit in it.
        if negotiation.ccp.acksIn == 0 || negotiation.ccp.acksOut == 0, !names.isEmpty, offered & Wire.stateless == 0, !encryption.statefulAllowed {
            return [
                Verdict(
                    .encryptionStateful,
                    evidence: "the client at \(host) insists on stateful MPPE (it asked \(negotiation.ccp.requestsIn) times without the stateless bit), and only stateless MPPE is allowed here",
                    next: "set the client to stateless; where it cannot, set encryption.stateful = true")
            ]
        }
        guard negotiation.rejectsEncryption || end == .encryptionRefused || (negotiation.ccp.requestsOut > 0 && negotiation.ccp.answersIn == 0 && end != .hungUp) else { return [] }
        return [
            Verdict(
                .encryptionRefused,
                evidence: negotiation.rejectsEncryption
                    ? "the client at \(host) rejects MPPE" : "the client at \(host) answered \(negotiation.ccp.answersIn) of \(negotiation.ccp.requestsOut) requests for MPPE, and none was agreed on",
                next: "switch encryption on at the client (Windows: \"Require encryption\"; Linux: require-mppe-128 and the module ppp_mppe; RouterOS: use-encryption=yes)")
        ]
    }

    private var lostPlace: [Verdict] {
        guard encryption.recoveries > 0 || encryption.undecryptable >= 16 else { return [] }
        return [
            Verdict(
                .desynchronised, .warning,
                evidence: "the MPPE keys lost their place \(encryption.recoveries) times, and \(encryption.undecryptable) packets could not be decrypted, with \(gre.lost) GRE packets lost and \(gre.reordered) out of order on the way",
                next: gre.lost + gre.reordered > 0
                    ? "the path loses or reorders packets: look for the reason there (a full line, Wi-Fi, two lines that share the load)"
                    : "nothing was lost on the way: the client's own keys are wrong; let it dial anew, and update its firmware")
        ]
    }
}
