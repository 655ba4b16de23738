import Addresses
import DataPath

extension SessionController {
    /// Takes what the workers report, a bounded amount for each turn of the loop.
    func drainEvents() {
        for _ in 0..<16 {
            let events = engine?.poll() ?? []
            together { for event in events { handle(event) } }
            guard events.count == Engine.pollBatch else {
                pump?.drained()
                return
            }
        }
        eventLoop.execute { [weak self] in self?.assumeIsolated { $0.drainEvents() } }
    }

    private func handle(_ event: Event) {
        switch event {
        case .control(let id, let number, let payload):
            sessions[id]?.negotiation.received(number, payload)
            step(id) { $0.receive(protocol: number, payload: payload, now: .now) }
        case .decryptionLost(let id):
            logger.notice("\(sessions[id]?.label ?? "session \(id)"): MPPE lost its place; negotiating CCP again")
            sessions[id]?.recoveries += 1
            step(id) { $0.decryptionLost(now: .now) }
        case .addressChanged(let id, let address):
            logger.notice("\(sessions[id]?.label ?? "session \(id)"): GRE comes from \(address) now; followed")
        case .closed(let id, _):
            if natives[id]?.isEnding == true { forgetNative(id) }
            guard let session = sessions.removeValue(forKey: id) else { return }
            callIDs.release(session.callID, now: .now)
            endedSessions += 1
        case .exported: break
        case .refused(let id, let command, let reason):
            logger.error("data path refused command \(command) of session \(id): \(reason)")
            if natives[id] != nil { return nativeRefused(id) }
            // A session that the data path does not have cannot live here either.
            if sessions[id]?.phase == .ending, let session = sessions.removeValue(forKey: id) {
                callIDs.release(session.callID, now: .now)
            } else if sessions[id] != nil {
                finish(id, because: "the data path refused it: \(reason)")
            }
        case .unknownCall(let source, let callID): unknownCalls.saw(callID, from: source, now: .now)
        case .workerFailed(let worker, let error):
            logger.critical("data path worker \(worker) has lost its socket or TUN (errno \(error)): restart the gateway")
            failure?(GatewayError("data path worker \(worker) failed with errno \(error)"))
        }
    }
}
