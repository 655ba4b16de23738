import Addresses

/// One PPP link, either end (RFC 1661): frames, verdicts and time in, actions out.
///
/// Phases: LCP is negotiated, the client is authenticated, then CCP, then IPCP. With encryption required IPCP waits for CCP; a
/// peer that sends both at once (Windows) has its newest IPCP Configure-Request held until then, because an answer too early
/// would let it send data in the clear, and no answer at all would cost it three seconds.
///
/// Timers, all of them behind `deadline` and `timer`:
/// - restart timer of LCP, CCP and IPCP: 3 s; until the peer is heard, the first LCP requests are repeated after 0.5 s and 1 s, and once when it is
/// - CHAP: a challenge (server) or a response (client) is repeated every 3 s, at most 10 times;
///   the next challenge of a live link follows after `rechallengeInterval`
/// - LCP echo: every `echoInterval` while LCP is open; `echoFailures` unanswered ones end the link
/// - `authenticationTimeout` from the start to the authentication, `negotiationTimeout` from there to an open network layer
///   (and, with encryption required, an open CCP), and again whenever one of these is lost
/// - Protocol-Rejects: a bucket of 8, refilled by one per second
///
/// When an action list holds `terminated`, it is the last one, and the session stays silent from then on.
///
/// A session can be encoded and go on in another process of the same boot (its times are the monotonic clock's). The encoded
/// form holds the MPPE start keys.
public struct PPPSession: Sendable, Codable {
    enum Phase: Equatable, Codable {
        case idle
        case establishing
        case authenticating
        case network
        /// A Terminate-Request is out.
        case terminating
        case ended
    }

    /// The server's address for the peer.
    enum Address: Codable {
        case unknown, asked
        case toAsk(requested: IPAddress?)
        case known(AddressAssignment)
    }

    struct Echo: Codable {
        var identifier: UInt8 = 0
        var unanswered = 0
        var next: ContinuousClock.Instant?
        /// The peer does not know Echo-Requests: they prove nothing.
        var refused = false
    }

    struct HeldPacket: Codable {
        var number: UInt16
        var packet: ControlPacket
    }

    public let configuration: PPPConfiguration
    var random: RandomSource
    var phase = Phase.idle
    var lcp: Layer<LCPPolicy>
    var ccp: Layer<CCPPolicy>
    var ipcp: Layer<IPCPPolicy>
    var authenticator: Authenticator?
    var supplicant: Supplicant
    var echo = Echo()

    /// Of the last authentication. CCP starts from these whenever it is negotiated.
    var keys: MPPEStartKeys?
    var receiveKey: CCPPolicy.Agreement?
    var transmitKey: CCPPolicy.Agreement?
    var address = Address.unknown
    var networkIsUp = false
    /// The peer's newest IPCP Configure-Request that came before we could answer.
    var heldRequest: ControlPacket?
    /// Client: what the server sent while its proof was being checked.
    var heldPackets: [HeldPacket] = []
    /// Verdicts still to come for authentications that a renegotiation of LCP has overtaken.
    var overtakenVerdicts = 0
    var heldCredentials: PPPCredentials?
    /// The same for addresses: one that was chosen for another user must not become this one's.
    var overtakenAddresses = 0
    var probedIPv6 = false

    var reason: TerminationReason?
    var authenticationDeadline: ContinuousClock.Instant?
    var negotiationDeadline: ContinuousClock.Instant?
    /// Protocol-Rejects of what we never sent, and the first of them.
    var garbled = 0
    var garbledSince: ContinuousClock.Instant?
    var protocolRejects = Limit.protocolRejectBurst
    var protocolRejectsRefilledAt: ContinuousClock.Instant?

    public init(configuration: PPPConfiguration, random: some RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()) {
        var source = RandomSource(random)
        self.configuration = configuration
        lcp = Layer(policy: LCPPolicy(configuration: configuration), retransmission: configuration.retransmission, random: &source)
        ccp = Layer(policy: CCPPolicy(configuration: configuration), retransmission: configuration.retransmission, random: &source)
        ipcp = Layer(policy: IPCPPolicy(configuration: configuration), retransmission: configuration.retransmission, random: &source)
        supplicant = Supplicant(configuration: configuration)
        self.random = source
    }

    // ---- What the owner calls ----

    public mutating func start(now: ContinuousClock.Instant) -> [PPPAction] {
        guard phase == .idle else { return [] }
        phase = .establishing
        var actions: [PPPAction] = []
        apply(lcp: lcp.open(now: now, random: &random), &actions, now)
        apply(lcp: lcp.up(now: now, random: &random), &actions, now)
        return finish(actions, now)
    }

    /// A frame from the data path, with address, control and protocol fields removed.
    public mutating func receive(protocol number: UInt16, payload: [UInt8], now: ContinuousClock.Instant) -> [PPPAction] {
        guard phase != .idle, phase != .ended else { return [] }
        var actions: [PPPAction] = []
        switch number {
        case PPPProtocol.lcp, PPPProtocol.chap, PPPProtocol.pap, PPPProtocol.ccp, PPPProtocol.ipcp:
            if let packet = ControlPacket(payload) {
                receive(number, packet, &actions, now)
            } else {
                actions.append(.note(.malformed(protocol: number)))
            }
        default:
            rejectProtocol(number, payload[...], &actions, now)
        }
        return finish(actions, now)
    }

    /// To be called at `deadline` or later; early calls do no harm.
    public mutating func timer(now: ContinuousClock.Instant) -> [PPPAction] {
        guard phase != .idle, phase != .ended else { return [] }
        var actions: [PPPAction] = []
        if let due = authenticationDeadline, due <= now {
            authenticationDeadline = nil
            close(.authenticationTimeout, &actions, now)
        }
        if let due = negotiationDeadline, due <= now {
            negotiationDeadline = nil
            close(ccp.isOpened || !requiresEncryption ? .negotiationTimeout : .encryptionRefused, &actions, now)
        }
        apply(lcp: lcp.timer(now: now, random: &random), &actions, now)
        apply(ccp: ccp.timer(now: now, random: &random), &actions, now)
        apply(ipcp: ipcp.timer(now: now, random: &random), &actions, now)
        if let outputs = authenticator?.timer(now: now, random: &random) { apply(authenticator: outputs, &actions, now) }
        apply(supplicant: supplicant.timer(now: now), &actions, now)
        keepAlive(&actions, now)
        return finish(actions, now)
    }

    /// When `timer` has something to do; nil when nothing is pending.
    public var deadline: ContinuousClock.Instant? {
        guard phase != .idle, phase != .ended else { return nil }
        return [
            lcp.deadline, ccp.deadline, ipcp.deadline, authenticator?.deadline, supplicant.deadline, echo.next,
            authenticationDeadline, negotiationDeadline,
        ].compactMap { $0 }.min()
    }

    /// Ends the link with a Terminate-Request; `terminated(reason)` follows when the peer has answered or had its time.
    public mutating func close(reason: TerminationReason, now: ContinuousClock.Instant) -> [PPPAction] {
        guard phase != .ended else { return [] }
        var actions: [PPPAction] = []
        close(reason, &actions, now)
        return finish(actions, now)
    }

    /// The call or the connection is gone: the end at once, without a word to the peer.
    public mutating func lowerLayerDown(now: ContinuousClock.Instant) -> [PPPAction] {
        guard phase != .ended else { return [] }
        var actions: [PPPAction] = []
        reason = reason ?? .lowerLayerDown
        takeDown(&actions, now)
        end(&actions)
        return finish(actions, now)
    }

    /// The data path cannot recover its MPPE state: CCP is negotiated again, the network layer stays up.
    public mutating func decryptionLost(now: ContinuousClock.Instant) -> [PPPAction] {
        var actions: [PPPAction] = []
        renegotiateEncryption(&actions, now)
        return finish(actions, now)
    }

    /// Whether a verdict given now would count: the link still waits for it, and no renegotiation has overtaken the question.
    public var awaitsVerdict: Bool {
        phase != .terminating && phase != .ended && overtakenVerdicts == 0 && authenticator?.isJudging == true
    }

    /// Server: the answer to `authenticate`, to be given once for each. One that a renegotiation has overtaken is ignored.
    public mutating func authenticated(
        identifier: UInt8, _ verdict: AuthenticationVerdict, now: ContinuousClock.Instant
    ) -> [PPPAction] {
        guard phase != .ended else { return [] }
        var actions: [PPPAction] = []
        if overtakenVerdicts > 0 {
            overtakenVerdicts -= 1
            if overtakenVerdicts == 0, let credentials = heldCredentials {
                heldCredentials = nil
                actions.append(.authenticate(credentials))
            }
        } else if let outputs = authenticator?.judged(identifier: identifier, verdict, now: now, random: &random) {
            apply(authenticator: outputs, &actions, now)
        }
        return finish(actions, now)
    }

    /// Server: the answers to `allocateAddress`, one for each. What was assigned counts until the next `allocateAddress` or the end.
    public mutating func assign(_ assignment: AddressAssignment, now: ContinuousClock.Instant) -> [PPPAction] {
        var actions: [PPPAction] = []
        guard answersAddress(&actions) else { return finish(actions, now) }
        address = .known(assignment)
        ipcp.policy.assignment = assignment
        openIPCPIfReady(&actions, now)
        return finish(actions, now)
    }

    public mutating func refuseAddress(now: ContinuousClock.Instant) -> [PPPAction] {
        var actions: [PPPAction] = []
        guard answersAddress(&actions) else { return finish(actions, now) }
        close(.noAddress, &actions, now)
        return finish(actions, now)
    }

    /// Client: the answer to `challenged`.
    public mutating func respond(
        identifier: UInt8, peerChallenge: [UInt8], ntResponse: [UInt8], userName: [UInt8], now: ContinuousClock.Instant
    ) -> [PPPAction] {
        guard phase == .authenticating || phase == .network else { return [] }
        var actions: [PPPAction] = []
        let outputs = supplicant.respond(
            identifier: identifier, peerChallenge: peerChallenge, ntResponse: ntResponse, userName: userName, now: now)
        apply(supplicant: outputs, &actions, now)
        return finish(actions, now)
    }

    /// Client: the answers to `verify`. The keys of a repeated authentication are not used: live keys stay.
    public mutating func verifiedSuccess(keys: MPPEStartKeys?, now: ContinuousClock.Instant) -> [PPPAction] {
        guard phase == .authenticating || phase == .network, supplicant.verified() else { return [] }
        var actions: [PPPAction] = []
        if phase == .network {
            actions.append(.note(.reauthenticated))
        } else {
            self.keys = keys
            actions.append(.authenticationSucceeded(userName: supplicant.userName))
            enterNetwork(&actions, now)
        }
        return finish(actions, now)
    }

    public mutating func refusedSuccess(now: ContinuousClock.Instant) -> [PPPAction] {
        guard phase == .authenticating || phase == .network else { return [] }
        var actions: [PPPAction] = []
        close(.serverNotAuthentic, &actions, now)
        return finish(actions, now)
    }
}

// ---- The end, and the deadlines ----

extension PPPSession {
    var requiresEncryption: Bool { configuration.encryption.mode == .required }

    mutating func close(_ why: TerminationReason, _ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        guard phase != .terminating, phase != .ended else { return }
        reason = reason ?? why
        if phase == .idle { return end(&actions) }
        phase = .terminating
        apply(lcp: lcp.close(text: Array(why.peerText.utf8.prefix(100)), now: now, random: &random), &actions, now)
        // Nothing is waited for: LCP had not begun, or has given up before.
        if phase != .ended, !lcp.automaton.timerRuns { end(&actions) }
    }

    mutating func end(_ actions: inout [PPPAction]) {
        guard phase != .ended else { return }
        phase = .ended
        keys = nil
        heldCredentials = nil
        heldPackets = []
        authenticator = nil
        actions.append(.terminated(reason ?? .linkNegotiationFailed))
    }

    /// LCP is no longer open: everything above it falls (RFC 1661 section 3.5), and the peer has to authenticate again.
    mutating func takeDown(_ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        apply(ipcp: ipcp.down(now: now, random: &random), &actions, now)
        apply(ccp: ccp.down(now: now, random: &random), &actions, now)
        if networkIsUp {
            networkIsUp = false
            actions.append(.networkDown)
        }
        clearKeys(&actions)
        if authenticator?.isJudging == true, heldCredentials == nil { overtakenVerdicts += 1 }
        heldCredentials = nil
        authenticator = nil
        supplicant = Supplicant(configuration: configuration)
        keys = nil
        if case .asked = address { overtakenAddresses += 1 }
        address = .unknown
        heldRequest = nil
        heldPackets = []
        echo = Echo()
        if phase == .authenticating || phase == .network { phase = .establishing }
    }

    /// Deadlines follow the phase, so that no way into a phase can forget one.
    mutating func finish(_ actions: [PPPAction], _ now: ContinuousClock.Instant) -> [PPPAction] {
        switch phase {
        case .establishing, .authenticating:
            negotiationDeadline = nil
            if authenticationDeadline == nil { authenticationDeadline = now + configuration.authenticationTimeout }
        case .network:
            authenticationDeadline = nil
            if networkIsUp, ccp.isOpened || !requiresEncryption {
                negotiationDeadline = nil
            } else if negotiationDeadline == nil {
                negotiationDeadline = now + configuration.negotiationTimeout
            }
        case .idle, .terminating, .ended:
            authenticationDeadline = nil
            negotiationDeadline = nil
        }
        return actions
    }
}
