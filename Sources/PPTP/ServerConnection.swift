/// The gateway's side of one control connection (RFC 2637 section 3, PAC), as a value: bytes, decisions and time in, actions out.
///
/// What is done with each message, by state. "Violation" is counted, and too many of them end the connection.
///
/// | message | waiting for start | established | stopping |
/// |---|---|---|---|
/// | Start-Request | reply 1; 5 for another version, then closed | reply 3 (exists already), violation | ignored |
/// | Start-Reply | violation | violation | ignored |
/// | Stop-Request | reply, closed | calls end, reply, closed | reply, closed |
/// | Stop-Reply | violation | violation | closed |
/// | Echo-Request | reply 2/1 (not connected), violation | reply 1 | reply 1 |
/// | Echo-Reply | violation | resets the echo time-out; another identifier is counted | ignored |
/// | Outgoing-Call-Request | reply 2/1, violation | the owner decides; 2/5 call ID in use, 2/4 over the limits, 2/3 bad value | reply 7 |
/// | Outgoing-Call-Reply | violation | violation (only a PAC sends it) | ignored |
/// | Incoming-Call-Request | reply 2/1, violation | reply 3 (not accepted), violation | reply 3 |
/// | Incoming-Call-Reply | violation | violation (we never asked) | ignored |
/// | Incoming-Call-Connected | violation | violation (only a PAC sends it) | ignored |
/// | Call-Clear-Request | violation | that call ends, Disconnect-Notify 4; unknown ID: counted | ignored |
/// | Call-Disconnect-Notify | violation | violation, but the call with that client's ID ends | ignored |
/// | WAN-Error-Notify | violation | counted | ignored |
/// | Set-Link-Info | violation | told to the owner; unknown ID: counted | ignored |
/// | lost synchronisation (magic, message type, length) | closed | closed | closed |
/// | unknown control type, wrong length for its type | closed; a Start-Request: reply 2/2 first | Stop-Request 2, closed | closed |
///
/// A Call-Clear-Request for a call that is gone is no violation: pptp-linux answers our Call-Disconnect-Notify with one.
///
/// Timers: the start must arrive within `startTimeout`; after `echoInterval` without any message we send an Echo-Request and
/// want its reply within `echoTimeout` (section 3.1.4 has 60 s for both); a connection that has had no call for `idleTimeout`
/// is stopped; a Stop-Request is given `stopTimeout` for its reply.
///
/// It is Codable so that another process on the same machine, since the same boot, can go on with the connection.
///
/// After `.close` nothing more is sent. Every call that the owner was told of with `.openCall` ends exactly once: by the owner's own
/// `refuseCall` or `closeCall`, or with `.callEnded`.
public struct ServerConnection: Sendable, Codable {
    /// Limits and names of ours.
    public struct Configuration: Sendable, Codable {
        public var hostName = "causeway"
        public var vendor = "Causeway"
        public var firmware: UInt16 = 1
        public var maximumCalls = 16
        /// Calls that may be asked for in a second (zero: any number), after a burst. Every call, however short, takes a
        /// call ID that then rests for a while: one client that opens and clears calls must not use up everybody's.
        public var callsPerSecond = 1.0
        public var callBurst: Int { 2 * maximumCalls }
        /// Announced in replies; no living implementation waits for it.
        public var receiveWindow: UInt16 = 64
        public var startTimeout = Duration.seconds(10)
        /// Zero: we never ask.
        public var echoInterval = Duration.seconds(60)
        public var echoTimeout = Duration.seconds(60)
        /// Zero: never.
        public var idleTimeout = Duration.seconds(60)
        public var stopTimeout = Duration.seconds(3)
        public var maximumViolations = 16
        /// If set, a start is answered with this result and the connection is closed.
        public var startRefusal: StartResult?

        public init() {}
    }

    public enum Action: Hashable, Sendable {
        case send(Message)
        case started(PeerIdentity)
        /// The owner answers with `acceptCall` or `refuseCall`, at once or later.
        case openCall(CallHandle, OutgoingCallRequest)
        case callEnded(CallHandle, CallEnd)
        case linkInfo(CallHandle, sendACCM: UInt32, receiveACCM: UInt32)
        case wanErrors(CallHandle, WANErrors)
        case count(ControlCount)
        /// Close the TCP connection once everything before this has been written. Always the last action.
        case close(CloseReason)
    }

    /// Why the owner does not take a call.
    public enum Refusal: Hashable, Sendable, Codable {
        /// General error with this code; `noResource` when a limit or pool is exhausted.
        case error(ErrorCode)
        case busy
        case doNotAccept
    }

    /// Why the owner ends a call.
    public enum Clearing: Hashable, Sendable, Codable {
        case lostCarrier
        case adminShutdown
        case error(ErrorCode)
    }

    /// A call as the owner may show it.
    public struct Call: Sendable, Codable {
        public enum Phase: Hashable, Sendable, Codable {
            case waitingForOwner
            case established(callID: UInt16)
        }
        public let request: OutgoingCallRequest
        public internal(set) var phase: Phase

        /// Ours, once accepted.
        public var callID: UInt16? { if case .established(let callID) = phase { callID } else { nil } }
    }

    enum State: Sendable, Codable {
        case waitingForStart(deadline: ContinuousClock.Instant)
        case established(Established)
        case stopping(reason: CloseReason, deadline: ContinuousClock.Instant)
        case closed
    }

    struct Established: Sendable, Codable {
        enum Echo: Sendable, Codable {
            case quiet(askAt: ContinuousClock.Instant)
            case asked(identifier: UInt32, deadline: ContinuousClock.Instant)
            case off
        }
        var peer: PeerIdentity
        var echo: Echo
        /// While there is no call.
        var idleDeadline: ContinuousClock.Instant?
        var calls: [CallHandle: Call] = [:]

        func handle(clientCallID: UInt16) -> CallHandle? { calls.first { $0.value.request.callID == clientCallID }?.key }
        func handle(callID: UInt16) -> CallHandle? { calls.first { $0.value.callID == callID }?.key }
    }

    public let configuration: Configuration
    var state: State
    private var framer = MessageFramer()
    private var violations = 0
    private var nextCall: UInt64 = 1
    /// What is left of `callBurst`.
    private var callTokens: Double
    private var callTokensCountedAt: ContinuousClock.Instant
    private var nextEcho: UInt32 = 1

    public init(configuration: Configuration = Configuration(), now: ContinuousClock.Instant) {
        self.configuration = configuration
        callTokens = Double(configuration.callBurst)
        callTokensCountedAt = now
        state = .waitingForStart(deadline: now + configuration.startTimeout)
    }

    public var peer: PeerIdentity? { if case .established(let connection) = state { connection.peer } else { nil } }
    public var calls: [CallHandle: Call] { if case .established(let connection) = state { connection.calls } else { [:] } }
    public var isClosed: Bool { if case .closed = state { true } else { false } }
    public var isEstablished: Bool { if case .established = state { true } else { false } }

    // ---- from the network ----

    public mutating func receive(_ bytes: some Collection<UInt8>, now: ContinuousClock.Instant) -> [Action] {
        var actions: [Action] = []
        for result in framer.feed(bytes) {
            switch result {
            case .success(let message): actions += received(message, now: now)
            case .failure(let error): actions += received(error)
            }
            if isClosed { break }
        }
        return actions
    }

    /// The peer has closed the TCP connection, or it broke.
    public mutating func peerClosed() -> [Action] { close(.peerClosed) }

    mutating func received(_ error: ParseError) -> [Action] {
        guard !isClosed else { return [] }
        var actions: [Action] = [.count(ControlCount(error))]
        switch state {
        case .waitingForStart:
            if case .wrongLength(.startRequest, _) = error {
                actions.append(.send(.startReply(startReply(.generalError, error: .badFormat))))
            }
        case .established:
            if !error.losesSynchronization { actions.append(.send(.stopRequest(StopRequest(reason: .stopProtocol)))) }
        case .stopping, .closed: break
        }
        return actions + close(.malformed(error))
    }

    public mutating func received(_ message: Message, now: ContinuousClock.Instant) -> [Action] {
        switch state {
        case .waitingForStart: return beforeStart(message, now: now)
        case .established(var connection):
            // Any message proves life; only its reply ends an echo that has been asked for.
            if case .quiet = connection.echo { connection.echo = quiet(now: now) }
            return established(message, connection, now: now)
        case .stopping(let reason, _): return stopping(message, reason)
        case .closed: return []
        }
    }

    // ---- from the owner ----

    /// nil if the call has ended meanwhile: its `.callEnded` has been returned, maybe later in the batch that brought its `.openCall`.
    /// `callID` must not name another call of the gateway.
    public mutating func acceptCall(_ handle: CallHandle, callID: UInt16, connectSpeed: UInt32? = nil) -> [Action]? {
        guard case .established(var connection) = state, var call = connection.calls[handle], case .waitingForOwner = call.phase,
            connection.handle(callID: callID) == nil
        else { return nil }
        call.phase = .established(callID: callID)
        connection.calls[handle] = call
        state = .established(connection)
        let reply = OutgoingCallReply(
            callID: callID, peerCallID: call.request.callID, result: .connected,
            connectSpeed: connectSpeed ?? call.request.maximumBPS, receiveWindow: configuration.receiveWindow)
        return [.send(.outgoingCallReply(reply)), .count(.callAccepted)]
    }

    /// Does nothing if the call has ended meanwhile.
    public mutating func refuseCall(_ handle: CallHandle, _ refusal: Refusal, now: ContinuousClock.Instant) -> [Action] {
        guard case .established(let connection) = state, let call = connection.calls[handle], case .waitingForOwner = call.phase
        else { return [] }
        remove(handle, from: connection, now: now)
        return [.send(Self.refuse(call.request, refusal)), .count(.callRefused)]
    }

    /// Ends an established call (or refuses one that waits). Does nothing if it has ended meanwhile.
    public mutating func closeCall(_ handle: CallHandle, _ clearing: Clearing, now: ContinuousClock.Instant) -> [Action] {
        guard case .established(let connection) = state, let call = connection.calls[handle] else { return [] }
        guard let callID = call.callID else { return refuseCall(handle, .doNotAccept, now: now) }
        remove(handle, from: connection, now: now)
        return [.send(Self.notify(callID, clearing))]
    }

    /// Tells the client of errors seen on the line (section 2.14).
    public func reportErrors(_ handle: CallHandle, _ errors: WANErrors) -> [Action] {
        guard let call = calls[handle], call.callID != nil else { return [] }
        return [.send(.wanErrorNotify(WANErrorNotify(peerCallID: call.request.callID, errors: errors)))]
    }

    /// Ends every call, then asks the peer to stop and waits a little for its reply.
    public mutating func shutdown(now: ContinuousClock.Instant) -> [Action] {
        switch state {
        case .waitingForStart: close(.shutdown)
        case .established(let connection): stop(connection, .localShutdown, because: .shutdown, now: now)
        case .stopping, .closed: []
        }
    }

    // ---- time ----

    /// When `timer` wants to be called; it may be called at any time.
    public var nextDeadline: ContinuousClock.Instant? {
        switch state {
        case .waitingForStart(let deadline), .stopping(_, let deadline): return deadline
        case .established(let connection):
            let echo: ContinuousClock.Instant? =
                switch connection.echo {
                case .quiet(let askAt): askAt
                case .asked(_, let deadline): deadline
                case .off: nil
                }
            return [echo, connection.idleDeadline].compactMap { $0 }.min()
        case .closed: return nil
        }
    }

    public mutating func timer(now: ContinuousClock.Instant) -> [Action] {
        switch state {
        case .waitingForStart(let deadline):
            guard now >= deadline else { return [] }
            return [.count(.startTimeout)] + close(.startTimeout)
        case .stopping(let reason, let deadline):
            guard now >= deadline else { return [] }
            return [.count(.stopTimeout)] + close(reason)
        case .established(var connection):
            if let deadline = connection.idleDeadline, now >= deadline {
                return [.count(.idleTimeout)] + stop(connection, .none, because: .idle, now: now)
            }
            switch connection.echo {
            case .quiet(let askAt) where now >= askAt:
                let identifier = nextEcho
                nextEcho &+= 1
                connection.echo = .asked(identifier: identifier, deadline: now + configuration.echoTimeout)
                state = .established(connection)
                return [.send(.echoRequest(EchoRequest(identifier: identifier)))]
            case .asked(_, let deadline) where now >= deadline:
                return [.count(.echoTimeout)] + close(.echoTimeout)
            case .quiet, .asked, .off:
                return []
            }
        case .closed: return []
        }
    }
}

// ---- messages by state ----

extension ServerConnection {
    private mutating func beforeStart(_ message: Message, now: ContinuousClock.Instant) -> [Action] {
        let notConnected: Message
        switch message {
        case .startRequest(let request):
            guard request.protocolVersion == WireFacts.protocolVersion else {
                return [.count(.badVersion), .send(.startReply(startReply(.versionNotSupported)))]
                    + close(.versionNotSupported(request.protocolVersion))
            }
            if let refusal = configuration.startRefusal {
                return [.count(.startRefused), .send(.startReply(startReply(refusal)))] + close(.refused(refusal))
            }
            let peer = PeerIdentity(request)
            state = .established(Established(peer: peer, echo: quiet(now: now), idleDeadline: idleDeadline(now: now)))
            return [.send(.startReply(startReply(.established))), .started(peer)]
        case .stopRequest(let request):
            return [.send(.stopReply(StopReply(result: .ok)))] + close(.peerStopped(request.reason))
        case .echoRequest(let request):
            notConnected = .echoReply(EchoReply(identifier: request.identifier, result: .generalError, error: .notConnected))
        case .outgoingCallRequest(let request):
            notConnected = Self.refuse(request, .error(.notConnected))
        case .incomingCallRequest(let request):
            notConnected = .incomingCallReply(
                IncomingCallReply(callID: 0, peerCallID: request.callID, result: .generalError, error: .notConnected))
        default:
            return violation(.notStarted, now: now)
        }
        return [.send(notConnected)] + violation(.notStarted, now: now)
    }

    private mutating func established(_ message: Message, _ connection: Established, now: ContinuousClock.Instant) -> [Action] {
        var connection = connection
        state = .established(connection)
        switch message {
        case .startRequest:
            return [.send(.startReply(startReply(.alreadyExists)))] + violation(.duplicateStart, now: now)
        case .stopRequest(let request):
            // The calls end before the reply is sent: section 2.3 has the peer's calls cleared by its Stop-Request.
            let closing = close(.peerStopped(request.reason))
            return closing.dropLast() + [.send(.stopReply(StopReply(result: .ok)))] + closing.suffix(1)
        case .echoRequest(let request):
            return [.send(.echoReply(EchoReply(identifier: request.identifier, result: .ok)))]
        case .echoReply(let reply):
            guard case .asked(let identifier, _) = connection.echo, identifier == reply.identifier else {
                return [.count(.badEchoReply)]
            }
            connection.echo = quiet(now: now)
            state = .established(connection)
            return []
        case .outgoingCallRequest(let request):
            return open(request, connection, now: now)
        case .incomingCallRequest(let request):
            let reply = IncomingCallReply(callID: 0, peerCallID: request.callID, result: .doNotAccept)
            return [.send(.incomingCallReply(reply))] + violation(.incomingCallRefused, now: now)
        case .callClearRequest(let request):
            guard let handle = connection.handle(clientCallID: request.callID), let call = connection.calls[handle] else {
                return [.count(.unknownCallClear)]
            }
            remove(handle, from: connection, now: now)
            // A call that was never answered has no call ID of ours to name.
            let notify = CallDisconnectNotify(callID: call.callID ?? 0, result: .request)
            return [.callEnded(handle, .clearedByPeer), .send(.callDisconnectNotify(notify))]
        case .callDisconnectNotify(let notify):
            // Only a PAC sends it, but the client has told us that its call is gone; its call ID is the sender's own.
            guard let handle = connection.handle(clientCallID: notify.callID) else { return violation(.wrongDirection, now: now) }
            remove(handle, from: connection, now: now)
            return [.callEnded(handle, .clearedByPeer)] + violation(.wrongDirection, now: now)
        case .setLinkInfo(let info):
            guard let handle = connection.handle(callID: info.peerCallID) else { return [.count(.unknownLinkInfo)] }
            return [.count(.linkInfo), .linkInfo(handle, sendACCM: info.sendACCM, receiveACCM: info.receiveACCM)]
        case .wanErrorNotify(let notify):
            // For a PAC to send; it does no harm, so it is only passed on.
            guard let handle = connection.handle(callID: notify.peerCallID) else { return [.count(.wanErrors)] }
            return [.count(.wanErrors), .wanErrors(handle, notify.errors)]
        case .outgoingCallReply, .incomingCallConnected:
            return violation(.wrongDirection, now: now)
        case .startReply, .stopReply, .incomingCallReply:
            return violation(.unsolicitedReply, now: now)
        }
    }

    private mutating func open(
        _ request: OutgoingCallRequest, _ connection: Established, now: ContinuousClock.Instant
    ) -> [Action] {
        guard connection.handle(clientCallID: request.callID) == nil else {
            return [.send(Self.refuse(request, .error(.badCallID)))] + violation(.duplicateCallID, now: now)
        }
        guard request.minimumBPS <= request.maximumBPS, Int(request.phoneNumberLength) <= WireFacts.nameLength else {
            return [.send(Self.refuse(request, .error(.badValue)))] + violation(.badCallValue, now: now)
        }
        guard connection.calls.count < configuration.maximumCalls else {
            return [.send(Self.refuse(request, .error(.noResource)))] + violation(.callLimit, now: now)
        }
        guard takeCallToken(now: now) else {
            return [.send(Self.refuse(request, .error(.noResource)))] + violation(.callRate, now: now)
        }
        var connection = connection
        let handle = CallHandle(number: nextCall)
        nextCall += 1
        connection.calls[handle] = Call(request: request, phase: .waitingForOwner)
        connection.idleDeadline = nil
        state = .established(connection)
        return [.openCall(handle, request)]
    }

    private mutating func takeCallToken(now: ContinuousClock.Instant) -> Bool {
        guard configuration.callsPerSecond > 0 else { return true }
        let earned = max(0, (now - callTokensCountedAt) / .seconds(1)) * configuration.callsPerSecond
        callTokens = min(Double(configuration.callBurst), callTokens + earned)
        callTokensCountedAt = now
        guard callTokens >= 1 else { return false }
        callTokens -= 1
        return true
    }

    /// Section 2.4 and 3.1.2: crossing Stop-Requests both get their reply.
    private mutating func stopping(_ message: Message, _ reason: CloseReason) -> [Action] {
        switch message {
        case .stopReply: return close(reason)
        case .stopRequest: return [.send(.stopReply(StopReply(result: .ok)))] + close(reason)
        case .echoRequest(let request): return [.send(.echoReply(EchoReply(identifier: request.identifier, result: .ok)))]
        case .outgoingCallRequest(let request): return [.send(Self.refuse(request, .doNotAccept)), .count(.callRefused)]
        case .incomingCallRequest(let request):
            let reply = IncomingCallReply(callID: 0, peerCallID: request.callID, result: .doNotAccept)
            return [.send(.incomingCallReply(reply)), .count(.incomingCallRefused)]
        default: return []
        }
    }

    // ---- building blocks ----

    private mutating func violation(_ kind: ControlCount, now: ContinuousClock.Instant) -> [Action] {
        violations += 1
        guard violations > configuration.maximumViolations else { return [.count(kind)] }
        var actions: [Action] = [.count(kind), .count(.tooManyViolations)]
        if isEstablished { actions.append(.send(.stopRequest(StopRequest(reason: .none)))) }
        return actions + close(.tooManyViolations)
    }

    private mutating func stop(
        _ connection: Established, _ reason: StopReason, because: CloseReason, now: ContinuousClock.Instant
    ) -> [Action] {
        var actions: [Action] = []
        for (handle, call) in connection.calls.sorted(by: { $0.key.number < $1.key.number }) {
            actions.append(.callEnded(handle, .connectionClosed(because)))
            if let callID = call.callID {
                actions.append(.send(Self.notify(callID, .adminShutdown)))
            } else {
                actions.append(.send(Self.refuse(call.request, .doNotAccept)))
            }
        }
        state = .stopping(reason: because, deadline: now + configuration.stopTimeout)
        return actions + [.send(.stopRequest(StopRequest(reason: reason)))]
    }

    private mutating func close(_ reason: CloseReason) -> [Action] {
        guard !isClosed else { return [] }
        let ended = calls.keys.sorted { $0.number < $1.number }
        state = .closed
        return ended.map { .callEnded($0, .connectionClosed(reason)) } + [.close(reason)]
    }

    private mutating func remove(_ handle: CallHandle, from connection: Established, now: ContinuousClock.Instant) {
        var connection = connection
        connection.calls[handle] = nil
        if connection.calls.isEmpty { connection.idleDeadline = idleDeadline(now: now) }
        state = .established(connection)
    }

    private func quiet(now: ContinuousClock.Instant) -> Established.Echo {
        configuration.echoInterval > .zero ? .quiet(askAt: now + configuration.echoInterval) : .off
    }

    private func idleDeadline(now: ContinuousClock.Instant) -> ContinuousClock.Instant? {
        configuration.idleTimeout > .zero ? now + configuration.idleTimeout : nil
    }

    private func startReply(_ result: StartResult, error: ErrorCode = .none) -> StartReply {
        StartReply(
            result: result, error: error, framing: .either, bearer: .either,
            maximumChannels: UInt16(clamping: configuration.maximumCalls), firmware: configuration.firmware,
            hostName: FixedText(configuration.hostName, width: WireFacts.nameLength),
            vendor: FixedText(configuration.vendor, width: WireFacts.nameLength))
    }

    private static func refuse(_ request: OutgoingCallRequest, _ refusal: Refusal) -> Message {
        var reply = OutgoingCallReply(callID: 0, peerCallID: request.callID, result: .generalError)
        switch refusal {
        case .error(let code): reply.error = code
        case .busy: reply.result = .busy
        case .doNotAccept: reply.result = .doNotAccept
        }
        return .outgoingCallReply(reply)
    }

    private static func notify(_ callID: UInt16, _ clearing: Clearing) -> Message {
        switch clearing {
        case .lostCarrier: .callDisconnectNotify(CallDisconnectNotify(callID: callID, result: .lostCarrier))
        case .adminShutdown: .callDisconnectNotify(CallDisconnectNotify(callID: callID, result: .adminShutdown))
        case .error(let code):
            .callDisconnectNotify(CallDisconnectNotify(callID: callID, result: .generalError, error: code))
        }
    }
}

extension PeerIdentity {
    init(_ request: StartRequest) {
        self.init(
            hostName: request.hostName.text, vendor: request.vendor.text, firmware: request.firmware,
            protocolVersion: request.protocolVersion, framing: request.framing, bearer: request.bearer,
            maximumChannels: request.maximumChannels)
    }

    init(_ reply: StartReply) {
        self.init(
            hostName: reply.hostName.text, vendor: reply.vendor.text, firmware: reply.firmware,
            protocolVersion: reply.protocolVersion, framing: reply.framing, bearer: reply.bearer,
            maximumChannels: reply.maximumChannels)
    }
}
