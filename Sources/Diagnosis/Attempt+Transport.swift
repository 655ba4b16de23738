// GRE, NAT and the control connection.
extension Attempt {
    var transportVerdicts: [Verdict] {
        stage < .called ? controlVerdicts : greVerdicts + cutVerdicts
    }

    // ---- Before a call ----

    private var controlVerdicts: [Verdict] {
        switch end {
        case .startTimeout:
            return [
                Verdict(
                    .startMissing,
                    evidence: "TCP from \(host) was accepted, and no Start-Control-Connection-Request came in \(secondsText)",
                    next: "if this is a PPTP client, something between it and us eats the first data segment (a proxy, an inspecting firewall, an MTU that is too large for the path); otherwise it is a port scan",
                    commands: ["sudo tcpdump -ni any -X 'tcp port \(port) and host \(host)'"])
            ]
        case .malformed:
            return [
                Verdict(
                    .malformedControl, evidence: "what \(host) sent in \(secondsText) is not PPTP, or was changed on the way",
                    next: "check what dials: another protocol on this port, or a middle box that rewrites PPTP",
                    commands: ["sudo tcpdump -ni any -X 'tcp port \(port) and host \(host)'"])
            ]
        case .cut where stage == .started:
            return [
                Verdict(
                    .controlCut,
                    evidence: "the TCP connection from \(host) was \(closedText) \(secondsText) after it began, after the start and before any call was asked for",
                    next: "a client that gives up has not got our Start-Control-Connection-Reply, and a middle box that knows PPTP may have refused the call: look for PPTP inspection (ALG) on the way and switch it off or mend it",
                    commands: ["sudo tcpdump -ni any -X 'tcp port \(port) and host \(host)'"])
            ]
        case .cut:
            return [
                Verdict(
                    .startMissing, .note, evidence: "\(host) closed its TCP connection after \(secondsText) without a word of PPTP",
                    next: "nothing, if a monitor or a scanner looks whether the port is open")
            ]
        case .idle, .controlEchoTimeout:
            return [
                Verdict(
                    .callMissing,
                    evidence: "the control connection from \(host) was started, and no Outgoing-Call-Request came in \(secondsText)",
                    next: "the client has not got our Start-Control-Connection-Reply, or does not like it: look whether it arrives there",
                    commands: ["sudo tcpdump -ni any -X 'tcp port \(port) and host \(host)'"])
            ]
        default: return []
        }
    }

    private var closedText: String { wasReset ? "reset" : "closed" }

    // ---- GRE ----

    private var greVerdicts: [Verdict] {
        if stage == .linked, negotiation.responsesIn == 0, negotiation.challengesOut >= 2, negotiation.lcp.requestsIn >= 3, negotiation.lcp.acksOut >= 3 { return [lostAgain] }
        guard stage < .linked else { return [] }
        if gre.received == 0 {
            // A client that hangs up at once has had no time to send.
            guard seconds >= Self.patience || (end != nil && end != .byUs && seconds >= 2) else { return sharedCallID }
            if gre.otherSource > 0 { return [otherSource] }
            if neighbours.live > 0 || neighbours.sameCallID > 0 { return [withoutHelper] }
            if gre.unknownCall > 0 { return [unknownCall] }
            return [blockedInbound]
        }
        // It asks and asks, and never answers what we ask: ours does not arrive.
        guard negotiation.lcp.requestsIn >= 2, negotiation.lcp.answersIn == 0, negotiation.lcp.requestsOut >= 3, seconds >= 4 else { return sharedCallID }
        return [neighbours.live > 0 || neighbours.sameCallID > 0 || neighbours.unanswered > 0 ? withoutHelper : blockedOutbound]
    }

    private var blockedInbound: Verdict {
        Verdict(
            .greBlockedInbound,
            evidence: "TCP \(port) works and the call is up (call ID \(text(callID)) ours, \(text(peerCallID)) the client's), but in \(secondsText) not one GRE packet came from \(host), while we sent \(gre.sent)",
            next: "let IP protocol 47 (not TCP or UDP port 47) pass from \(host) to \(gatewayAddress) on this host and on every firewall, router and cloud security group on the way, and see whether any arrives; whether GRE passes the other way cannot be told before it does",
            commands: ["sudo causeway firewall diff", "sudo tcpdump -ni any 'ip proto 47 and host \(host)'"])
    }

    private var blockedOutbound: Verdict {
        Verdict(
            .greBlockedOutbound,
            evidence: "GRE arrives from \(host) (\(gre.received) packets), and the client has asked for LCP \(negotiation.lcp.requestsIn) times, but in \(secondsText) it answered none of our \(negotiation.lcp.requestsOut) requests: the \(gre.sent) GRE packets that we sent do not reach it",
            next: "let IP protocol 47 pass from \(gatewayAddress) to \(host): output rules of this host, the firewall of the network, the client's own; if \(host) is a NAT router, switch on its PPTP pass-through: without it, our GRE ends at the router",
            commands: ["sudo nft list ruleset", "sudo tcpdump -ni any 'ip proto 47 and dst host \(host)'"])
    }

    /// A NAT whose helper has seen GRE of both sides at the same moment tracks each way alone: the first packet passes, and nothing after it.
    private var lostAgain: Verdict {
        Verdict(
            .greBlockedOutbound,
            evidence: "an answer of \(host) came, so some GRE has reached it; but in \(secondsText) it has asked for LCP \(negotiation.lcp.requestsIn) times although each was acknowledged, and none of our \(negotiation.challengesOut) challenges was answered: what we send does not reach it any more",
            next: "let the client dial again; if that happens often, look at the NAT router or firewall at \(host): it keeps a broken entry for this call's GRE, which goes when the call ends",
            commands: ["sudo tcpdump -ni any 'ip proto 47 and host \(host)'"])
    }

    private var otherSource: Verdict {
        Verdict(
            .greOtherSource,
            evidence: "\(gre.otherSource) GRE packets with this call's ID came from another address than \(host), where the control connection comes from, and were dropped",
            next: "the client's side has two ways out (load balancing, two NAT addresses): send TCP \(port) and GRE of one client by the same one, or, if that cannot be, set data-path.allow-address-change = true",
            commands: ["sudo tcpdump -ni any 'ip proto 47 and dst host \(gatewayAddress)'"])
    }

    private var unknownCall: Verdict {
        Verdict(
            .greUnknownCall,
            evidence: "in \(secondsText), \(gre.unknownCall) GRE packets came from \(host) with a call ID that no session has (\(text(gre.unknownCallID))) and none with ours (\(text(callID)))",
            next: "a NAT on the client's side rewrites call IDs wrongly or still uses an old entry: clear its table, or restart it, and switch its PPTP pass-through off and on; on a Linux router",
            commands: ["sudo conntrack -D -p gre"])
    }

    private var withoutHelper: Verdict {
        let what =
            if neighbours.sameCallID > 0 {
                "\(neighbours.sameCallID + 1) live sessions from \(host) use the same call ID of the client's (\(text(peerCallID)))"
            } else if neighbours.live > 0 {
                "\(neighbours.live) other session\(neighbours.live == 1 ? "" : "s") from \(host) work\(neighbours.live == 1 ? "s" : "")"
            } else {
                "GRE of \(neighbours.unanswered + 1) sessions comes from \(host), and none of them hears us"
            }
        let how = gre.received == 0
            ? "not one GRE packet of this one has come in \(secondsText)" : "none of our \(negotiation.lcp.requestsOut) LCP requests was answered in \(secondsText)"
        return Verdict(
            .natWithoutHelper, evidence: "\(what), and \(how): the NAT there cannot tell the GRE of its clients apart",
            next: "switch on PPTP pass-through (the PPTP helper) on the router at \(host); on a Linux router load its modules and assign the helper by a rule, because nothing does so by itself since kernel 4.7",
            commands: [
                "sudo modprobe -a nf_nat_pptp nf_conntrack_pptp", "sudo nft add table ip pptp",
                "sudo nft 'add ct helper ip pptp pptp { type \"pptp\" protocol tcp; }'",
                "sudo nft 'add chain ip pptp prerouting { type filter hook prerouting priority 0; }'",
                "sudo nft 'add rule ip pptp prerouting tcp dport \(port) ct helper set \"pptp\"'",
            ])
    }

    /// While it is not clear yet which of them it will be.
    private var sharedCallID: [Verdict] {
        guard neighbours.sameCallID > 0, end == nil else { return [] }
        return [
            Verdict(
                .natWithoutHelper, .warning,
                evidence: "\(neighbours.sameCallID + 1) live sessions from \(host) use the same call ID of the client's (\(text(peerCallID)))",
                next: "if one of them gets no answers, switch on PPTP pass-through (the PPTP helper) on the router at \(host)")
        ]
    }

    // ---- TCP, with a call ----

    private var cutVerdicts: [Verdict] {
        switch end {
        case .cut where stage < .open && seconds < 2 && logIn == nil:
            return [
                Verdict(
                    .controlCut,
                    evidence: "the TCP connection from \(host) was \(closedText) \(secondsText) after the call was accepted, without a Call-Clear-Request and before the link was up",
                    next: "a middle box that closes TCP \(port) once it sees a call (an inspecting firewall, a PPTP ALG, an intrusion prevention): let it pass PPTP between \(host) and \(gatewayAddress)",
                    commands: ["sudo tcpdump -ni any 'tcp port \(port) and host \(host) and tcp[tcpflags] & (tcp-rst|tcp-fin) != 0'"])
            ]
        case .cut where stage == .open && wasReset && silentSeconds >= 30, .controlEchoTimeout where stage >= .linked:
            return [
                Verdict(
                    .idleTimeout,
                    evidence: "the control connection from \(host) was silent for \(Int(silentSeconds)) s and then \(end == .cut ? "reset" : "did not answer an Echo-Request"), while the session had lived \(secondsText)",
                    next: "a NAT or firewall on the way forgets idle TCP connections: have the gateway ask more often (pptp.echo-interval below \(max(5, Int(silentSeconds) / 2)) s), or raise the time-out there")
            ]
        case .malformed:
            return [
                Verdict(
                    .malformedControl, evidence: "the control connection from \(host) broke the protocol after \(secondsText)",
                    next: "a middle box rewrites PPTP, or the client is broken: look at what arrives",
                    commands: ["sudo tcpdump -ni any -X 'tcp port \(port) and host \(host)'"])
            ]
        default: return []
        }
    }

    func text(_ id: UInt16?) -> String { id.map { "\($0)" } ?? "none" }
}
