import Addresses
import Authentication
import DataPath
import PPP

/// The PPP side of one call, as a value: control frames and time in, commands for the data path out, in the order in which they
/// have to be submitted. It logs in with MS-CHAPv2 and checks the server's proof.
public struct LegacyCall: Sendable {
    public enum Action: Sendable {
        /// For this session of the data path.
        case command(Command.Kind)
        case networkUp(SessionNetwork)
        case networkDown
        case note(PPPNote)
        /// The link is over; the call has to be cleared. nil: we asked for it. Always the last action.
        case ended(SessionFailure?)
    }

    /// Overhead around an inner packet: outer IP 20, GRE with sequence and acknowledgment 16, PPP 4, MPPE 2, encrypted protocol field 2.
    static let overhead: UInt16 = 44
    /// What of it counts against the peer's MRU (RFC 3078 section 3: the whole MPPE datagram): MPPE header and protocol field.
    static let encapsulation: UInt16 = 4

    private let account: LegacyAccount
    private let pathMTU: UInt16
    private let requiresEncryption: Bool
    private var ppp: PPPSession
    /// What the server's success message must begin with, and the keys that are ours if it does.
    private var expected: (response: String, keys: MPPEStartKeys)?
    private var failure: SessionFailure?
    private var lowerLayerFailure: SessionFailure?
    private var wasUp = false
    private var encryption: (receive: MPPEParameters?, transmit: MPPEParameters?)
    private var isClosing = false

    public init(account: LegacyAccount, configuration: PPPConfiguration, pathMTU: UInt16 = 1500) {
        self.account = account
        // RFC 791 section 3.2: every host takes 576 bytes.
        self.pathMTU = max(576, pathMTU)
        requiresEncryption = configuration.encryption.mode == .required
        ppp = PPPSession(configuration: configuration)
    }

    public var deadline: ContinuousClock.Instant? { ppp.deadline }
    /// Flags of the data path's session before LCP has agreed on anything.
    public var initialFlags: SessionFlags { requiresEncryption ? .requireEncryption : [] }

    // ---- from the owner ----

    public mutating func start(now: ContinuousClock.Instant) -> [Action] { perform(ppp.start(now: now), now: now) }

    public mutating func timer(now: ContinuousClock.Instant) -> [Action] { perform(ppp.timer(now: now), now: now) }

    /// Asks the server to end the link; `.ended(nil)` follows.
    public mutating func hangUp(now: ContinuousClock.Instant) -> [Action] {
        isClosing = true
        return perform(ppp.close(reason: .administrative("User request"), now: now), now: now)
    }

    // ---- from the network ----

    public mutating func receive(protocol number: UInt16, payload: [UInt8], now: ContinuousClock.Instant) -> [Action] {
        perform(ppp.receive(protocol: number, payload: payload, now: now), now: now)
    }

    public mutating func decryptionLost(now: ContinuousClock.Instant) -> [Action] {
        perform(ppp.decryptionLost(now: now), now: now)
    }

    /// The call or its connection is gone. What PPP already knows explains more: a server often clears the call in the same breath
    /// as it terminates the link.
    public mutating func lowerLayerDown(because cause: SessionFailure, now: ContinuousClock.Instant) -> [Action] {
        lowerLayerFailure = cause
        return perform(ppp.lowerLayerDown(now: now), now: now)
    }

    // ---- what PPP wants done ----

    private mutating func perform(_ pending: [PPPAction], now: ContinuousClock.Instant) -> [Action] {
        var actions: [Action] = []
        for action in pending {
            switch action {
            case .send(let number, let payload): actions.append(.command(.inject(protocol: number, payload: payload)))
            case .challenged(let challenge): actions += answer(challenge, now: now)
            case .verify(_, let message): actions += verify(message, now: now)
            case .linkOptions(let options):
                var flags = initialFlags
                if options.sendACFC { flags.insert(.sendACFC) }
                if options.sendPFC { flags.insert(.sendPFC) }
                actions.append(.command(.update(SessionUpdate(flags: flags))))
            case .setKey(let direction, let parameters):
                if direction == .receive { encryption.receive = parameters } else { encryption.transmit = parameters }
                actions.append(.command(.rekey(direction == .receive ? .receive : .transmit, parameters.map(Encryption.init))))
            case .networkUp(let parameters):
                wasUp = true
                let network = network(parameters)
                actions.append(.command(.bind(binding(network))))
                actions.append(.networkUp(network))
            case .networkDown:
                actions.append(.command(.unbind))
                actions.append(.networkDown)
            case .authenticationFailed(let refusal): failure = .authentication(code: refusal.code)
            case .authenticationSucceeded: break
            case .note(let note): actions.append(.note(note))
            case .terminated(let reason): actions.append(.ended(failure(reason)))
            case .authenticate, .allocateAddress: break  // For servers.
            }
        }
        return actions
    }

    /// RFC 2759 section 4. A second challenge after a refusal is not answered: the password would be no better.
    private mutating func answer(_ challenge: CHAPChallenge, now: ContinuousClock.Instant) -> [Action] {
        if challenge.refusal != nil {
            return perform(ppp.close(reason: .authenticationFailed, now: now), now: now)
        }
        guard challenge.method == .msCHAPv2, challenge.challenge.count == MSCHAPv2.challengeLength else {
            failure = .serverNotAuthentic
            return perform(ppp.close(reason: .serverNotAuthentic, now: now), now: now)
        }
        var generator = SystemRandomNumberGenerator()
        let peerChallenge = (0..<MSCHAPv2.challengeLength).map { _ in UInt8.random(in: 0...255, using: &generator) }
        let userName = Array(account.user.utf8)
        let ntHash = account.password.ntHash
        let response = MSCHAPv2.ntResponse(
            authenticatorChallenge: challenge.challenge, peerChallenge: peerChallenge, userName: userName, ntHash: ntHash)
        let keys = MSCHAPv2.startKeys(ntHash: ntHash, ntResponse: response, role: .client)
        guard let send = MPPEStartKey(keys.send.withUnsafeBytes { Array($0) }),
            let receive = MPPEStartKey(keys.receive.withUnsafeBytes { Array($0) })
        else { preconditionFailure("start keys have 16 bytes") }
        let proof = MSCHAPv2.authenticatorResponse(
            authenticatorChallenge: challenge.challenge, peerChallenge: peerChallenge, ntResponse: response, userName: userName,
            ntHash: ntHash)
        expected = (proof, MPPEStartKeys(send: send, receive: receive))
        return perform(
            ppp.respond(
                identifier: challenge.identifier, peerChallenge: peerChallenge, ntResponse: response, userName: userName, now: now),
            now: now)
    }

    private mutating func verify(_ message: [UInt8], now: ContinuousClock.Instant) -> [Action] {
        guard let expected, MSCHAPv2.verify(successMessage: message, expected: expected.response) else {
            failure = .serverNotAuthentic
            return perform(ppp.refusedSuccess(now: now), now: now)
        }
        return perform(ppp.verifiedSuccess(keys: expected.keys, now: now), now: now)
    }

    private func network(_ parameters: NetworkParameters) -> SessionNetwork {
        SessionNetwork(
            address: parameters.local, peer: parameters.peer, dns: parameters.dns, nbns: parameters.nbns,
            mtu: Self.mtu(peerMRU: parameters.peerMRU, pathMTU: pathMTU, encrypted: parameters.encrypted),
            encryptionBits: encryption.transmit?.bits ?? encryption.receive?.bits ?? 0,
            statelessReceive: encryption.receive?.stateless ?? true, statelessTransmit: encryption.transmit?.stateless ?? true)
    }

    private func binding(_ network: SessionNetwork) -> Binding {
        Binding(
            gatewayAddress: network.peer, tunnel: 0, mtu: network.mtu, prefixes: [IPPrefix(network.address)] + account.prefixes)
    }

    /// The longest inner packet that passes the path in one piece and fits what the peer receives.
    static func mtu(peerMRU: UInt16, pathMTU: UInt16, encrypted: Bool) -> UInt16 {
        let encapsulation = encrypted ? encapsulation : 0
        // 68: every IPv4 link carries that much (RFC 791 section 3.2).
        return max(68, min(pathMTU - overhead, peerMRU > encapsulation ? peerMRU - encapsulation : 0))
    }

    private func failure(_ reason: TerminationReason) -> SessionFailure? {
        if let failure { return failure }
        if isClosing { return nil }
        switch reason {
        case .authenticationFailed: return .authentication(code: 0)
        case .serverNotAuthentic: return .serverNotAuthentic
        case .peerTerminated(let data):
            let text = String(decoding: data.prefix(64).map { (0x20...0x7E).contains($0) ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
            let what = text.isEmpty ? "the server ended the link" : "the server ended the link: \(text)"
            return wasUp ? .lost(what) : .negotiation(what)
        case .lowerLayerDown:
            let cause = lowerLayerFailure ?? .call(reason.peerText)
            return wasUp ? .lost(cause.reason) : cause
        default: return wasUp ? .lost(reason.peerText) : .negotiation(reason.peerText)
        }
    }
}

extension Encryption {
    init(_ parameters: MPPEParameters) {
        self.init(keyBits: UInt8(parameters.bits), stateless: parameters.stateless, startKey: parameters.startKey.bytes)
    }
}
