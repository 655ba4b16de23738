import Addresses

/// What one protocol wants and takes: the part of LCP, CCP and IPCP that differs.
protocol OptionPolicy: Sendable, Codable {
    static var number: UInt16 { get }
    /// A negotiation begins anew: forget what the last one learnt about our own request. The peer's request, which may have
    /// been judged just before, stays as it is.
    mutating func restart(random: inout RandomSource)
    /// The options of our next Configure-Request.
    func request() -> [ConfigurationOption]
    /// The peer's Configure-Request, judged. What is acknowledged is remembered as the peer's options.
    mutating func judge(_ options: [ConfigurationOption], random: inout RandomSource) -> Judgement
    /// Our options have been acknowledged, all of them.
    mutating func acknowledged(_ options: [ConfigurationOption])
    mutating func naked(_ options: [ConfigurationOption], random: inout RandomSource)
    mutating func rejected(_ options: [ConfigurationOption])
}

enum Judgement: Equatable {
    case ack
    case nak([ConfigurationOption])
    case reject([ConfigurationOption])
}

/// Output of a layer, in order.
enum LayerOutput: Equatable {
    case request(ControlPacket)
    /// Our Configure-Ack.
    case acknowledge(ControlPacket)
    case send(ControlPacket)
    case up, down, started, finished
    case note(PPPNote)
}

/// One negotiated protocol: the automaton with its identifiers, its restart timer and its counters.
struct Layer<Policy: OptionPolicy>: Sendable, Codable {
    private(set) var automaton = Automaton()
    var policy: Policy
    let retransmission: Retransmission
    private(set) var deadline: ContinuousClock.Instant?

    private var restartCount = 0
    private var requestsSent = 0
    private var nextIdentifier: UInt8
    private var requestIdentifier: UInt8 = 0
    private var requestOptions: [ConfigurationOption] = []
    /// The request that is out has had its answer; a second one is a duplicate.
    private var requestAnswered = false
    private var peerHeard = false
    private var lastAck: ControlPacket?
    private var openedAt: ContinuousClock.Instant?
    private var naksSent = 0
    private var naksTaken = 0
    private var peerAskedBefore = false
    /// Told to the peer in our Terminate-Requests.
    private var terminationText: [UInt8] = []

    init(policy: Policy, retransmission: Retransmission, random: inout RandomSource) {
        self.policy = policy
        self.retransmission = retransmission
        nextIdentifier = UInt8.random(in: 1...255, using: &random)
    }

    var isOpened: Bool { automaton.state == .opened }

    // ---- Events from above and below ----

    mutating func up(now: ContinuousClock.Instant, random: inout RandomSource) -> [LayerOutput] {
        perform(.up, now: now, random: &random)
    }
    mutating func down(now: ContinuousClock.Instant, random: inout RandomSource) -> [LayerOutput] {
        perform(.down, now: now, random: &random)
    }
    mutating func open(now: ContinuousClock.Instant, random: inout RandomSource) -> [LayerOutput] {
        perform(.open, now: now, random: &random)
    }
    mutating func close(text: [UInt8] = [], now: ContinuousClock.Instant, random: inout RandomSource) -> [LayerOutput] {
        terminationText = text
        return perform(.close, now: now, random: &random)
    }

    /// The restart option of RFC 1661 section 4.1, note r: the layer is negotiated again, from whatever state.
    mutating func renegotiate(now: ContinuousClock.Instant, random: inout RandomSource) -> [LayerOutput] {
        let down = down(now: now, random: &random)
        return down + up(now: now, random: &random)
    }

    mutating func reject(catastrophic: Bool, now: ContinuousClock.Instant, random: inout RandomSource) -> [LayerOutput] {
        perform(catastrophic ? .catastrophicReject : .permittedReject, now: now, random: &random)
    }

    mutating func timer(now: ContinuousClock.Instant, random: inout RandomSource) -> [LayerOutput] {
        guard let due = deadline, due <= now else { return [] }
        return perform(restartCount > 0 ? .timeoutRetry : .timeoutGiveUp, now: now, random: &random)
    }

    // ---- Packets ----

    /// Codes 1 to 7, and any code that this protocol does not know.
    mutating func receive(_ packet: ControlPacket, now: ContinuousClock.Instant, random: inout RandomSource) -> [LayerOutput] {
        let isFirst = !peerHeard
        peerHeard = true
        switch packet.code {
        case Code.configureRequest: return receiveRequest(packet, isFirst: isFirst, now: now, random: &random)
        case Code.configureAck, Code.configureNak, Code.configureReject: return receiveAnswer(packet, now: now, random: &random)
        case Code.terminateRequest: return perform(.terminateRequest, packet, now: now, random: &random)
        case Code.terminateAck: return perform(.terminateAck, packet, now: now, random: &random)
        case Code.codeReject:
            guard let code = packet.data.first else { return malformed }
            // Without the codes up to Code-Reject itself there is no protocol to speak (RFC 1661 section 5.6).
            let catastrophic = (Code.configureRequest...Code.terminateAck).contains(code)
            return [.note(.peerRejectedCode(protocol: Policy.number, code: code))]
                + perform(catastrophic ? .catastrophicReject : .permittedReject, now: now, random: &random)
        default:
            return [.note(.rejectedCode(protocol: Policy.number, code: packet.code))]
                + perform(.unknownCode, packet, now: now, random: &random)
        }
    }

    private var malformed: [LayerOutput] { [.note(.malformed(protocol: Policy.number))] }

    private mutating func receiveRequest(
        _ packet: ControlPacket, isFirst: Bool, now: ContinuousClock.Instant, random: inout RandomSource
    ) -> [LayerOutput] {
        guard let options = ConfigurationOption.parse(packet.data) else { return malformed }
        switch automaton.state {
        case .initial, .starting: return []
        case .closed, .closing, .stopping: return perform(.goodRequest, packet, now: now, random: &random)
        case .stopped, .requestSent, .ackReceived, .ackSent: break
        case .opened:
            // Our Ack was lost or slow, and the peer asked once more: say it again. After that time it is a renegotiation.
            if let lastAck, lastAck.identifier == packet.identifier, lastAck.data == packet.data, let openedAt,
                now < openedAt + retransmission.restart + .milliseconds(500)
            {
                return [.send(lastAck)]
            }
        }
        var outputs: [LayerOutput] = []
        // A peer that is heard for the first time has just attached to its end, and what we sent before is most likely lost. Before our
        // Ack: should both arrive after all, the second one finds a peer that still negotiates, and not one that would begin anew.
        if isFirst, Policy.number == PPPProtocol.lcp, automaton.state == .requestSent, !requestAnswered, !retransmission.firstRequests.isEmpty {
            outputs += sendRequest(again: true, now: now)
        }
        if !peerAskedBefore {
            peerAskedBefore = true
            outputs.append(.note(.peerAsks(protocol: Policy.number, options: options)))
        }
        if !automaton.isNegotiating {
            naksSent = 0
            if isOpened { outputs.append(.note(.renegotiation(protocol: Policy.number))) }
        }
        var judgement = policy.judge(options, random: &random)
        if case .nak(let wanted) = judgement {
            naksSent += 1
            // RFC 1661 section 4.6, Max-Failure: what is still wrong is rejected, so that the peer stops asking.
            if naksSent > retransmission.maxFailure {
                let types = Set(wanted.map(\.type))
                let refused = options.filter { types.contains($0.type) }
                judgement = refused.isEmpty ? .ack : .reject(refused)
            }
        }
        switch judgement {
        case .ack:
            naksSent = 0
            lastAck = ControlPacket(code: Code.configureAck, identifier: packet.identifier, data: Array(packet.data))
            answer = lastAck
        case .nak(let wanted):
            answer = ControlPacket(code: Code.configureNak, identifier: packet.identifier, data: wanted.bytes)
        case .reject(let refused):
            answer = ControlPacket(code: Code.configureReject, identifier: packet.identifier, data: refused.bytes)
        }
        return outputs + perform(judgement == .ack ? .goodRequest : .badRequest, packet, now: now, random: &random)
    }

    /// The answer to the Configure-Request in hand.
    private var answer: ControlPacket?

    private mutating func receiveAnswer(
        _ packet: ControlPacket, now: ContinuousClock.Instant, random: inout RandomSource
    ) -> [LayerOutput] {
        let event: Automaton.Event = packet.code == Code.configureAck ? .ack : .nakOrReject
        // In the other states there is no request of ours that this could answer; the table says what to do.
        guard automaton.isNegotiating || isOpened else { return perform(event, packet, now: now, random: &random) }
        // A request that was sent twice is often acknowledged twice. The RFC would see a crossed connection (note x) and tear
        // the layer down; like pppd, we take the second answer for what it is.
        guard packet.identifier == requestIdentifier, !requestAnswered, let options = ConfigurationOption.parse(packet.data)
        else { return malformed }
        var outputs: [LayerOutput] = []
        switch packet.code {
        case Code.configureAck:
            guard options == requestOptions else { return malformed }
            policy.acknowledged(options)
        case Code.configureNak:
            outputs = options.map { .note(.peerRefusedOption(protocol: Policy.number, type: $0.type)) }
            naksTaken += 1
            if naksTaken > Limit.naksTaken {
                policy.rejected(requestOptions.filter { own in options.contains { $0.type == own.type } })
            } else {
                policy.naked(options, random: &random)
            }
        default:
            // A reject names options of ours, unchanged and in order (RFC 1661 section 5.4).
            var own = requestOptions[...]
            for option in options {
                guard let found = own.firstIndex(of: option) else { return malformed }
                own = own[(found + 1)...]
            }
            guard !options.isEmpty else { return malformed }
            outputs = options.map { .note(.peerRefusedOption(protocol: Policy.number, type: $0.type)) }
            policy.rejected(options)
        }
        requestAnswered = true
        return outputs + perform(event, packet, now: now, random: &random)
    }

    // ---- The automaton's actions ----

    private mutating func perform(
        _ event: Automaton.Event, _ packet: ControlPacket? = nil, now: ContinuousClock.Instant, random: inout RandomSource
    ) -> [LayerOutput] {
        let wasNegotiating = automaton.isNegotiating
        let wasRunning = automaton.timerRuns
        let actions = automaton.handle(event)
        // "The timer is restarted" is implied by what is sent; it stops with the state (RFC 1661 section 4.1).
        if !automaton.timerRuns {
            deadline = nil
        } else if !wasRunning || deadline.map({ $0 <= now }) == true {
            deadline = now + retransmission.restart
        }
        var outputs: [LayerOutput] = []
        for action in actions {
            switch action {
            case .layerUp:
                openedAt = now
                outputs.append(.up)
            case .layerDown: outputs.append(.down)
            case .layerStarted: outputs.append(.started)
            case .layerFinished: outputs.append(.finished)
            case .initializeRestartCount:
                let terminating = automaton.state == .closing || automaton.state == .stopping
                restartCount = terminating ? retransmission.maxTerminate : retransmission.maxConfigure
                requestsSent = 0
                if automaton.timerRuns { deadline = now + retransmission.restart }
            case .zeroRestartCount:
                restartCount = 0
                deadline = now + retransmission.restart
            case .sendRequest:
                if !wasNegotiating {
                    policy.restart(random: &random)
                    naksTaken = 0
                    // The table leaves this out where Opened falls back, but with the old count the timer would give up too soon.
                    restartCount = retransmission.maxConfigure
                    requestsSent = 0
                }
                outputs += sendRequest(again: event == .timeoutRetry, now: now)
            case .sendAck:
                if let answer { outputs.append(.acknowledge(answer)) }
            case .sendNakOrReject:
                if let answer { outputs.append(.send(answer)) }
            case .sendTerminateRequest:
                restartCount -= 1
                deadline = now + retransmission.restart
                outputs.append(.send(ControlPacket(code: Code.terminateRequest, identifier: takeIdentifier(), data: terminationText)))
            case .sendTerminateAck:
                // Without a request to answer (an answer that nobody waits for), the identifier of that packet serves as well.
                outputs.append(.send(ControlPacket(code: Code.terminateAck, identifier: packet?.identifier ?? takeIdentifier())))
            case .sendCodeReject:
                if let packet {
                    let limit = Int(Limit.minimumMRU) - 4
                    outputs.append(
                        .send(ControlPacket(code: Code.codeReject, identifier: takeIdentifier(), data: Array(packet.bytes.prefix(limit)))))
                }
            case .sendEchoReply: break  // LCP answers echoes itself: only it knows the magic number.
            }
        }
        answer = nil
        return outputs
    }

    private mutating func sendRequest(again: Bool, now: ContinuousClock.Instant) -> [LayerOutput] {
        restartCount -= 1
        // Before the peer has shown itself the first requests are likely to be lost, and come again sooner.
        let early = retransmission.firstRequests
        let soon = Policy.number == PPPProtocol.lcp && !peerHeard && requestsSent < early.count
        deadline = now + (soon ? early[requestsSent] : retransmission.restart)
        requestsSent += 1
        if !again {
            requestOptions = policy.request()
            requestIdentifier = takeIdentifier()
        }
        requestAnswered = false
        let packet = ControlPacket(code: Code.configureRequest, identifier: requestIdentifier, data: requestOptions.bytes)
        let note = PPPNote.retransmitted(protocol: Policy.number, code: Code.configureRequest, times: requestsSent - 1)
        return (again ? [.note(note)] : []) + [.request(packet)]
    }

    mutating func takeIdentifier() -> UInt8 {
        defer { nextIdentifier &+= 1 }
        return nextIdentifier
    }
}
