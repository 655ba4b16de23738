import Addresses
import DataPath
import NIOCore
import PPP
import PPTP

// What happens to one session, from its turn to its end.
extension LegacyClient {
    /// Starts as many waiting sessions as may be set up at once.
    func giveTurns() {
        while !isStopping, nextTurn < sessions.count, beingSetUp < max(1, configuration.concurrency) {
            nextTurn += 1
            begin(nextTurn)
        }
    }

    private func begin(_ number: Int) {
        let now = ContinuousClock.now
        guard let callID = callIDs.allocate(now: now) else {
            end(number, .local("no call ID is free"))
            return
        }
        beingSetUp += 1
        sessions[number - 1].isBeingSetUp = true
        sessions[number - 1].startedAt = now
        sessions[number - 1].setupDeadline = now + configuration.setupTimeout
        sessions[number - 1].status.phase = .connecting
        sessions[number - 1].status.localCallID = callID
        arm(number)
        place(number, callID: callID, now: now)
    }

    // ---- the call ----

    func callOpened(_ number: Int, _ reply: OutgoingCallReply, from local: IPAddress, to remote: IPAddress, now: ContinuousClock.Instant) {
        guard !sessions[number - 1].isOver, let callID = sessions[number - 1].status.localCallID else { return }
        let call = LegacyCall(
            account: sessions[number - 1].account, configuration: configuration.profile.ppp, pathMTU: configuration.pathMTU)
        sessions[number - 1].call = call
        sessions[number - 1].isOpen = true
        sessions[number - 1].status.phase = .negotiating
        sessions[number - 1].status.peerCallID = reply.callID
        sessions[number - 1].status.callTime = sessions[number - 1].startedAt.map { now - $0 }
        let parameters = SessionParameters(
            localCallID: callID, peerCallID: reply.callID, localAddress: local, peerAddress: remote, flags: call.initialFlags)
        submit(number, .open(parameters))
        withCall(number, now: now) { $0.start(now: now) }
    }

    /// The call, or the connection under it, is gone.
    func callEnded(_ number: Int, _ cause: SessionFailure) {
        guard !sessions[number - 1].isOver else { return }
        let actions = sessions[number - 1].call?.lowerLayerDown(because: cause, now: .now) ?? []
        // The data path closes the session as a whole; of PPP's last wishes only the reason counts.
        for case .ended(let failure) in actions where sessions[number - 1].status.failure == nil {
            sessions[number - 1].status.failure = failure
        }
        let session = sessions[number - 1]
        let wasOurs = session.status.phase == .closing
        end(number, session.status.failure ?? (wasOurs ? nil : cause))
    }

    // ---- PPP ----

    func received(_ number: Int, protocol pppProtocol: UInt16, _ payload: [UInt8]) {
        let now = ContinuousClock.now
        withCall(number, now: now) { $0.receive(protocol: pppProtocol, payload: payload, now: now) }
    }

    func decryptionLost(_ number: Int) {
        let now = ContinuousClock.now
        withCall(number, now: now) { $0.decryptionLost(now: now) }
    }

    func hangUp(_ number: Int) {
        let now = ContinuousClock.now
        switch sessions[number - 1].status.phase {
        case .waiting, .closing, .closed, .failed: break
        case .connecting:
            sessions[number - 1].status.phase = .closing
            clear(number, now: now)
        case .negotiating, .up:
            sessions[number - 1].status.phase = .closing
            withCall(number, now: now) { $0.hangUp(now: now) }
        }
    }

    func dataPathRefused(_ number: Int, _ reason: String) {
        guard sessions.indices.contains(number - 1), !sessions[number - 1].isOver else { return }
        fail(number, .local("the data path refused: \(reason)"))
    }

    private func withCall(_ number: Int, now: ContinuousClock.Instant, _ body: (inout LegacyCall) -> [LegacyCall.Action]) {
        guard sessions.indices.contains(number - 1), sessions[number - 1].call != nil, !hasVanished else { return }
        let actions = body(&sessions[number - 1].call!)
        for action in actions { perform(action, of: number, now: now) }
        arm(number)
    }

    private func perform(_ action: LegacyCall.Action, of number: Int, now: ContinuousClock.Instant) {
        // An earlier action of the same list may have ended the session.
        guard sessions[number - 1].call != nil else { return }
        switch action {
        case .command(let command): submit(number, command)
        case .networkUp(let agreed): networkUp(number, agreed, now: now)
        case .networkDown:
            if sessions[number - 1].status.phase == .up { sessions[number - 1].status.phase = .negotiating }
            tell.yield(.down(number))
        case .note(let note): logger.debug("session \(number): \(note)")
        case .ended(let failure):
            if let failure { sessions[number - 1].status.failure = failure }
            sessions[number - 1].status.phase = .closing
            sessions[number - 1].call = nil
            clear(number, now: now)
        }
    }

    private func networkUp(_ number: Int, _ agreed: SessionNetwork, now: ContinuousClock.Instant) {
        guard sessions[number - 1].status.phase != .closing else { return }
        let before = sessions[number - 1].status.network
        if configuration.addsAddresses {
            do {
                try network.add(agreed.address, mtu: agreed.mtu)
                if let before { try network.remove(before.address) }
            } catch {
                fail(number, .local("\(error)"))
                return
            }
        }
        sessions[number - 1].status.network = agreed
        sessions[number - 1].status.phase = .up
        sessions[number - 1].setupDeadline = nil
        if sessions[number - 1].status.upTime == nil {
            sessions[number - 1].status.upTime = sessions[number - 1].startedAt.map { now - $0 }
            sessions[number - 1].status.upAt = now
        }
        tell.yield(.up(number, agreed))
        isSetUp(number)
    }

    // ---- the end ----

    /// Ends a session that is on its way or up, in order.
    func fail(_ number: Int, _ failure: SessionFailure) {
        if sessions[number - 1].status.failure == nil { sessions[number - 1].status.failure = failure }
        hangUp(number)
    }

    /// The session is over: everything that it holds is given back.
    func end(_ number: Int, _ failure: SessionFailure?) {
        guard !sessions[number - 1].isOver else { return }
        let now = ContinuousClock.now
        let session = sessions[number - 1]
        cancel(session.timer)
        session.timer = nil
        sessions[number - 1].call = nil
        if session.isOpen {
            sessions[number - 1].status.counters = engine.counters(of: [UInt64(number)]).first ?? nil
            sessions[number - 1].isOpen = false
            submit(number, .close)
        }
        if let callID = session.status.localCallID { callIDs.release(callID, now: now) }
        if configuration.addsAddresses, let address = session.status.network?.address {
            do { try network.remove(address) } catch { logger.warning("session \(number): \(error)") }
        }
        sessions[number - 1].status.failure = failure
        sessions[number - 1].status.phase = failure == nil ? .closed : .failed
        if let failure { tell.yield(.failed(number, failure)) } else { tell.yield(.closed(number)) }
        isSetUp(number)
    }

    private func isSetUp(_ number: Int) {
        guard sessions[number - 1].isBeingSetUp else { return }
        sessions[number - 1].isBeingSetUp = false
        beingSetUp -= 1
        // Not from inside this session's own actions: the next session may use the same connection.
        eventLoop.execute { self.assumeIsolated { $0.giveTurns() } }
    }

    // ---- time ----

    private func arm(_ number: Int) {
        let session = sessions[number - 1]
        guard let timer = timer(.session(number), at: session.deadline, insteadOf: session.timer) else { return }
        session.timer = timer
    }

    func timer(ofSession number: Int) {
        let now = ContinuousClock.now
        sessions[number - 1].timer = nil
        guard !sessions[number - 1].isOver, !hasVanished else { return }
        if let limit = sessions[number - 1].setupDeadline, now >= limit {
            sessions[number - 1].setupDeadline = nil
            fail(number, .timeOut)
        }
        withCall(number, now: now) { $0.timer(now: now) }
        arm(number)
    }
}

extension SessionFailure {
    /// Without saying what kind of failure it is.
    var reason: String {
        switch self {
        case .connection(let text), .call(let text), .negotiation(let text), .lost(let text), .local(let text): text
        case .authentication, .serverNotAuthentic, .timeOut: description
        }
    }
}
