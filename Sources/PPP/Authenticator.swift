/// The server's side of authentication, one method at a time: MS-CHAP (RFC 2759, RFC 2433) or PAP (RFC 1334).
///
/// A response that comes twice gets the answer of the first time again, from memory: the verdict is asked for once.
struct Authenticator: Sendable, Codable {
    enum Output: Equatable {
        case send(protocol: UInt16, packet: ControlPacket)
        case authenticate(PPPCredentials)
        case accepted(userName: [UInt8], keys: MPPEStartKeys?, again: Bool)
        case refused(AuthenticationFailure)
        /// The peer did not answer, or has no try left.
        case gaveUp(TerminationReason)
        case note(PPPNote)
    }

    private struct Challenge: Equatable, Codable {
        var identifier: UInt8
        var value: [UInt8]
    }

    private enum State: Codable {
        case idle
        /// PAP: the peer speaks first.
        case waiting
        case challenged(Challenge, sent: Int, deadline: ContinuousClock.Instant)
        case judging(PPPCredentials, response: ControlPacket)
        /// Refused with "R=1"; the next response answers the challenge that was in the failure.
        case mayRetry(Challenge, response: ControlPacket, answer: ControlPacket)
        case accepted(response: ControlPacket, answer: ControlPacket)
        case failed
    }

    let method: AuthenticationMethod
    private let name: [UInt8]
    private let retransmission: Retransmission
    private let rechallengeInterval: Duration?
    private var attemptsLeft: Int
    private var nextIdentifier: UInt8
    private var state = State.idle
    private var rechallengeAt: ContinuousClock.Instant?
    /// Set from the first success on: later challenges are for the same user.
    private var user: [UInt8]?

    init(method: AuthenticationMethod, configuration: PPPConfiguration, random: inout RandomSource) {
        self.method = method
        name = Array(configuration.challengeName.utf8.prefix(Limit.notedBytes))
        retransmission = configuration.retransmission
        rechallengeInterval = method == .pap ? nil : configuration.rechallengeInterval
        attemptsLeft = max(configuration.authenticationAttempts, 1)
        nextIdentifier = UInt8.random(in: 0...255, using: &random)
    }

    var deadline: ContinuousClock.Instant? {
        if case .challenged(_, _, let deadline) = state { deadline } else { rechallengeAt }
    }

    /// The owner has been asked and has not answered yet.
    var isJudging: Bool {
        if case .judging = state { true } else { false }
    }

    private var number: UInt16 { method == .pap ? PPPProtocol.pap : PPPProtocol.chap }

    mutating func start(now: ContinuousClock.Instant, random: inout RandomSource) -> [Output] {
        guard method != .pap else {
            state = .waiting
            return []
        }
        return challenge(now: now, random: &random)
    }

    private mutating func newChallenge(_ random: inout RandomSource) -> Challenge {
        defer { nextIdentifier &+= 1 }
        return Challenge(identifier: nextIdentifier, value: random.bytes(CHAPMessage.challengeLength(method)))
    }

    private mutating func challenge(now: ContinuousClock.Instant, random: inout RandomSource) -> [Output] {
        rechallengeAt = nil
        let challenge = newChallenge(&random)
        state = .challenged(challenge, sent: 1, deadline: now + retransmission.restart)
        return [send(challenge)]
    }

    private func send(_ challenge: Challenge) -> Output {
        let body = CHAPMessage.value(challenge.value, name: name)
        return .send(protocol: number, packet: ControlPacket(code: CHAPCode.challenge, identifier: challenge.identifier, data: body))
    }

    mutating func timer(now: ContinuousClock.Instant, random: inout RandomSource) -> [Output] {
        guard let due = deadline, due <= now else { return [] }
        guard case .challenged(let challenge, let sent, _) = state else { return self.challenge(now: now, random: &random) }
        guard sent < retransmission.maxConfigure else {
            state = .failed
            return [.gaveUp(.authenticationTimeout)]
        }
        state = .challenged(challenge, sent: sent + 1, deadline: now + retransmission.restart)
        return [.note(.challengeRepeated), send(challenge)]
    }

    // ---- The peer ----

    mutating func receive(_ packet: ControlPacket) -> [Output] {
        if case .failed = state { return [] }
        guard packet.code == (method == .pap ? PAPCode.request : CHAPCode.response) else {
            return [.note(.malformed(protocol: number))]
        }
        switch state {
        case .idle, .failed: return []
        case .waiting: return judge(packet, challenge: [])
        case .challenged(let challenge, _, _):
            guard packet.identifier == challenge.identifier else { return [.note(.outOfPhase(protocol: number))] }
            return judge(packet, challenge: challenge.value)
        case .judging(_, let response):
            return [.note(packet == response ? .responseRepeated : .outOfPhase(protocol: number))]
        case .mayRetry(let challenge, let response, let answer):
            if packet == response { return [.note(.responseRepeated), .send(protocol: number, packet: answer)] }
            // Clients disagree whether a retry carries the identifier of the failure or the next one.
            guard method == .pap || packet.identifier == challenge.identifier || packet.identifier == challenge.identifier &+ 1
            else { return [.note(.outOfPhase(protocol: number))] }
            return judge(packet, challenge: challenge.value)
        case .accepted(let response, let answer):
            guard packet == response else { return [.note(.outOfPhase(protocol: number))] }
            return [.note(.responseRepeated), .send(protocol: number, packet: answer)]
        }
    }

    private mutating func judge(_ packet: ControlPacket, challenge: [UInt8]) -> [Output] {
        let credentials: PPPCredentials? =
            switch method {
            case .msCHAPv2: CHAPMessage.msCHAPv2(packet, challenge: challenge).map { .msCHAPv2($0) }
            case .msCHAPv1: CHAPMessage.msCHAPv1(packet, challenge: challenge).map { .msCHAPv1($0) }
            case .pap: Self.pap(packet).map { .pap($0) }
            }
        guard let credentials else { return [.note(.malformed(protocol: number))] }
        state = .judging(credentials, response: packet)
        return [.authenticate(credentials)]
    }

    /// RFC 1334 section 2.2.1: two counted strings.
    private static func pap(_ packet: ControlPacket) -> PAPRequest? {
        guard let (name, rest) = CHAPMessage.parseValue(packet.data), let (password, _) = CHAPMessage.parseValue(rest[...])
        else { return nil }
        return PAPRequest(identifier: packet.identifier, userName: name, password: password)
    }

    // ---- The verdict ----

    mutating func judged(
        identifier: UInt8, _ verdict: AuthenticationVerdict, now: ContinuousClock.Instant, random: inout RandomSource
    ) -> [Output] {
        guard case .judging(let credentials, let response) = state, credentials.identifier == identifier else { return [] }
        let again = user != nil
        switch verdict {
        case .accept(let proof, let message, let keys):
            guard user == nil || user == credentials.userName else {
                // The name on a live link may not change: addresses, keys and counters hang on it.
                return refuse(credentials, response, code: 691, retry: false, message: "Another user", random: &random)
            }
            user = credentials.userName
            let answer = packet(
                accept: true, response.identifier,
                CHAPMessage.success(authenticatorResponse: method == .msCHAPv2 ? proof : "", message: message))
            state = .accepted(response: response, answer: answer)
            rechallengeAt = rechallengeInterval.map { now + $0 }
            return [
                .send(protocol: number, packet: answer),
                .accepted(userName: credentials.userName, keys: again ? nil : keys, again: again),
            ]
        case .reject(let code, let retry, let message):
            return refuse(credentials, response, code: code, retry: retry && !again, message: message, random: &random)
        }
    }

    private mutating func refuse(
        _ credentials: PPPCredentials, _ response: ControlPacket, code: Int, retry: Bool, message: String, random: inout RandomSource
    ) -> [Output] {
        attemptsLeft -= 1
        let retry = retry && attemptsLeft > 0
        var next = newChallenge(&random)
        next.identifier = response.identifier
        let body =
            method == .pap
            ? Array(message.utf8)
            : CHAPMessage.failure(method: method, code: code, retry: retry, challenge: next.value, message: message)
        let answer = packet(accept: false, response.identifier, body)
        state = retry ? .mayRetry(next, response: response, answer: answer) : .failed
        let failure = AuthenticationFailure(userName: credentials.userName, code: code, mayRetry: retry)
        return [.send(protocol: number, packet: answer), .refused(failure)] + (retry ? [] : [.gaveUp(.authenticationFailed)])
    }

    /// Success or failure; PAP's messages are counted strings (RFC 1334 section 2.2.2).
    private func packet(accept: Bool, _ identifier: UInt8, _ body: [UInt8]) -> ControlPacket {
        guard method == .pap else {
            return ControlPacket(code: accept ? CHAPCode.success : CHAPCode.failure, identifier: identifier, data: body)
        }
        let message = body.prefix(255)
        return ControlPacket(
            code: accept ? PAPCode.ack : PAPCode.nak, identifier: identifier, data: [UInt8(message.count)] + message)
    }
}
