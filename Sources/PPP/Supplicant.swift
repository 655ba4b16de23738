/// The client's side of MS-CHAPv2 (RFC 2759): challenges in, responses out; the cryptography is the owner's.
struct Supplicant: Sendable, Codable {
    enum Output: Equatable {
        case send(ControlPacket)
        case challenged(CHAPChallenge)
        case verify(identifier: UInt8, message: [UInt8])
        case refused(AuthenticationFailure)
        case gaveUp(TerminationReason)
        case note(PPPNote)
    }

    private enum State: Codable {
        case idle
        case deciding(CHAPChallenge)
        /// The server repeats a lost challenge, but nobody repeats a lost Success: so the response is repeated.
        case responded(CHAPChallenge, response: ControlPacket, sent: Int, deadline: ContinuousClock.Instant)
        case verifying(CHAPChallenge, response: ControlPacket)
        case done(CHAPChallenge, response: ControlPacket)
    }

    private let retransmission: Retransmission
    private var state = State.idle
    private(set) var userName: [UInt8] = []

    init(configuration: PPPConfiguration) {
        retransmission = configuration.retransmission
    }

    var deadline: ContinuousClock.Instant? {
        if case .responded(_, _, _, let deadline) = state { deadline } else { nil }
    }

    mutating func receive(_ packet: ControlPacket) -> [Output] {
        switch packet.code {
        case CHAPCode.challenge: return receiveChallenge(packet)
        case CHAPCode.success:
            guard case .responded(let challenge, let response, _, _) = state, packet.identifier == response.identifier
            else { return [.note(.outOfPhase(protocol: PPPProtocol.chap))] }
            state = .verifying(challenge, response: response)
            return [.verify(identifier: packet.identifier, message: Array(packet.data))]
        case CHAPCode.failure:
            guard case .responded(_, let response, _, _) = state, packet.identifier == response.identifier
            else { return [.note(.outOfPhase(protocol: PPPProtocol.chap))] }
            return receiveFailure(packet)
        default: return [.note(.malformed(protocol: PPPProtocol.chap))]
        }
    }

    private mutating func receiveChallenge(_ packet: ControlPacket) -> [Output] {
        guard let (value, name) = CHAPMessage.parseValue(packet.data), value.count == 16 else {
            return [.note(.malformed(protocol: PPPProtocol.chap))]
        }
        let challenge = CHAPChallenge(
            method: .msCHAPv2, identifier: packet.identifier, challenge: value, name: name, refusal: nil)
        switch state {
        case .deciding(challenge), .verifying(challenge, _): return []
        case .responded(challenge, let response, _, _), .done(challenge, let response): return [.send(response)]
        default:
            state = .deciding(challenge)
            return [.challenged(challenge)]
        }
    }

    private mutating func receiveFailure(_ packet: ControlPacket) -> [Output] {
        let failure = CHAPMessage.parseFailure(packet.data)
        let refused = Output.refused(AuthenticationFailure(userName: userName, code: failure.code, mayRetry: failure.retry))
        guard failure.retry, let value = failure.challenge else {
            state = .idle
            return [refused, .gaveUp(.authenticationFailed)]
        }
        let challenge = CHAPChallenge(
            method: .msCHAPv2, identifier: packet.identifier &+ 1, challenge: value, name: [], refusal: Array(packet.data))
        state = .deciding(challenge)
        return [refused, .challenged(challenge)]
    }

    mutating func respond(
        identifier: UInt8, peerChallenge: [UInt8], ntResponse: [UInt8], userName: [UInt8], now: ContinuousClock.Instant
    ) -> [Output] {
        guard case .deciding(let challenge) = state, challenge.identifier == identifier, peerChallenge.count == 16,
            ntResponse.count == 24
        else { return [] }
        self.userName = userName
        let value = CHAPMessage.msCHAPv2Value(peerChallenge: peerChallenge, ntResponse: ntResponse)
        let response = ControlPacket(
            code: CHAPCode.response, identifier: identifier, data: CHAPMessage.value(value, name: userName))
        state = .responded(challenge, response: response, sent: 1, deadline: now + retransmission.restart)
        return [.send(response)]
    }

    /// True if there was a success to verify.
    mutating func verified() -> Bool {
        guard case .verifying(let challenge, let response) = state else { return false }
        state = .done(challenge, response: response)
        return true
    }

    mutating func timer(now: ContinuousClock.Instant) -> [Output] {
        guard case .responded(let challenge, let response, let sent, let due) = state, due <= now else { return [] }
        guard sent < retransmission.maxConfigure else {
            state = .idle
            return [.gaveUp(.authenticationTimeout)]
        }
        state = .responded(challenge, response: response, sent: sent + 1, deadline: now + retransmission.restart)
        return [.note(.responseRepeated), .send(response)]
    }
}
