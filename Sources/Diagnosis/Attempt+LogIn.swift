// Authentication.
extension Attempt {
    private var who: String { userName.map { "user \"\($0)\"" } ?? "the user" }

    var logInVerdicts: [Verdict] {
        switch logIn {
        case .accepted: return []
        case .unknownUser:
            return [
                Verdict(
                    .unknownUser, evidence: "\(who) at \(host) is in no secrets file and not in the configuration",
                    next: "correct the name at the client (the part before a backslash does not count), or add the user to a secrets file and reload",
                    commands: ["sudo causeway users list", "sudo causeway reload"])
            ]
        case .wrongPassword:
            return [
                Verdict(
                    .wrongPassword, evidence: "\(who) at \(host) exists, and the response to the MS-CHAPv2 challenge was made with another password",
                    next: "type the password at the client anew, or set it in the secrets file and reload; the server name in the secrets file (second column) has to match as well",
                    commands: ["sudo causeway reload"])
            ]
        case .lockedOut:
            return [
                Verdict(
                    .lockedOut, evidence: "\(who) at \(host) has failed too often from there (authentication.lockout-failures)",
                    next: "correct the stored password at the client first, then wait until authentication.lockout-time is over; other addresses are not locked out")
            ]
        case .refused:
            return [
                Verdict(
                    .loginRefused, evidence: "\(who) at \(host) has the right password and is refused: \(refusal ?? "no reason is known")",
                    next: "look at the user's phase, dates and hours", commands: ["sudo causeway users list"])
            ]
        case nil: return methodVerdicts
        }
    }

    private var methodVerdicts: [Verdict] {
        let wanted = methodWanted
        // A Nak that is followed by our offer being taken after all is part of a healthy negotiation.
        if end == .authenticationRefused || (negotiation.rejectsAuthentication && stage < .linked) || (wanted != nil && end == .linkFailed) {
            let asked = wanted.map { ", and wants \($0) instead" } ?? ""
            return [
                Verdict(
                    .authenticationRefused,
                    evidence: "the client at \(host) refuses MS-CHAPv2\(asked)",
                    next: "allow \"Microsoft CHAP Version 2 (MS-CHAP v2)\" at the client: without it there are no keys for encryption; PAP, CHAP and MS-CHAPv1 are refused here on purpose")
            ]
        }
        guard stage == .linked, negotiation.challengesOut > 0, negotiation.responsesIn == 0, end == .loggedInTooLate || end == .linkFailed || end == .cut else { return [] }
        return [
            Verdict(
                .noResponse,
                evidence: "LCP is open, and \(negotiation.challengesOut) MS-CHAPv2 challenges to \(host) were not answered in \(secondsText)",
                next: "the client waits for somebody to type a password, or has none stored: look at its screen or its log")
        ]
    }

    private var methodWanted: String? {
        switch (negotiation.methodWanted, negotiation.algorithmWanted) {
        case (Wire.pap, _): "PAP"
        case (Wire.chap, 0x05): "CHAP with MD5"
        case (Wire.chap, 0x80): "MS-CHAPv1"
        case (0xC227, _): "EAP"
        case (let number?, _): "protocol 0x" + String(number, radix: 16)
        case (nil, _): nil
        }
    }
}
