// What a session meets once it is up: the path to the client, and the tunnel behind us.
extension Attempt {
    var pathVerdicts: [Verdict] {
        var found: [Verdict] = []
        if let fits = path.largestAnswered, let lost = path.smallestUnanswered, fits < lost {
            found.append(
                Verdict(
                    .mtuBlackHole,
                    evidence: "of the packets that the client at \(host) has to return, those of \(fits) bytes come back and those of \(lost) do not"
                        + (path.reassemblyFailures > 0 ? "; \(path.reassemblyFailures) fragmented packets could not be put together here" : ""),
                    next: "set ppp.mtu to at most \(max(576, fits - 44)) here (and the MTU or MRU of the client to the same) so that nothing has to be fragmented, and let fragments and ICMP \"fragmentation needed\" pass on the way",
                    commands: ["ping -M do -s \(max(548, fits - 28)) \(host)"]))
        }
        switch end {
        case .echoTimeout where stage >= .linked:
            found.append(
                Verdict(
                    .peerVanished, .warning,
                    evidence: "the client at \(host) stopped answering LCP echoes after \(secondsText); \(gre.received) GRE packets had come until then",
                    next: "its line or power failed, or a NAT on the way forgot its GRE: have echoes sent more often (ppp.echo-interval) if it happens after quiet times"))
        case .noAddress:
            found.append(
                Verdict(
                    .noAddress, evidence: "no address could be given to the client at \(host)\(refusal.map { ": \($0)" } ?? "")",
                    next: "look at the pool and at who has its addresses", commands: ["sudo causeway sessions", "sudo causeway status"]))
        case .networkFailed where stage >= .authenticated && negotiation.ipcp.requestsOut > 0 && encryptionVerdicts.isEmpty:
            found.append(
                Verdict(
                    .networkRefused,
                    evidence: "the client at \(host) logged in, and IP was not agreed on in \(secondsText): \(negotiation.ipcp.requestsIn) IPCP requests came, \(negotiation.ipcp.answersIn) of our \(negotiation.ipcp.requestsOut) were answered",
                    next: "let the client take its address from the server (\"obtain an IP address automatically\")"))
        default: break
        }
        let all = gre.received + gre.lost
        if stage == .open, all >= 1000, gre.lost * 100 >= all * 5 {
            found.append(
                Verdict(
                    .pathLoss, .warning,
                    evidence: "of \(all) GRE packets of the client at \(host), \(gre.lost) never came (\(gre.lost * 100 / all) %)",
                    next: "look for the loss on the way: TCP inside will be slow", commands: ["mtr -n \(host)"]))
        }
        return found
    }

    var tunnelVerdicts: [Verdict] {
        guard let tunnel, stage >= .authenticated else { return [] }
        var found: [Verdict] = []
        // A peer that nothing has to be said to does not shake hands: only one that was spoken to and never answered is silent.
        let stale = tunnel.handshakeSeconds.map { $0 > 180 } ?? true
        if stale, tunnel.sentBytes > 0 || tunnel.down > 0 || !tunnel.isUp {
            let since = tunnel.handshakeSeconds.map { "for \($0) s" } ?? "yet"
            let why = tunnel.receivedBytes == 0
                ? "and it has sent nothing at all: it cannot be reached, or it does not know our key and so keeps silent"
                : "although \(tunnel.receivedBytes) bytes came from it before: it went away, or its key, its clock or the preshared key was changed"
            found.append(
                Verdict(
                    .hubSilent,
                    evidence: "tunnel \"\(tunnel.name)\" has had no handshake with its hub\(tunnel.endpoint.map { " at \($0)" } ?? "") \(since), \(tunnel.sentBytes) bytes were sent, \(why)",
                    next: "compare the keys of both sides (causeway hub config prints what the hub has to know), and see whether UDP passes to the hub and back; a gateway whose clock was set back is not heard either",
                    commands: ["sudo causeway hub config", "sudo causeway status"]))
        }
        if tunnel.noPeer > 0 {
            found.append(
                Verdict(
                    .hubRefusesAddress,
                    evidence: "\(tunnel.noPeer) packets of \(tunnel.innerAddress.map { "\($0)" } ?? "this session") went to no peer of tunnel \"\(tunnel.name)\": no allowed-ips there holds their destination",
                    next: "add the destination's network to tunnel.peer.allowed-ips and reload", commands: ["sudo causeway reload"]))
        }
        return found
    }
}
