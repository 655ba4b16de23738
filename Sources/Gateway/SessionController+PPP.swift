import Addresses
import Authentication
import DataPath
import Diagnosis
import Foundation
import PPP
import PPTP
import SessionMapper
import Settings

extension SessionController {
    /// Feeds the link's state machine, carries out what it says, and arms its timer.
    func step(_ id: UInt64, _ body: (inout PPPSession) -> [PPPAction]) {
        guard let session = sessions[id], session.phase != .ending else { return }
        let actions = body(&session.ppp)
        session.pending.append(contentsOf: actions)
        // Carrying out an action may call back in here (an address is found at once): its actions come after those that wait already.
        guard !session.isCarryingOut else { return }
        session.isCarryingOut = true
        together {
            while session.phase != .ending, !session.pending.isEmpty {
                carryOut(session.pending.removeFirst(), for: session)
            }
        }
        session.isCarryingOut = false
        if session.phase != .ending { session.timer = timer(.session(id), at: session.ppp.deadline, insteadOf: session.timer) }
    }

    private func carryOut(_ action: PPPAction, for session: LegacySession) {
        let id = session.id
        switch action {
        case .send(let number, let payload):
            // The client may send the moment it reads our Ack to its address: everything has to stand before the Ack leaves.
            if number == PPPProtocol.ipcp, payload.first == Self.configureAck { bind(session, peerMRU: session.peerMRU) }
            session.negotiation.sent(number, payload)
            submit(Command(id, .inject(protocol: number, payload: payload)))
        case .authenticate(let credentials): authenticate(credentials, session)
        case .challenged, .verify: break  // The client's role; a server link never says so.
        case .allocateAddress: allocateAddress(session)
        case .linkOptions(let options): apply(options, to: session)
        case .setKey(let direction, let parameters): setKey(direction, parameters, for: session)
        case .networkUp(let network): networkUp(network, session)
        case .networkDown:
            unbind(session)
            session.phase = .authenticated
            logger.info("\(session.label): network down, negotiating again")
        case .authenticationSucceeded:
            limits.callAuthenticated(session.ticket)
            if session.phase == .negotiating { session.phase = .authenticated }
            logger.info("\(session.label): authenticated")
        case .authenticationFailed: failedLogins += 1
        case .note(let note):
            if case .renegotiation(let number) = note, number == PPPProtocol.lcp || number == PPPProtocol.ipcp { unbind(session) }
            session.fingerprint.note(note)
            logger.debug("session \(id): \(note)")
        case .terminated(let reason):
            session.end = Attempt.End(reason) ?? session.end
            finish(id, because: Self.text(of: reason))
        }
    }

    // MARK: Log-in

    private func authenticate(_ credentials: PPPCredentials, _ session: LegacySession) {
        guard case .msCHAPv2(let response) = credentials else { return }
        session.fingerprint.namesDomain = response.userName.contains(UInt8(ascii: "\\"))
        let request = AuthenticationRequest(
            userName: response.userName, source: session.clientAddress, serverName: configuration.authentication.serverName,
            proof: .msCHAPv2(
                identifier: response.identifier, authenticatorChallenge: response.authenticatorChallenge,
                peerChallenge: response.peerChallenge, ntResponse: response.ntResponse))
        let id = session.id
        Task {
            var result = await authenticator.authenticate(request)
            if let book, case .accept(let user) = result { result = await judged(by: book, user, from: request.source) }
            if case .accept(let user) = result, let tunnel = user.attributes.tunnel ?? sessions[id]?.listener.tunnel, handedOver[tunnel]?.contains(user.name) == true {
                result = .reject(Self.hasOwnIdentity)
            }
            judged(result, request.userName, identifier: response.identifier, session: id)
        }
    }

    /// One identity has one live holder, and this user is it.
    private static let hasOwnIdentity = Rejection(
        code: .noDialInPermission, retry: false, message: "Use WireGuard: it was set up for you",
        reason: .policy("the user's identity was handed over to their own device (causeway migrate take-back USER undoes that)"))

    private func judged(_ result: AuthenticationResult, _ presented: String, identifier: UInt8, session id: UInt64) {
        guard let session = sessions[id], session.phase != .ending else { return }
        // A verdict that comes too late (the link is closing, or has been renegotiated) is handed over for the link's own count of
        // questions and changes nothing else: above all it must not replace the user's good session.
        guard session.ppp.awaitsVerdict else {
            return step(id) { $0.authenticated(identifier: identifier, .reject(code: 691, retry: false, message: ""), now: .now) }
        }
        session.presentedName = presented
        switch result {
        case .reject(let rejection):
            session.logIn = Attempt.LogInResult(rejection.reason)
            session.refusal = Self.text(of: rejection.reason)
            logger.notice(
                "log-in of user \"\(presented)\" from \(session.clientAddress) refused: \(Self.text(of: rejection.reason)) (session \(id), code \(rejection.code.rawValue))"
            )
            // A stranger's name may be anything; one who is locked out may be a stranger.
            let isStranger = [.unknownUser, .malformed, .lockedOut].contains(rejection.reason)
            let name = presented.split(separator: "\\").last.map(String.init)
            write(refusalOf: isStranger ? nil : name, Self.text(of: rejection.reason), session)
            step(id) {
                $0.authenticated(
                    identifier: identifier, .reject(code: rejection.code.rawValue, retry: rejection.retry, message: rejection.message),
                    now: .now)
            }
        case .accept(let user):
            // A re-challenge that another user answers would move an open session to somebody else.
            if let known = session.user, known != user.name {
                logger.warning("\(session.label): answered a new challenge as \"\(user.name)\"; refused")
                write(refusalOf: user.name, "a session of another user answered a new challenge so", session)
                return step(id) {
                    $0.authenticated(
                        identifier: identifier, .reject(code: 691, retry: false, message: "Authentication failed"), now: .now)
                }
            }
            if case .refused(let reason) = meetNative(user.name, session) {
                logger.notice("log-in of user \"\(user.name)\" from \(session.clientAddress) refused: \(reason) (migration.while-native)")
                write(refusalOf: user.name, reason, session)
                return step(id) {
                    $0.authenticated(identifier: identifier, .reject(code: 649, retry: false, message: "Connected with WireGuard already"), now: .now)
                }
            }
            switch admission(of: user.name, session: id) {
            case .refused:
                logger.notice("log-in of user \"\(user.name)\" from \(session.clientAddress) refused: already connected")
                write(refusalOf: user.name, "already connected", session)
                session.logIn = .refused
                session.refusal = "already connected"
                return step(id) {
                    $0.authenticated(
                        identifier: identifier, .reject(code: 649, retry: false, message: "Already connected"), now: .now)
                }
            case .replaces(let older):
                for other in older {
                    logger.notice("\(sessions[other]?.label ?? ""): replaced by a new log-in from \(session.clientAddress)")
                    // At once: the new log-in may need the same address.
                    end(other, because: "replaced by a new log-in")
                    finish(other, because: "replaced by a new log-in")
                }
            case .admitted: break
            }
            session.user = user.name
            session.logIn = .accepted
            session.attributes = user.attributes
            sessionsOfUser[user.name, default: []].insert(id)
            let keys = MPPEStartKeys(send: user.sendStartKey, receive: user.receiveStartKey)
            step(id) {
                $0.authenticated(
                    identifier: identifier, .accept(authenticatorResponse: user.successMessage, keys: keys), now: .now)
            }
        }
    }

    private enum Admission {
        case admitted, refused
        case replaces([UInt64])
    }

    private func admission(of user: String, session id: UInt64) -> Admission {
        guard let others = sessionsOfUser[user], !others.isEmpty, sessions[id]?.user == nil else { return .admitted }
        switch configuration.authentication.whenConnected {
        case .allow: return .admitted
        case .refuse: return .refused
        case .replace: return .replaces(others.sorted())
        }
    }

    // MARK: Network

    private func networkUp(_ network: NetworkParameters, _ session: LegacySession) {
        bind(session, peerMRU: network.peerMRU)
        session.phase = .open
        session.device = session.fingerprint.recognised
        guard let assignment = session.assignment, let mtu = session.mtu else { return }
        if let rate = session.attributes.rate {
            submit(Command(session.id, .update(SessionUpdate(rateBitsPerSecond: UInt64(rate) * 1000))))
        }
        if !session.isAnnounced {
            session.isAnnounced = true
            bulletin.tell(.sessionOpened(session.announcement))
        }
        logger.info(
            "\(session.label): open, \(assignment.address) through tunnel \"\(assignment.tunnel)\", \(session.encryption), MTU \(mtu)"
        )
    }

    private static let configureAck: UInt8 = 2

    /// Ties the session's inner addresses to its tunnel in the data path, if that has not been done just so.
    private func bind(_ session: LegacySession, peerMRU: UInt16) {
        guard let assignment = session.assignment, let way = ways[assignment.tunnel] else { return }
        let mtu = innerMTU(peerMRU: peerMRU)
        let binding = Binding(
            gatewayAddress: assignment.gateway, tunnel: way.index, mtu: mtu, prefixes: assignment.prefixes, identity: session.identity)
        guard binding != session.bound else { return }
        session.mtu = mtu
        session.bound = binding
        submit(Command(session.id, .bind(binding)))
    }

    private func unbind(_ session: LegacySession) {
        guard session.bound != nil else { return }
        session.bound = nil
        submit(Command(session.id, .unbind))
    }

    /// The whole MPPE datagram must fit the peer's MRU (RFC 3078 section 3), and the outer packet the path: IP 20 + GRE 16 + PPP 4 +
    /// MPPE 2 + the encrypted protocol field 2 = 44 bytes around the inner packet.
    private func innerMTU(peerMRU: UInt16) -> UInt16 {
        let path = 1500 - 44
        let fits = min(path, Int(peerMRU) - 4, configuration.ppp.mtu ?? .max)
        return UInt16(max(68, fits))
    }

    private func apply(_ options: LinkOptions, to session: LegacySession) {
        session.flags.remove([.sendACFC, .sendPFC])
        if options.sendACFC { session.flags.insert(.sendACFC) }
        if options.sendPFC { session.flags.insert(.sendPFC) }
        session.peerMRU = options.peerMRU
        submit(Command(session.id, .update(SessionUpdate(flags: session.flags))))
    }

    private func setKey(_ direction: KeyDirection, _ parameters: MPPEParameters?, for session: LegacySession) {
        let encryption = parameters.map {
            Encryption(keyBits: UInt8($0.bits), stateless: $0.stateless, startKey: $0.startKey.bytes)
        }
        switch direction {
        case .receive:
            session.receiveEncryption = parameters
            submit(Command(session.id, .rekey(.receive, encryption)))
        case .transmit:
            session.transmitEncryption = parameters
            submit(Command(session.id, .rekey(.transmit, encryption)))
        }
    }

    // MARK: The end

    /// Ends a session from our side, in order: LCP Terminate, then Call-Disconnect-Notify.
    func end(_ id: UInt64, because text: String) {
        sessions[id]?.isEndedByUs = true
        step(id) { $0.close(reason: .administrative(text), now: .now) }
    }

    /// The link is over: tell the client's control connection, free everything, and wait for the data path's last word.
    func finish(_ id: UInt64, because text: String) {
        guard let session = sessions[id], session.phase != .ending else { return }
        diagnoseEnd(of: session)
        if session.isAnnounced { bulletin.tell(.sessionClosed(session.announcement, reason: text)) }
        session.phase = .ending
        session.pending = []
        session.timer = timer(.session(id), at: nil, insteadOf: session.timer)
        if let user = session.user {
            sessionsOfUser[user]?.remove(id)
            if sessionsOfUser[user]?.isEmpty == true { sessionsOfUser[user] = nil }
        }
        mapper.release(id)
        leave(session, because: text)
        letGo(of: session)
        limits.callClosed(session.ticket)
        submit(Command(id, .close))
        connections[session.connection]?.sessions[session.call] = nil
        if !session.callIsOver {
            let clearing: ServerConnection.Clearing = session.isEndedByUs ? .adminShutdown : .lostCarrier
            perform(session.connection) { $0.closeCall(session.call, clearing, now: .now) }
        }
        bindWaitingNatives()
        logger.info("\(session.label): ended after \(Int(session.started.duration(to: .now).seconds)) s: \(text)")
    }

    static func text(of reason: Rejection.Reason) -> String {
        switch reason {
        case .unknownUser: "no such user in the secrets files or the configuration"
        case .wrongPassword: "wrong password"
        case .lockedOut: "locked out after too many failures (authentication.lockout-failures)"
        case .noAddress: "the user's entry allows no address"
        case .malformed: "the response is malformed"
        case .server(let text), .policy(let text): text
        }
    }

    static func text(of reason: TerminationReason) -> String {
        switch reason {
        case .peerTerminated(let data): "the client hung up" + (data.isEmpty ? "" : " (\"\(printable(data))\")")
        case .administrative(let text): text
        case .authenticationTimeout: "no log-in within pptp.authentication-timeout"
        case .negotiationTimeout: "no network within pptp.negotiation-timeout"
        case .encryptionRefused: "the client refuses MPPE encryption of an allowed strength (encryption.strengths)"
        case .peerRefusesAuthentication: "the client refuses MS-CHAPv2"
        case .echoTimeout: "the client does not answer LCP echoes any more"
        case .linkNegotiationFailed: "LCP could not be agreed on: is GRE (IP protocol 47) blocked between the client and us?"
        case .noAddress: "no address for the client"
        default: reason.peerText
        }
    }
}

/// Bytes of a stranger for a log line.
func printable(_ bytes: [UInt8]) -> String {
    String(decoding: bytes.map { (0x20...0x7E).contains($0) ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
}

extension MPPEStartKeys {
    init(send: Secret, receive: Secret) {
        self.init(
            send: MPPEStartKey(send.withUnsafeBytes { Array($0) })!, receive: MPPEStartKey(receive.withUnsafeBytes { Array($0) })!)
    }
}
