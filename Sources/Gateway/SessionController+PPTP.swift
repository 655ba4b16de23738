import Addresses
import DataPath
import Devices
import Diagnosis
import Foundation
import NIOCore
import PPP
import PPTP
import Settings

extension SessionController {
    /// A TCP connection was accepted. nil: refused by a limit; the caller closes it.
    func connected(
        _ channel: any Channel, listener: CausewayConfiguration.Listener, remote: IPAddress, local: IPAddress
    ) -> ConnectionID? {
        guard !isShuttingDown else { return nil }
        guard configuration.pptp.admits(remote) else {
            refused("connection", Self.sources, from: remote)
            return nil
        }
        let now = ContinuousClock.now
        switch limits.admitConnection(from: remote, now: now) {
        case .failure(let refusal):
            refused("connection", refusal.rawValue, from: remote)
            return nil
        case .success(let ticket):
            let id = ConnectionID(number: nextConnection)
            nextConnection += 1
            let state = ServerConnection(configuration: configuration.control, now: now)
            let connection = ControlConnection(
                channel: channel, listener: listener, remote: remote, local: local, ticket: ticket, state: state)
            connections[id] = connection
            armTimer(of: connection, id)
            logger.debug("control connection \(id.number) from \(remote)")
            return id
        }
    }

    /// The limit that says where clients may come from.
    static let sources = "sources"

    /// Counts what a limit refused. An attacker must not fill the log: the first one is logged, then each power of two.
    private func refused(_ what: String, _ limit: String, from remote: IPAddress) {
        let count = refusedByLimit[limit, default: 0] + 1
        refusedByLimit[limit] = count
        if count & (count - 1) == 0 {
            let why = limit == Self.sources ? "clients may not come from there (pptp.allowed-sources, blocked-sources)" : "limit \(limit) reached"
            logger.warning("\(what) from \(remote) refused: \(why) (\(count) times so far)")
        }
    }

    func received(_ bytes: [UInt8], on id: ConnectionID) {
        let now = ContinuousClock.now
        connections[id]?.heard = now
        perform(id) { $0.receive(bytes, now: now) }
    }

    /// - Parameter wasReset: TCP ended with an error.
    func disconnected(_ id: ConnectionID, wasReset: Bool) {
        connections[id]?.wasReset = wasReset
        perform(id) { $0.peerClosed() }
        forget(id)
    }

    /// Feeds the connection's state machine, carries out what it says, and arms its timer.
    func perform(_ id: ConnectionID, _ step: (inout ServerConnection) -> [ServerConnection.Action]) {
        guard let connection = connections[id] else { return }
        carryOut(step(&connection.state), on: id)
        if connections[id] != nil { armTimer(of: connection, id) }
    }

    private func carryOut(_ actions: [ServerConnection.Action], on id: ConnectionID) {
        for action in actions {
            guard let connection = connections[id] else { return }
            switch action {
            case .send(let message):
                connection.channel.write(ByteBuffer(bytes: message.encoded()), promise: nil)
                connection.channel.flush()
            case .started(let peer):
                limits.connectionStarted(connection.ticket)
                connection.hasStarted = true
                logger.info(
                    "control connection \(id.number) from \(connection.remote) started: host \"\(peer.hostName)\", vendor \"\(peer.vendor)\", firmware \(peer.firmware)"
                )
            case .openCall(let call, let request): open(call, request, on: id)
            case .callEnded(let call, let end): callEnded(call, end, on: id)
            // ACCMs mean nothing where octets are not stuffed (RFC 2637 section 2.15); but not every kind of client sends them.
            case .linkInfo(let call, _, _):
                if let session = connection.sessions[call] { sessions[session]?.fingerprint.setsLinkInfo = true }
            case .wanErrors: break
            case .count(let kind): controlCounts[kind, default: 0] += 1
            case .close(let reason):
                diagnoseEnd(of: connection, id, reason)
                logger.debug("control connection \(id.number) from \(connection.remote) closed: \(reason)")
                forget(id)
                connection.channel.close(mode: .all, promise: nil)
            }
        }
    }

    private func forget(_ id: ConnectionID) {
        guard let connection = connections.removeValue(forKey: id) else { return }
        connection.timer = timer(.connection(id), at: nil, insteadOf: connection.timer)
        limits.connectionClosed(connection.ticket)
    }

    private func armTimer(of connection: ControlConnection, _ id: ConnectionID) {
        connection.timer = timer(.connection(id), at: connection.state.nextDeadline, insteadOf: connection.timer)
    }

    // MARK: Calls

    private func open(_ call: CallHandle, _ request: OutgoingCallRequest, on id: ConnectionID) {
        guard let connection = connections[id] else { return }
        let now = ContinuousClock.now
        func refuse(_ limit: String, _ refusal: ServerConnection.Refusal) {
            refused("call", limit, from: connection.remote)
            perform(id) { $0.refuseCall(call, refusal, now: now) }
        }
        guard !isShuttingDown else { return refuse("shutting-down", .doNotAccept) }
        guard configuration.pptp.admits(connection.remote) else { return refuse(Self.sources, .doNotAccept) }
        guard sessions.count < configuration.dataPath.maxSessions + 128 else {
            return refuse("data-path.max-sessions", .error(.noResource))
        }
        switch limits.admitCall(on: connection.ticket, now: now) {
        case .failure(let refusal):
            refuse(refusal.rawValue, .error(.noResource))
        case .success(let ticket):
            guard let callID = callIDs.allocate(now: now) else {
                limits.callClosed(ticket)
                return refuse("call-ids", .error(.noResource))
            }
            let session = LegacySession(
                id: nextSession, connection: id, call: call, ticket: ticket, callID: callID, peerCallID: request.callID,
                listener: listener(of: connection), clientAddress: connection.remote, localAddress: connection.local,
                fingerprint: DeviceFingerprint(start: connection.state.peer, call: request), now: now,
                ppp: PPPSession(configuration: configuration.link), flags: initialFlags)
            nextSession += 1
            sessions[session.id] = session
            connection.sessions[call] = session.id
            connection.hadCall = true
            // The data path knows the call before the client learns its ID: no packet of the client can come too early.
            submit(
                Command(
                    session.id,
                    .open(
                        SessionParameters(
                            localCallID: callID, peerCallID: request.callID, localAddress: connection.local,
                            peerAddress: connection.remote, flags: session.flags))))
            perform(id) { $0.acceptCall(call, callID: callID) ?? [] }
            logger.info("call from \(connection.remote) accepted: session \(session.id), call IDs \(callID) (ours) and \(request.callID)")
            step(session.id) { $0.start(now: now) }
            watchForSlowness(session.id)
        }
    }

    /// The socket is the same since the start; where its users go may have changed.
    private func listener(of connection: ControlConnection) -> CausewayConfiguration.Listener {
        configuration.listeners.first { $0.address == connection.listener.address && $0.port == connection.listener.port }
            ?? connection.listener
    }

    private var initialFlags: SessionFlags {
        var flags: SessionFlags = []
        if configuration.encryption.required { flags.insert(.requireEncryption) }
        if configuration.dataPath.allowAddressChange { flags.insert(.allowAddressChange) }
        return flags
    }

    private func callEnded(_ call: CallHandle, _ end: CallEnd, on id: ConnectionID) {
        guard let session = connections[id]?.sessions[call] else { return }
        sessions[session]?.callIsOver = true
        sessions[session]?.end = Attempt.End(end)
        logger.debug("session \(session): the call has ended: \(end)")
        step(session) { $0.lowerLayerDown(now: .now) }
        // A link that was closing anyway may have nothing to say to this.
        if sessions[session] != nil { finish(session, because: "the client hung up") }
    }
}
