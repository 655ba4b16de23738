import Addresses
import NIOCore
import NIOPosix
import PPTP

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

// The TCP control connections.
extension LegacyClient {
    /// Puts a session's call on a connection: the open one while it has room, or a new one.
    func place(_ number: Int, callID: UInt16, now: ContinuousClock.Instant) {
        if let line = openLine, let taken = lines[line]?.connection.openCall(callID, now: now), taken {
            add(number, callID: callID, to: line)
            armLine(line)
            return
        }
        let line = nextLine
        nextLine += 1
        var control = ControlLine(profile: configuration.profile.control)
        guard control.connection.openCall(callID, now: now) else { return }
        lines[line] = control
        openLine = line
        add(number, callID: callID, to: line)
        connect(line)
    }

    private func add(_ number: Int, callID: UInt16, to line: Int) {
        sessions[number - 1].line = line
        lines[line]?.calls[callID] = number
        lines[line]?.callCount += 1
        if lines[line]?.callCount ?? 0 >= max(1, configuration.callsPerConnection), openLine == line { openLine = nil }
    }

    private func connect(_ line: Int) {
        ClientBootstrap(group: eventLoop)
            .connectTimeout(TimeAmount(configuration.connectTimeout))
            .channelInitializer { channel in
                channel.eventLoop.makeCompletedFuture {
                    try channel.pipeline.syncOperations.addHandler(LineHandler(client: self, line: line))
                }
            }
            .connect(to: configuration.server)
            .whenComplete { result in
                self.assumeIsolated { client in
                    switch result {
                    case .success(let channel): client.connected(line, channel)
                    case .failure(let error): client.lost(line, .connection(Self.text(error)))
                    }
                }
            }
    }

    private static func text(_ error: any Error) -> String {
        let causes = (error as? NIOConnectionError)?.connectionErrors.map(\.error) ?? [error]
        for cause in causes {
            if let cause = cause as? IOError { return String(cString: strerror(cause.errnoCode)) }
            if case .connectTimeout? = cause as? ChannelError { return "no answer" }
        }
        return String(describing: error)
    }

    private func connected(_ line: Int, _ channel: any Channel) {
        guard lines[line] != nil, !hasVanished, let wire = LineChannel(channel) else {
            channel.close(promise: nil)
            lost(line, .connection("the connection has no addresses"))
            return
        }
        lines[line]?.channel = wire
        let now = ContinuousClock.now
        perform(lines[line]?.connection.start(now: now) ?? [], on: line, now: now)
    }

    func received(_ bytes: [UInt8], on line: Int) {
        guard !hasVanished else { return }
        let now = ContinuousClock.now
        perform(lines[line]?.connection.receive(bytes, now: now) ?? [], on: line, now: now)
    }

    /// The TCP connection has ended, or never began.
    func lost(_ line: Int, _ failure: SessionFailure) {
        guard lines[line] != nil else { return }
        let now = ContinuousClock.now
        for number in lines[line]?.calls.values.sorted() ?? [] { callEnded(number, failure) }
        lines[line]?.calls = [:]
        perform(lines[line]?.connection.peerClosed() ?? [], on: line, now: now)
        remove(line)
    }

    /// The session's PPP is over, or was never there: its call goes, too.
    func clear(_ number: Int, now: ContinuousClock.Instant) {
        guard let line = sessions[number - 1].line, lines[line] != nil, let callID = sessions[number - 1].status.localCallID else {
            end(number, sessions[number - 1].status.failure)
            return
        }
        perform(lines[line]?.connection.closeCall(callID, now: now) ?? [], on: line, now: now)
    }

    /// A connection that has had its calls is not kept.
    func stopIfUnused(_ line: Int) {
        guard let control = lines[line], control.calls.isEmpty, line != openLine || isStopping || nextTurn == sessions.count else { return }
        if openLine == line { openLine = nil }
        let now = ContinuousClock.now
        perform(lines[line]?.connection.stop(now: now) ?? [], on: line, now: now)
    }

    private func remove(_ line: Int) {
        cancel(lines[line]?.timer)
        lines[line] = nil
        if openLine == line { openLine = nil }
        lineIsGone()
    }

    private func perform(_ actions: [ClientConnection.Action], on line: Int, now: ContinuousClock.Instant) {
        var ended = false
        for action in actions {
            switch action {
            case .send(let message): lines[line]?.channel?.send(message)
            case .started(let server):
                logger.debug("control connection \(line) is up: \(server.vendor) \(server.hostName), firmware \(server.firmware)")
            case .callOpened(let callID, let reply):
                guard let number = lines[line]?.calls[callID], let channel = lines[line]?.channel else { continue }
                callOpened(number, reply, from: channel.local, to: channel.remote, now: now)
            case .callFailed(let callID, let failure):
                guard let number = lines[line]?.calls.removeValue(forKey: callID) else { continue }
                callEnded(number, .call(failure.text))
                ended = true
            case .callEnded(let callID, let end):
                guard let number = lines[line]?.calls.removeValue(forKey: callID) else { continue }
                callEnded(number, .call(end.text))
                ended = true
            case .ignored(let type): logger.debug("control connection \(line): \(type) ignored")
            case .close:
                lines[line]?.channel?.closeWhenWritten()
                remove(line)
                return
            }
        }
        armLine(line)
        // Not from inside the connection's own actions.
        if ended { eventLoop.execute { self.assumeIsolated { $0.stopIfUnused(line) } } }
    }

    private func armLine(_ line: Int) {
        guard let control = lines[line], let timer = timer(.line(line), at: control.connection.nextDeadline, insteadOf: control.timer) else { return }
        lines[line]?.timer = timer
    }

    func timer(ofLine line: Int) {
        guard !hasVanished else { return }
        lines[line]?.timer = nil
        let now = ContinuousClock.now
        perform(lines[line]?.connection.timer(now: now) ?? [], on: line, now: now)
    }
}

extension ClientConnection.CallFailure {
    var text: String {
        switch self {
        case .refused(let result, let error): "refused with result \(result.rawValue), error \(error.rawValue)"
        case .timeOut: "no answer to the Outgoing-Call-Request"
        case .connectionClosed(let end): end.text
        }
    }
}

extension ClientConnection.CallEnd {
    var text: String {
        switch self {
        case .disconnected(let result, let error):
            "the server cleared the call with result \(result.rawValue), error \(error.rawValue)"
        case .cleared: "cleared"
        case .connectionClosed(let end): end.text
        }
    }
}

extension ClientConnection.End {
    var text: String {
        switch self {
        case .stopped: "stopped"
        case .peerStopped(let reason): "the server stopped the control connection with reason \(reason.rawValue)"
        case .peerClosed: "the server closed the control connection"
        case .refused(let result, let error):
            "the server refused the control connection with result \(result.rawValue), error \(error.rawValue)"
        case .versionNotSupported(let version): "the server speaks version \(version >> 8).\(version & 0xFF) of PPTP"
        case .replyTimeout: "no answer on the control connection"
        case .echoTimeout: "no answer to echoes on the control connection"
        case .malformed(let error): "the server sent nonsense: \(error)"
        }
    }
}
