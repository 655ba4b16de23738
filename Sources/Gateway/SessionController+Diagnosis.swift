import Addresses
import Authentication
import DataPath
import Diagnosis
import Foundation
import NIOCore
import PPP
import PPTP
import SessionMapper
import Settings

// The evidence of attempts. Here it is put together when somebody asks, when an attempt ends early, and once for a call that is slow; on
// the way there only a few numbers are counted.
extension SessionController {
    // MARK: Collecting

    /// Whether an attempt that ends so is worth a look: most sessions end because somebody hung up.
    private static func isSuspicious(_ stage: Attempt.Stage, _ end: Attempt.End, _ session: LegacySession) -> Bool {
        stage < .open || end != .hungUp && end != .byUs || session.recoveries > 0
    }

    /// To be called while the data path still has the session.
    func diagnoseEnd(of session: LegacySession) {
        let end = session.isEndedByUs ? .byUs : session.end ?? .byUs, stage = stage(of: session)
        guard end != .byUs || stage < .open, Self.isSuspicious(stage, end, session) else { return }
        let attempt = attempt(of: session, end: end, engine?.counters(of: [session.id]).first ?? nil)
        enter(attempt, session: session.id, connection: session.connection.number, user: session.user)
    }

    /// A connection that never came to a call.
    func diagnoseEnd(of connection: ControlConnection, _ id: ConnectionID, _ reason: CloseReason) {
        guard !connection.hadCall else { return }
        let end = Attempt.End(reason)
        // A monitor looks whether the port is open, every few seconds for ever.
        guard end != .byUs, connection.hasStarted || end != .cut else { return }
        enter(attempt(of: connection, end: end), session: nil, connection: id.number, user: nil)
    }

    private func enter(_ attempt: Attempt, session: UInt64?, connection: UInt64, user: String?) {
        let verdicts = attempt.verdicts
        guard !verdicts.isEmpty else { return }
        attempts.add(.init(session: session, connection: connection, user: user, endedAt: Date(), attempt: attempt, verdicts: verdicts))
        log(verdicts, session.map { "session \($0)" } ?? "control connection \(connection)")
    }

    private func log(_ verdicts: [Verdict], _ what: String) {
        guard let verdict = verdicts.first, attempts.mayLog(now: .now) else { return }
        logger.log(level: verdict.severity == .note ? .info : .notice, "diagnosis of \(what): \(verdict.line)")
    }

    /// A call that has no link after a while gets its verdict in the log long before it is given up.
    func watchForSlowness(_ id: UInt64) {
        slowCalls.append((id, .now + .seconds(Attempt.patience)))
        guard slowTimer == nil else { return }
        slowTimer = eventLoop.scheduleTask(in: .seconds(Int64(Attempt.patience))) { [weak self] in
            self?.assumeIsolated { $0.lookAtSlowCalls() }
        }
    }

    private func lookAtSlowCalls() {
        let now = ContinuousClock.now
        let due = slowCalls.prefix { $0.at <= now }
        slowCalls.removeFirst(due.count)
        for (id, _) in due {
            guard let session = sessions[id], session.phase == .negotiating, session.negotiation.responsesIn == 0 else { continue }
            log(attempt(of: session, end: nil, engine?.counters(of: [id]).first ?? nil).verdicts, "session \(id)")
        }
        slowTimer = slowCalls.first.map { next in
            eventLoop.scheduleTask(in: .nanoseconds(max(0, Int64(now.duration(to: next.at).seconds * 1e9)) + 1)) { [weak self] in
                self?.assumeIsolated { $0.lookAtSlowCalls() }
            }
        }
    }

    // MARK: Evidence

    private func stage(of session: LegacySession) -> Attempt.Stage {
        if session.isAnnounced { return .open }
        if session.phase == .authenticated || session.phase == .open { return .authenticated }
        return session.negotiation.lcp.isOpen ? .linked : .called
    }

    private func attempt(of connection: ControlConnection, end: Attempt.End?) -> Attempt {
        var attempt = Attempt(
            clientAddress: connection.remote, gatewayAddress: connection.local, port: connection.listener.port,
            stage: connection.hasStarted ? .started : .connected, seconds: connection.accepted.duration(to: .now).seconds)
        attempt.end = end
        attempt.wasReset = connection.wasReset
        attempt.silentSeconds = connection.heard.duration(to: .now).seconds
        return attempt
    }

    /// - Parameter tunnel: what is known of where its packets go; nil: not asked for.
    private func attempt(of session: LegacySession, end: Attempt.End?, _ counters: Counters?, tunnel: Attempt.Tunnel? = nil) -> Attempt {
        var attempt = Attempt(
            clientAddress: session.clientAddress, gatewayAddress: session.localAddress, port: session.listener.port, stage: stage(of: session),
            seconds: session.started.duration(to: .now).seconds)
        attempt.end = end
        if let connection = connections[session.connection] {
            attempt.wasReset = connection.wasReset
            attempt.silentSeconds = connection.heard.duration(to: .now).seconds
        }
        attempt.callID = session.callID
        attempt.peerCallID = session.peerCallID
        attempt.negotiation = session.negotiation
        attempt.logIn = session.logIn ?? (session.user != nil ? .accepted : nil)
        attempt.userName = session.presentedName
        attempt.refusal = session.refusal
        attempt.encryption.required = configuration.encryption.required
        attempt.encryption.strengths = configuration.encryption.strengths
        attempt.encryption.statefulAllowed = configuration.encryption.stateful
        attempt.encryption.recoveries = session.recoveries
        if let counters { attempt.take(counters) }
        if let stranger = unknownCalls[session.clientAddress], stranger.last > session.started {
            attempt.gre.unknownCall = stranger.count
            attempt.gre.unknownCallID = stranger.callID
        }
        // Only a session that is in trouble, and not alone, has to look for others.
        if attempt.stage < .linked, limits.usage(of: session.clientAddress).calls > 1, sessions.count < 1000 || attempts.mayLook(now: .now) {
            let others = sessions.values.filter { $0.clientAddress == session.clientAddress && $0.id != session.id && $0.phase != .ending }
            attempt.neighbours.sameCallID = others.count { $0.peerCallID == session.peerCallID }
            attempt.neighbours.live = others.count { $0.negotiation.lcp.isOpen }
            attempt.neighbours.unanswered = others.count { $0.negotiation.lcp.requestsIn > 1 && $0.negotiation.lcp.answersIn == 0 }
        }
        attempt.tunnel = tunnel
        attempt.tunnel?.innerAddress = session.assignment?.address
        attempt.tunnel?.noPeer = counters?.drops["no-peer"] ?? 0
        attempt.tunnel?.down = counters?.drops["tunnel-down"] ?? 0
        return attempt
    }

    // MARK: For operators

    /// What is to be said of live sessions and of attempts that have failed, the newest last.
    /// - Parameter tunnels: as they are now.
    func diagnosis(of subject: DiagnosisSubject, tunnels: [TunnelView]) -> [DiagnosisView] {
        let live = sessions.values.filter { $0.phase != .ending && subject.matches($0.id, $0.user, $0.clientAddress) }.sorted { $0.id < $1.id }
        let counters = engine?.counters(of: live.map(\.id)) ?? []
        let views = zip(live, counters).map { session, counters in
            let tunnel = session.assignment.flatMap { assignment in tunnels.first { $0.name == assignment.tunnel } }
            let attempt = attempt(of: session, end: nil, counters, tunnel: tunnel.map(Attempt.Tunnel.init))
            return DiagnosisView(
                session: session.id, connection: session.connection.number, user: session.user, startedAt: session.startedAt, endedAt: nil, attempt: attempt,
                verdicts: attempt.verdicts)
        }
        let waiting = connections.filter { !$1.hadCall && subject.matches(nil, nil, $1.remote) }.sorted { $0.key.number < $1.key.number }.map { id, connection in
            let attempt = attempt(of: connection, end: nil)
            return DiagnosisView(
                session: nil, connection: id.number, user: nil, startedAt: Date() - attempt.seconds, endedAt: nil, attempt: attempt, verdicts: attempt.verdicts)
        }
        let ended = attempts.entries.filter { subject.matches($0.session, $0.user ?? $0.attempt.userName, $0.attempt.clientAddress) }.map { entry in
            DiagnosisView(
                session: entry.session, connection: entry.connection, user: entry.user, startedAt: entry.endedAt - entry.attempt.seconds, endedAt: entry.endedAt,
                attempt: entry.attempt, verdicts: entry.verdicts)
        }
        return ended + waiting + views
    }
}

extension Attempt {
    fileprivate mutating func take(_ counters: Counters) {
        gre.received = counters.greIn
        gre.sent = counters.greOut
        gre.otherSource = counters.drops["gre-wrong-source"] ?? 0
        gre.lost = counters.lost
        gre.reordered = counters.reordered
        encryption.undecryptable = ["mppe-unverified", "mppe-budget", "mppe-malformed", "mppe-wait-reset"].reduce(0) { $0 + (counters.drops[$1] ?? 0) }
    }
}

extension Attempt.End {
    init(_ reason: CloseReason) {
        self =
            switch reason {
            case .peerStopped: .hungUp
            case .peerClosed: .cut
            case .shutdown, .refused: .byUs
            case .idle: .idle
            case .startTimeout: .startTimeout
            case .echoTimeout: .controlEchoTimeout
            case .malformed, .tooManyViolations, .versionNotSupported: .malformed
            }
    }

    init(_ end: CallEnd) {
        switch end {
        case .clearedByPeer: self = .hungUp
        case .connectionClosed(let reason): self.init(reason)
        }
    }

    /// nil: the link says nothing that the call does not know better.
    init?(_ reason: TerminationReason) {
        switch reason {
        case .lowerLayerDown: return nil
        case .peerTerminated: self = .hungUp
        case .administrative, .serverNotAuthentic: self = .byUs
        case .linkNegotiationFailed, .loopedBack: self = .linkFailed
        case .peerRefusesAuthentication: self = .authenticationRefused
        case .authenticationTimeout: self = .loggedInTooLate
        case .authenticationFailed: self = .notAuthenticated
        case .negotiationTimeout, .networkRefused: self = .networkFailed
        case .encryptionRefused: self = .encryptionRefused
        case .noAddress: self = .noAddress
        case .echoTimeout: self = .echoTimeout
        }
    }
}

extension Attempt.LogInResult {
    init(_ reason: Rejection.Reason) {
        self =
            switch reason {
            case .unknownUser, .malformed: .unknownUser
            case .wrongPassword: .wrongPassword
            case .lockedOut: .lockedOut
            case .noAddress, .server, .policy: .refused
            }
    }
}

extension Attempt.Tunnel {
    init(_ tunnel: TunnelView) {
        let newest = tunnel.peers.compactMap(\.lastHandshakeSeconds).min()
        self.init(
            name: tunnel.name, interface: tunnel.interface, endpoint: tunnel.hubs.first(where: \.inUse)?.endpoint ?? tunnel.peers.first?.endpoint,
            handshakeSeconds: newest, receivedBytes: tunnel.peers.reduce(0) { $0 + $1.receivedBytes }, sentBytes: tunnel.peers.reduce(0) { $0 + $1.sentBytes },
            isUp: tunnel.up)
    }
}
