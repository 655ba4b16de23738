import Addresses

// LCP of a session: opening, echoes, the rejects, and which packet goes where.
extension PPPSession {
    mutating func receive(
        _ number: UInt16, _ packet: ControlPacket, _ actions: inout [PPPAction], _ now: ContinuousClock.Instant
    ) {
        switch (number, phase) {
        case (PPPProtocol.lcp, _): receiveLCP(packet, &actions, now)
        case (_, .idle), (_, .terminating), (_, .ended): break
        case (_, .establishing):
            // RFC 1661 section 3.4: whatever is not LCP is silently discarded here.
            actions.append(.note(.outOfPhase(protocol: number)))
        case (PPPProtocol.chap, _), (PPPProtocol.pap, _): receiveAuthentication(number, packet, &actions, now)
        case (_, .authenticating):
            if configuration.role == .client, heldPackets.count < Limit.heldPackets {
                heldPackets.append(HeldPacket(number: number, packet: packet))
            } else {
                actions.append(.note(.outOfPhase(protocol: number)))
            }
        case (PPPProtocol.ccp, .network): receiveCCP(packet, &actions, now)
        case (_, .network): receiveIPCP(packet, &actions, now)
        }
    }

    private mutating func receiveLCP(_ packet: ControlPacket, _ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        switch packet.code {
        case Code.protocolReject: receiveProtocolReject(packet, &actions, now)
        case Code.echoRequest: receiveEcho(packet, &actions, now)
        case Code.echoReply:
            // Some clients return our own magic number; a looped line shows in the requests, so any reply is a sign of life.
            if packet.data.count >= 4 { echo.unanswered = 0 } else { actions.append(.note(.malformed(protocol: PPPProtocol.lcp))) }
        case Code.discardRequest: break
        case Code.identification:
            // Four bytes of magic number come first (RFC 1570 section 2.1).
            actions.append(.note(.identification(Array(packet.data.dropFirst(4).prefix(Limit.notedBytes)))))
        case Code.timeRemaining:
            guard packet.data.count >= 8 else { return actions.append(.note(.malformed(protocol: PPPProtocol.lcp))) }
            let seconds = packet.data.dropFirst(4).prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            let message = Array(packet.data.dropFirst(8).prefix(Limit.notedBytes))
            actions.append(.note(.timeRemaining(seconds: seconds, message: message)))
        default:
            let wasNegotiating = lcp.automaton.isNegotiating
            if packet.code == Code.terminateRequest { reason = reason ?? .peerTerminated(Array(packet.data.prefix(Limit.notedBytes))) }
            if packet.code == Code.codeReject, packet.data.first == Code.echoRequest { echo.refused = true }
            let outputs = lcp.receive(packet, now: now, random: &random)
            if lcp.policy.authenticationRefused {
                apply(lcp: outputs.filter { !$0.isRequest }, &actions, now)
                close(.peerRefusesAuthentication, &actions, now)
            } else if lcp.policy.loops >= Limit.loops {
                apply(lcp: outputs.filter { !$0.isRequest }, &actions, now)
                close(.loopedBack, &actions, now)
            } else {
                apply(lcp: outputs, &actions, now)
            }
            // The table would have us ask on, ten times; a peer that hangs up while LCP is negotiated is gone.
            if wasNegotiating, packet.code == Code.terminateRequest { end(&actions) }
            if lcp.automaton.state == .stopping, phase != .ended { phase = .terminating }
        }
    }

    mutating func apply(lcp outputs: [LayerOutput], _ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        for output in outputs {
            switch output {
            case .request(let packet), .acknowledge(let packet), .send(let packet):
                actions.append(.send(protocol: PPPProtocol.lcp, payload: packet.bytes))
            case .up: linkOpened(&actions, now)
            case .down: takeDown(&actions, now)
            case .finished: end(&actions)
            case .started: break
            case .note(let note): actions.append(.note(note))
            }
        }
    }

    private mutating func linkOpened(_ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        phase = .authenticating
        actions.append(.linkOptions(lcp.policy.options))
        echo = Echo()
        echo.next = configuration.echoInterval.map { now + $0 }
        for text in configuration.identifications {
            let packet = ControlPacket(
                code: Code.identification, identifier: lcp.takeIdentifier(), data: bigEndian(lcp.policy.localMagic) + text.utf8)
            actions.append(.send(protocol: PPPProtocol.lcp, payload: packet.bytes))
        }
        switch configuration.role {
        case .server:
            guard let method = lcp.policy.method else { return enterNetwork(&actions, now) }
            var authenticator = Authenticator(method: method, configuration: configuration, random: &random)
            let outputs = authenticator.start(now: now, random: &random)
            self.authenticator = authenticator
            apply(authenticator: outputs, &actions, now)
        case .client:
            if lcp.policy.demanded == nil { enterNetwork(&actions, now) }
        }
    }

    // ---- Echo (RFC 1661 section 5.8) ----

    private mutating func receiveEcho(_ packet: ControlPacket, _ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        guard lcp.isOpened else { return actions.append(.note(.outOfPhase(protocol: PPPProtocol.lcp))) }
        guard packet.data.count >= 4 else { return actions.append(.note(.malformed(protocol: PPPProtocol.lcp))) }
        let own = bigEndian(lcp.policy.localMagic)
        if lcp.policy.localMagic != 0, packet.data.prefix(4).elementsEqual(own) { return actions.append(.note(.possibleLoop)) }
        // "MUST NOT be longer than the peer's MRU": the peer's own data comes back, at most what it sent.
        let room = max(Int(lcp.policy.peerMRU) - 8, 0)
        let reply = ControlPacket(
            code: Code.echoReply, identifier: packet.identifier, data: own + packet.data.dropFirst(4).prefix(room))
        actions.append(.send(protocol: PPPProtocol.lcp, payload: reply.bytes))
    }

    mutating func keepAlive(_ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        guard phase != .terminating, phase != .ended, lcp.isOpened, let due = echo.next, due <= now,
            let interval = configuration.echoInterval
        else { return }
        guard !echo.refused else {
            echo.next = nil
            return
        }
        guard echo.unanswered < configuration.echoFailures else {
            // Nobody is there to answer a Terminate-Request; one is sent for a peer that only cannot be heard.
            reason = reason ?? .echoTimeout
            close(.echoTimeout, &actions, now)
            return end(&actions)
        }
        echo.unanswered += 1
        echo.identifier &+= 1
        echo.next = now + interval
        let packet = ControlPacket(code: Code.echoRequest, identifier: echo.identifier, data: bigEndian(lcp.policy.localMagic))
        actions.append(.send(protocol: PPPProtocol.lcp, payload: packet.bytes))
    }

    // ---- Protocol-Reject (RFC 1661 section 5.7) ----

    private mutating func receiveProtocolReject(
        _ packet: ControlPacket, _ actions: inout [PPPAction], _ now: ContinuousClock.Instant
    ) {
        guard lcp.isOpened else { return actions.append(.note(.outOfPhase(protocol: PPPProtocol.lcp))) }
        guard packet.data.count >= 2 else { return actions.append(.note(.malformed(protocol: PPPProtocol.lcp))) }
        let number = packet.data.prefix(2).reduce(UInt16(0)) { $0 << 8 | UInt16($1) }
        actions.append(.note(.peerRejectedProtocol(number)))
        switch number {
        case PPPProtocol.lcp: apply(lcp: lcp.reject(catastrophic: true, now: now, random: &random), &actions, now)
        case PPPProtocol.chap, PPPProtocol.pap: close(.peerRefusesAuthentication, &actions, now)
        case PPPProtocol.ccp: apply(ccp: ccp.reject(catastrophic: true, now: now, random: &random), &actions, now)
        case PPPProtocol.ipcp: apply(ipcp: ipcp.reject(catastrophic: true, now: now, random: &random), &actions, now)
        // Rejected data is a peer that is not ready yet, not one that never will be: accel-ppp does it.
        case PPPProtocol.ipv4, PPPProtocol.ipv6, PPPProtocol.compressed, PPPProtocol.ipv6cp: break
        default: garbledAtPeer(&actions, now)
        }
    }

    /// The peer has rejected what we never sent: it decrypts our data with a wrong key. MPPE does not let it see that; a Linux peer has
    /// lost the key for good after 4,096 lost packets. Many such rejects in a short time, and CCP is negotiated again, once in that time.
    private mutating func garbledAtPeer(_ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        guard transmitKey != nil else { return }
        if let since = garbledSince, now - since < Limit.garbledTime {
            garbled += 1
        } else {
            garbledSince = now
            garbled = 1
        }
        if garbled == Limit.garbledRejects { renegotiateEncryption(&actions, now) }
    }

    mutating func rejectProtocol(
        _ number: UInt16, _ information: ArraySlice<UInt8>, _ actions: inout [PPPAction], _ now: ContinuousClock.Instant
    ) {
        guard lcp.isOpened, phase != .terminating, number >= 0x8000 else {
            return actions.append(.note(.outOfPhase(protocol: number)))
        }
        if let since = protocolRejectsRefilledAt {
            let seconds = Int((now - since).components.seconds)
            if seconds > 0 {
                protocolRejects = min(protocolRejects + min(seconds, Limit.protocolRejectBurst), Limit.protocolRejectBurst)
                protocolRejectsRefilledAt = now
            }
        } else {
            protocolRejectsRefilledAt = now
        }
        guard protocolRejects > 0 else { return actions.append(.note(.outOfPhase(protocol: number))) }
        protocolRejects -= 1
        // The whole packet is at most as long as the peer's MRU.
        let room = min(Int(lcp.policy.peerMRU), Int(defaultMRU)) - 6
        let packet = ControlPacket(
            code: Code.protocolReject, identifier: lcp.takeIdentifier(), data: bigEndian(number) + information.prefix(room))
        actions.append(.note(.rejectedProtocol(number)))
        actions.append(.send(protocol: PPPProtocol.lcp, payload: packet.bytes))
    }
}

extension LayerOutput {
    var isRequest: Bool {
        if case .request = self { true } else { false }
    }
}
