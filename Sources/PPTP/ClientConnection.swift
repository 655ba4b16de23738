/// A client's side of one control connection (RFC 2637 section 3, PNS), as a value: bytes, wishes and time in, actions out. It serves
/// the test client and the load generator, and behaves as its profile says.
///
/// Timers: each request is given the profile's `replyTimeout`; a queued call waits `delayBeforeCall` after the start reply;
/// after `echoInterval` without a message an Echo-Request goes out and wants its reply within `echoTimeout`.
public struct ClientConnection: Sendable {
    public enum Action: Hashable, Sendable {
        case send(Message)
        case started(PeerIdentity)
        /// By our call ID. GRE packets may flow: the reply holds the server's call ID.
        case callOpened(UInt16, OutgoingCallReply)
        case callFailed(UInt16, CallFailure)
        case callEnded(UInt16, CallEnd)
        /// A message that has no place here was ignored.
        case ignored(ControlType)
        /// Close the TCP connection once everything before this has been written. Always the last action.
        case close(End)
    }

    public enum CallFailure: Hashable, Sendable {
        case refused(OutgoingCallResult, ErrorCode)
        case timeOut
        case connectionClosed(End)
    }

    public enum CallEnd: Hashable, Sendable {
        /// The server said so (after our own Call-Clear-Request with result `request`).
        case disconnected(DisconnectResult, ErrorCode)
        /// We cleared it and did not wait for, or did not get, the server's confirmation.
        case cleared
        case connectionClosed(End)
    }

    public enum End: Hashable, Sendable {
        case stopped
        case peerStopped(StopReason)
        case peerClosed
        case refused(StartResult, ErrorCode)
        case versionNotSupported(UInt16)
        case replyTimeout
        case echoTimeout
        case malformed(ParseError)
    }

    private enum Phase: Sendable {
        case waitingForStart
        case queued(sendAt: ContinuousClock.Instant)
        case requested(deadline: ContinuousClock.Instant)
        case established(peerCallID: UInt16)
        case clearing(peerCallID: UInt16, deadline: ContinuousClock.Instant)

        var deadline: ContinuousClock.Instant? {
            switch self {
            case .waitingForStart, .established: nil
            case .queued(let sendAt): sendAt
            case .requested(let deadline), .clearing(_, let deadline): deadline
            }
        }
    }

    private enum Echo: Sendable {
        case off
        case quiet(askAt: ContinuousClock.Instant)
        case asked(identifier: UInt32, deadline: ContinuousClock.Instant)

        var deadline: ContinuousClock.Instant? {
            switch self {
            case .off: nil
            case .quiet(let askAt): askAt
            case .asked(_, let deadline): deadline
            }
        }
    }

    private enum State: Sendable {
        case idle
        case waitingForReply(deadline: ContinuousClock.Instant)
        case established(since: ContinuousClock.Instant, echo: Echo)
        case stopping(deadline: ContinuousClock.Instant)
        case closed
    }

    public let profile: ClientProfile
    private var state = State.idle
    private var framer = MessageFramer()
    private var phases: [UInt16: Phase] = [:]
    private var serial: UInt16
    private var nextEcho: UInt32 = 1

    public init(profile: ClientProfile) {
        self.profile = profile
        serial = profile.firstSerial
    }

    public var isEstablished: Bool { if case .established = state { true } else { false } }
    public var isClosed: Bool { if case .closed = state { true } else { false } }
    /// Our IDs of the calls that have not ended.
    public var callIDs: Set<UInt16> { Set(phases.keys) }

    // ---- from the owner ----

    /// Once the TCP connection is open.
    public mutating func start(now: ContinuousClock.Instant) -> [Action] {
        guard case .idle = state else { return [] }
        state = .waitingForReply(deadline: now + profile.replyTimeout)
        let request = StartRequest(
            framing: profile.framing, bearer: profile.bearer, maximumChannels: profile.maximumChannels,
            firmware: profile.firmware,
            hostName: FixedText(profile.hostName, width: WireFacts.nameLength),
            vendor: FixedText(profile.vendor, width: WireFacts.nameLength))
        return [.send(.startRequest(request))]
    }

    /// May be called before the connection is established: the request then waits. Call ID 0 is legal. False if the call ID is
    /// in use or the connection is ending; otherwise `timer` sends the request when its time has come, at the earliest now.
    public mutating func openCall(_ callID: UInt16, now: ContinuousClock.Instant) -> Bool {
        guard phases[callID] == nil else { return false }
        switch state {
        case .idle, .waitingForReply: phases[callID] = .waitingForStart
        case .established(let since, _): phases[callID] = .queued(sendAt: max(now, since + profile.delayBeforeCall))
        case .stopping, .closed: return false
        }
        return true
    }

    /// Ends the call, whatever its phase is.
    public mutating func closeCall(_ callID: UInt16, now: ContinuousClock.Instant) -> [Action] {
        switch phases[callID] {
        case nil, .clearing: return []
        case .waitingForStart, .queued:
            phases[callID] = nil
            return [.callEnded(callID, .cleared)]
        case .requested:
            phases[callID] = nil
            return [.send(.callClearRequest(CallClearRequest(callID: callID))), .callEnded(callID, .cleared)]
        case .established(let peerCallID):
            let clear = Action.send(.callClearRequest(CallClearRequest(callID: callID)))
            if case .clearAndClose = profile.hangUp {
                phases[callID] = nil
                return [clear, .callEnded(callID, .cleared)]
            }
            phases[callID] = .clearing(peerCallID: peerCallID, deadline: now + profile.replyTimeout)
            return [clear]
        }
    }

    public func setLinkInfo(_ callID: UInt16, sendACCM: UInt32, receiveACCM: UInt32) -> [Action] {
        guard case .established(let peerCallID) = phases[callID] else { return [] }
        return [.send(.setLinkInfo(SetLinkInfo(peerCallID: peerCallID, sendACCM: sendACCM, receiveACCM: receiveACCM)))]
    }

    /// Clears every call and ends the connection the way the profile does it.
    public mutating func stop(now: ContinuousClock.Instant) -> [Action] {
        switch state {
        case .idle, .waitingForReply: return close(.stopped)
        case .stopping, .closed: return []
        case .established: break
        }
        var actions: [Action] = []
        for callID in phases.keys.sorted() { actions += closeCall(callID, now: now) }
        if case .clearAndClose = profile.hangUp { return actions + close(.stopped) }
        state = .stopping(deadline: now + profile.replyTimeout)
        return actions + [.send(.stopRequest(StopRequest(reason: .none)))]
    }

    // ---- from the network ----

    public mutating func receive(_ bytes: some Collection<UInt8>, now: ContinuousClock.Instant) -> [Action] {
        var actions: [Action] = []
        for result in framer.feed(bytes) {
            switch result {
            case .success(let message): actions += received(message, now: now)
            case .failure(let error): actions += close(.malformed(error))
            }
            if isClosed { break }
        }
        return actions
    }

    public mutating func peerClosed() -> [Action] { close(.peerClosed) }

    public mutating func received(_ message: Message, now: ContinuousClock.Instant) -> [Action] {
        switch state {
        case .idle, .closed: return [.ignored(message.type)]
        case .waitingForReply: return beforeStart(message, now: now)
        case .established(let since, let echo):
            if case .quiet = echo { state = .established(since: since, echo: quiet(now: now)) }
            return established(message, now: now)
        case .stopping:
            switch message {
            case .stopReply: return close(.stopped)
            case .stopRequest: return [.send(.stopReply(StopReply(result: .ok)))] + close(.stopped)
            default: return established(message, now: now)
            }
        }
    }

    private mutating func beforeStart(_ message: Message, now: ContinuousClock.Instant) -> [Action] {
        switch message {
        case .startReply(let reply):
            guard reply.result == .established else { return close(.refused(reply.result, reply.error)) }
            guard reply.protocolVersion == WireFacts.protocolVersion else {
                return [.send(.stopRequest(StopRequest(reason: .stopProtocol)))]
                    + close(.versionNotSupported(reply.protocolVersion))
            }
            state = .established(since: now, echo: quiet(now: now))
            for callID in phases.keys { phases[callID] = .queued(sendAt: now + profile.delayBeforeCall) }
            return [.started(PeerIdentity(reply))] + timer(now: now)
        case .stopRequest(let request):
            return [.send(.stopReply(StopReply(result: .ok)))] + close(.peerStopped(request.reason))
        default: return [.ignored(message.type)]
        }
    }

    private mutating func established(_ message: Message, now: ContinuousClock.Instant) -> [Action] {
        switch message {
        case .stopRequest(let request):
            return [.send(.stopReply(StopReply(result: .ok)))] + close(.peerStopped(request.reason))
        case .echoRequest(let request):
            return [.send(.echoReply(EchoReply(identifier: request.identifier, result: .ok)))]
        case .echoReply(let reply):
            guard case .established(let since, .asked(let identifier, _)) = state, identifier == reply.identifier else {
                return [.ignored(.echoReply)]
            }
            state = .established(since: since, echo: quiet(now: now))
            return []
        case .outgoingCallReply(let reply):
            let callID = reply.peerCallID
            guard case .requested = phases[callID] else { return [.ignored(.outgoingCallReply)] }
            guard reply.result == .connected else {
                phases[callID] = nil
                return [.callFailed(callID, .refused(reply.result, reply.error))]
            }
            phases[callID] = .established(peerCallID: reply.callID)
            let info = profile.linkInfo.map { setLinkInfo(callID, sendACCM: $0.sendACCM, receiveACCM: $0.receiveACCM) }
            return [.callOpened(callID, reply)] + (info ?? [])
        case .callDisconnectNotify(let notify):
            guard let callID = callID(peer: notify.callID) else { return [.ignored(.callDisconnectNotify)] }
            let weAsked = if case .clearing = phases[callID] { true } else { false }
            phases[callID] = nil
            let confirm = profile.clearsAfterNotify && !weAsked
            return (confirm ? [.send(.callClearRequest(CallClearRequest(callID: callID)))] : [])
                + [.callEnded(callID, .disconnected(notify.result, notify.error))]
        case .incomingCallRequest(let request):
            let reply = IncomingCallReply(callID: 0, peerCallID: request.callID, result: .doNotAccept)
            return [.send(.incomingCallReply(reply))]
        default: return [.ignored(message.type)]
        }
    }

    // ---- time ----

    public var nextDeadline: ContinuousClock.Instant? {
        var deadlines = phases.values.compactMap(\.deadline)
        switch state {
        case .idle, .closed: return nil
        case .waitingForReply(let deadline), .stopping(let deadline): deadlines.append(deadline)
        case .established(_, let echo): if let deadline = echo.deadline { deadlines.append(deadline) }
        }
        return deadlines.min()
    }

    public mutating func timer(now: ContinuousClock.Instant) -> [Action] {
        switch state {
        case .idle, .closed: return []
        case .waitingForReply(let deadline): return now >= deadline ? close(.replyTimeout) : []
        case .stopping(let deadline) where now >= deadline: return close(.stopped)
        case .stopping, .established: break
        }
        var actions: [Action] = []
        for (callID, phase) in phases.sorted(by: { $0.key < $1.key }) {
            guard let deadline = phase.deadline, now >= deadline else { continue }
            switch phase {
            case .queued:
                phases[callID] = .requested(deadline: now + profile.replyTimeout)
                actions.append(.send(.outgoingCallRequest(request(callID))))
            case .requested:
                phases[callID] = nil
                actions.append(.send(.callClearRequest(CallClearRequest(callID: callID))))
                actions.append(.callFailed(callID, .timeOut))
            case .clearing:
                phases[callID] = nil
                actions.append(.callEnded(callID, .cleared))
            case .waitingForStart, .established: break
            }
        }
        if case .established(let since, let echo) = state {
            switch echo {
            case .quiet(let askAt) where now >= askAt:
                state = .established(since: since, echo: .asked(identifier: nextEcho, deadline: now + profile.echoTimeout))
                actions.append(.send(.echoRequest(EchoRequest(identifier: nextEcho))))
                nextEcho &+= 1
            case .asked(_, let deadline) where now >= deadline: actions += close(.echoTimeout)
            case .quiet, .asked, .off: break
            }
        }
        return actions
    }

    // ---- inside ----

    private func callID(peer peerCallID: UInt16) -> UInt16? {
        phases.first {
            switch $0.value {
            case .established(let known), .clearing(let known, _): known == peerCallID
            case .waitingForStart, .queued, .requested: false
            }
        }?.key
    }

    private mutating func request(_ callID: UInt16) -> OutgoingCallRequest {
        defer { serial &+= 1 }
        return OutgoingCallRequest(
            callID: callID, serial: serial, minimumBPS: profile.minimumBPS, maximumBPS: profile.maximumBPS,
            bearer: profile.callBearer, framing: profile.callFraming, receiveWindow: profile.receiveWindow, processingDelay: 0,
            phoneNumberLength: 0, phoneNumber: FixedText("", width: WireFacts.nameLength),
            subaddress: FixedText("", width: WireFacts.nameLength))
    }

    private func quiet(now: ContinuousClock.Instant) -> Echo {
        profile.echoInterval > .zero ? .quiet(askAt: now + profile.echoInterval) : .off
    }

    private mutating func close(_ end: End) -> [Action] {
        guard !isClosed else { return [] }
        state = .closed
        let ended = phases.sorted { $0.key < $1.key }
        phases = [:]
        return ended.map { callID, phase in
            switch phase {
            case .waitingForStart, .queued, .requested: .callFailed(callID, .connectionClosed(end))
            case .established: .callEnded(callID, .connectionClosed(end))
            case .clearing: .callEnded(callID, .cleared)
            }
        } + [.close(end)]
    }
}
