// Authentication of a session, both roles.
extension PPPSession {
    mutating func receiveAuthentication(
        _ number: UInt16, _ packet: ControlPacket, _ actions: inout [PPPAction], _ now: ContinuousClock.Instant
    ) {
        switch configuration.role {
        case .server:
            guard let method = authenticator?.method, (method == .pap) == (number == PPPProtocol.pap),
                let outputs = authenticator?.receive(packet)
            else { return rejectProtocol(number, packet.bytes[...], &actions, now) }
            apply(authenticator: outputs, &actions, now)
        case .client:
            guard number == PPPProtocol.chap, lcp.policy.demanded != nil else {
                return rejectProtocol(number, packet.bytes[...], &actions, now)
            }
            apply(supplicant: supplicant.receive(packet), &actions, now)
        }
    }

    mutating func apply(
        authenticator outputs: [Authenticator.Output], _ actions: inout [PPPAction], _ now: ContinuousClock.Instant
    ) {
        for output in outputs {
            switch output {
            case .send(let number, let packet): actions.append(.send(protocol: number, payload: packet.bytes))
            case .authenticate(let credentials):
                // The verdict that comes next belongs to an earlier question, perhaps about another user.
                if overtakenVerdicts > 0 { heldCredentials = credentials } else { actions.append(.authenticate(credentials)) }
            case .accepted(_, _, again: true): actions.append(.note(.reauthenticated))
            case .accepted(let user, let keys, again: false):
                self.keys = keys
                actions.append(.authenticationSucceeded(userName: user))
                enterNetwork(&actions, now)
            case .refused(let failure): actions.append(.authenticationFailed(failure))
            case .gaveUp(let reason): close(reason, &actions, now)
            case .note(let note): actions.append(.note(note))
            }
        }
    }

    mutating func apply(supplicant outputs: [Supplicant.Output], _ actions: inout [PPPAction], _ now: ContinuousClock.Instant) {
        for output in outputs {
            switch output {
            case .send(let packet): actions.append(.send(protocol: PPPProtocol.chap, payload: packet.bytes))
            case .challenged(let challenge): actions.append(.challenged(challenge))
            case .verify(let identifier, let message): actions.append(.verify(identifier: identifier, message: message))
            case .refused(let failure): actions.append(.authenticationFailed(failure))
            case .gaveUp(let reason): close(reason, &actions, now)
            case .note(let note): actions.append(.note(note))
            }
        }
    }
}
