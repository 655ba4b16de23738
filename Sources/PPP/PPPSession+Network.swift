import Addresses

// CCP and IPCP of a session: the order between them, keys, addresses.
extension PPPSession {
    /// CCP is spoken: it is wanted, and there are keys to encrypt with.
    private var speaksCCP: Bool { configuration.encryption.mode != .none && keys != nil }

    mutating func enterNetwork(_ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        guard phase == .authenticating else { return }
        phase = .network
        if requiresEncryption, keys == nil { return close(.encryptionRefused, &actions, now) }
        if speaksCCP {
            apply(ccp: ccp.open(now: now, random: &random), &actions, now)
            apply(ccp: ccp.up(now: now, random: &random), &actions, now)
        }
        openIPCPIfReady(&actions, now)
        let held = heldPackets
        heldPackets = []
        for one in held where phase == .network { receive(one.number, one.packet, &actions, now) }
    }

    // ---- CCP ----

    mutating func receiveCCP(_ packet: ControlPacket, _ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        guard speaksCCP else { return rejectProtocol(PPPProtocol.ccp, packet.bytes[...], &actions, now) }
        // Resets belong to the data path, in order with the data; one that comes here has nothing to reset.
        if packet.code == Code.resetRequest || packet.code == Code.resetAck { return }
        let outputs = ccp.receive(packet, now: now, random: &random)
        if ccp.policy.refused, requiresEncryption {
            apply(ccp: outputs.filter { !$0.isRequest }, &actions, now)
            close(.encryptionRefused, &actions, now)
        } else {
            apply(ccp: outputs, &actions, now)
        }
    }

    mutating func apply(ccp outputs: [LayerOutput], _ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        for output in outputs {
            switch output {
            case .acknowledge(let packet):
                // After this Ack the peer may send encrypted data as soon as it likes our request: we have to be ready first.
                setReceiveKey(ccp.policy.wanted, &actions)
                actions.append(.send(protocol: PPPProtocol.ccp, payload: packet.bytes))
            case .request(let packet):
                if ccp.automaton.state == .ackSent { setReceiveKey(ccp.policy.wanted, &actions) }
                actions.append(.send(protocol: PPPProtocol.ccp, payload: packet.bytes))
            case .send(let packet): actions.append(.send(protocol: PPPProtocol.ccp, payload: packet.bytes))
            case .up: encryptionOpened(&actions, now)
            case .down: clearKeys(&actions)
            case .finished: if requiresEncryption { close(.encryptionRefused, &actions, now) }
            case .started: break
            case .note(let note): actions.append(.note(note))
            }
        }
    }

    private mutating func encryptionOpened(_ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        if requiresEncryption, ccp.policy.receive == nil || ccp.policy.transmit == nil {
            return close(.encryptionRefused, &actions, now)
        }
        setReceiveKey(ccp.policy.receive, &actions)
        if let agreement = ccp.policy.transmit, let keys {
            transmitKey = agreement
            actions.append(.setKey(.transmit, parameters(agreement, keys.send)))
        }
        if configuration.probesIPv6, !probedIPv6 {
            probedIPv6 = true
            let option = ConfigurationOption(type: 1, data: random.bytes(8))
            let packet = ControlPacket(code: Code.configureRequest, identifier: 1, data: option.bytes)
            actions.append(.send(protocol: PPPProtocol.ipv6cp, payload: packet.bytes))
        }
        openIPCPIfReady(&actions, now)
        networkOpened(&actions, now)
    }

    mutating func renegotiateEncryption(_ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        guard phase == .network, ccp.isOpened else { return }
        actions.append(.note(.renegotiation(protocol: PPPProtocol.ccp)))
        apply(ccp: ccp.renegotiate(now: now, random: &random), &actions, now)
    }

    private func parameters(_ agreement: CCPPolicy.Agreement, _ key: MPPEStartKey) -> MPPEParameters {
        MPPEParameters(bits: agreement.bits, stateless: agreement.stateless, startKey: key)
    }

    private mutating func setReceiveKey(_ agreement: CCPPolicy.Agreement?, _ actions: inout [PPPAction]) {
        // A key that is set again would start from its first packet again.
        guard agreement != receiveKey else { return }
        receiveKey = agreement
        guard let agreement, let keys else { return actions.append(.setKey(.receive, nil)) }
        actions.append(.setKey(.receive, parameters(agreement, keys.receive)))
    }

    mutating func clearKeys(_ actions: inout [PPPAction]) {
        if transmitKey != nil { actions.append(.setKey(.transmit, nil)) }
        if receiveKey != nil { actions.append(.setKey(.receive, nil)) }
        transmitKey = nil
        receiveKey = nil
    }

    // ---- IPCP ----

    private var mayStartIPCP: Bool {
        ccp.isOpened || !requiresEncryption || configuration.negotiatesInParallel
    }

    mutating func receiveIPCP(_ packet: ControlPacket, _ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        // Initial or Starting: not opened by us yet. What is not a request answers something that we never sent.
        guard ipcp.automaton.state != .initial, ipcp.automaton.state != .starting else {
            guard packet.code == Code.configureRequest, let options = ConfigurationOption.parse(packet.data) else {
                return actions.append(.note(.outOfPhase(protocol: PPPProtocol.ipcp)))
            }
            heldRequest = packet
            return askForAddress(IPCPPolicy.requestedAddress(options), &actions)
        }
        apply(ipcp: ipcp.receive(packet, now: now, random: &random), &actions, now)
    }

    private mutating func askForAddress(_ requested: IPAddress?, _ actions: inout [PPPAction]) {
        guard configuration.role == .server, case .unknown = address else { return }
        // The next answer belongs to an earlier question; this one is put after it.
        guard overtakenAddresses == 0 else {
            address = .toAsk(requested: requested)
            return
        }
        address = .asked
        actions.append(.allocateAddress(requested: requested))
    }

    /// True if the answer that has come belongs to the question that is open.
    mutating func answersAddress(_ actions: inout [PPPAction]) -> Bool {
        guard overtakenAddresses == 0 else {
            overtakenAddresses -= 1
            if overtakenAddresses == 0, case .toAsk(let requested) = address {
                address = .asked
                actions.append(.allocateAddress(requested: requested))
            }
            return false
        }
        guard phase == .network, case .asked = address else { return false }
        return true
    }

    mutating func openIPCPIfReady(_ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        guard phase == .network, mayStartIPCP, ipcp.automaton.state == .initial || ipcp.automaton.state == .starting else { return }
        if configuration.role == .server {
            guard case .known = address else { return askForAddress(nil, &actions) }
        }
        apply(ipcp: ipcp.open(now: now, random: &random), &actions, now)
        apply(ipcp: ipcp.up(now: now, random: &random), &actions, now)
        if let packet = heldRequest {
            heldRequest = nil
            apply(ipcp: ipcp.receive(packet, now: now, random: &random), &actions, now)
        }
    }

    mutating func apply(ipcp outputs: [LayerOutput], _ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        for output in outputs {
            switch output {
            case .request(let packet), .acknowledge(let packet), .send(let packet):
                actions.append(.send(protocol: PPPProtocol.ipcp, payload: packet.bytes))
            case .up: networkOpened(&actions, now)
            case .down:
                guard networkIsUp else { continue }
                networkIsUp = false
                actions.append(.networkDown)
            case .finished: close(.networkRefused, &actions, now)
            case .started: break
            case .note(let note): actions.append(.note(note))
            }
        }
    }

    /// The network is up when IPCP is open and, with encryption required, CCP too: Windows may have them open in either order.
    private mutating func networkOpened(_ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        guard ipcp.isOpened, !networkIsUp, ccp.isOpened || !requiresEncryption else { return }
        guard let addresses = ipcp.policy.addresses else { return close(.networkRefused, &actions, now) }
        networkIsUp = true
        actions.append(
            .networkUp(
                NetworkParameters(
                    local: addresses.local, peer: addresses.peer, dns: ipcp.policy.dns, nbns: ipcp.policy.nbns,
                    peerMRU: lcp.policy.peerMRU, localMRU: lcp.policy.localMRU,
                    encrypted: receiveKey != nil && transmitKey != nil)))
    }
}
