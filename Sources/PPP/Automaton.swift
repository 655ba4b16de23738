/// The option negotiation automaton of RFC 1661 section 4, as one value: events in, actions out, nothing else.
struct Automaton: Sendable, Equatable, Codable {
    enum State: UInt8, Sendable, Codable, CaseIterable {
        case initial, starting, closed, stopped, closing, stopping, requestSent, ackReceived, ackSent, opened
    }

    /// RFC 1661 section 4.3.
    enum Event: Sendable, CaseIterable {
        case up, down, open, close
        case timeoutRetry, timeoutGiveUp  // TO+, TO-
        case goodRequest, badRequest  // RCR+, RCR-
        case ack, nakOrReject  // RCA, RCN
        case terminateRequest, terminateAck  // RTR, RTA
        case unknownCode  // RUC
        case permittedReject, catastrophicReject  // RXJ+, RXJ-
        case echo  // RXR: Echo-Request, Echo-Reply, Discard-Request
    }

    /// RFC 1661 section 4.4.
    enum Action: Sendable {
        case layerUp, layerDown, layerStarted, layerFinished
        case initializeRestartCount, zeroRestartCount
        case sendRequest, sendAck, sendNakOrReject
        case sendTerminateRequest, sendTerminateAck
        case sendCodeReject, sendEchoReply
    }

    private(set) var state = State.initial

    /// The restart timer runs in these states and only in these (RFC 1661 section 4.1).
    var timerRuns: Bool {
        switch state {
        case .closing, .stopping, .requestSent, .ackReceived, .ackSent: true
        case .initial, .starting, .closed, .stopped, .opened: false
        }
    }

    /// Options are being exchanged: the request that is out was made in this round.
    var isNegotiating: Bool { state == .requestSent || state == .ackReceived || state == .ackSent }

    mutating func handle(_ event: Event) -> [Action] {
        let (actions, next) = Self.transition(state, event)
        state = next
        return actions
    }

    /// The table of RFC 1661 section 4.1, row by row. What the RFC calls impossible ("-") changes nothing.
    static func transition(_ state: State, _ event: Event) -> ([Action], State) {
        switch event {
        case .up: up(state)
        case .down: down(state)
        case .open: open(state)
        case .close: close(state)
        case .timeoutRetry: timeoutRetry(state)
        case .timeoutGiveUp: timeoutGiveUp(state)
        case .goodRequest: goodRequest(state)
        case .badRequest: badRequest(state)
        case .ack: ack(state)
        case .nakOrReject: nakOrReject(state)
        case .terminateRequest: terminateRequest(state)
        case .terminateAck: terminateAck(state)
        case .unknownCode: unknownCode(state)
        case .permittedReject: permittedReject(state)
        case .catastrophicReject: catastrophicReject(state)
        case .echo: (state == .opened ? [.sendEchoReply] : [], state)
        }
    }

    private static func up(_ state: State) -> ([Action], State) {
        switch state {
        case .initial: ([], .closed)
        case .starting: ([.initializeRestartCount, .sendRequest], .requestSent)
        default: ([], state)
        }
    }

    private static func down(_ state: State) -> ([Action], State) {
        switch state {
        case .initial, .starting: ([], state)
        case .closed, .closing: ([], .initial)
        case .stopped: ([.layerStarted], .starting)
        case .stopping, .requestSent, .ackReceived, .ackSent: ([], .starting)
        case .opened: ([.layerDown], .starting)
        }
    }

    private static func open(_ state: State) -> ([Action], State) {
        switch state {
        case .initial: ([.layerStarted], .starting)
        case .closed: ([.initializeRestartCount, .sendRequest], .requestSent)
        case .closing: ([], .stopping)
        case .starting, .stopped, .stopping, .requestSent, .ackReceived, .ackSent, .opened: ([], state)
        }
    }

    private static func close(_ state: State) -> ([Action], State) {
        switch state {
        case .initial, .closed, .closing: ([], state)
        case .starting: ([.layerFinished], .initial)
        case .stopped: ([], .closed)
        case .stopping: ([], .closing)
        case .requestSent, .ackReceived, .ackSent: ([.initializeRestartCount, .sendTerminateRequest], .closing)
        case .opened: ([.layerDown, .initializeRestartCount, .sendTerminateRequest], .closing)
        }
    }

    private static func timeoutRetry(_ state: State) -> ([Action], State) {
        switch state {
        case .closing, .stopping: ([.sendTerminateRequest], state)
        case .requestSent, .ackReceived: ([.sendRequest], .requestSent)
        case .ackSent: ([.sendRequest], .ackSent)
        default: ([], state)
        }
    }

    private static func timeoutGiveUp(_ state: State) -> ([Action], State) {
        switch state {
        case .closing: ([.layerFinished], .closed)
        case .stopping, .requestSent, .ackReceived, .ackSent: ([.layerFinished], .stopped)
        default: ([], state)
        }
    }

    private static func goodRequest(_ state: State) -> ([Action], State) {
        switch state {
        case .initial, .starting: ([], state)
        case .closed: ([.sendTerminateAck], .closed)
        case .stopped: ([.initializeRestartCount, .sendRequest, .sendAck], .ackSent)
        case .closing, .stopping: ([], state)
        case .requestSent, .ackSent: ([.sendAck], .ackSent)
        case .ackReceived: ([.sendAck, .layerUp], .opened)
        case .opened: ([.layerDown, .sendRequest, .sendAck], .ackSent)
        }
    }

    private static func badRequest(_ state: State) -> ([Action], State) {
        switch state {
        case .initial, .starting: ([], state)
        case .closed: ([.sendTerminateAck], .closed)
        case .stopped: ([.initializeRestartCount, .sendRequest, .sendNakOrReject], .requestSent)
        case .closing, .stopping: ([], state)
        case .requestSent, .ackSent: ([.sendNakOrReject], .requestSent)
        case .ackReceived: ([.sendNakOrReject], .ackReceived)
        case .opened: ([.layerDown, .sendRequest, .sendNakOrReject], .requestSent)
        }
    }

    private static func ack(_ state: State) -> ([Action], State) {
        switch state {
        case .initial, .starting, .closing, .stopping: ([], state)
        case .closed, .stopped: ([.sendTerminateAck], state)
        case .requestSent: ([.initializeRestartCount], .ackReceived)
        case .ackReceived: ([.sendRequest], .requestSent)
        case .ackSent: ([.initializeRestartCount, .layerUp], .opened)
        case .opened: ([.layerDown, .sendRequest], .requestSent)
        }
    }

    private static func nakOrReject(_ state: State) -> ([Action], State) {
        switch state {
        case .initial, .starting, .closing, .stopping: ([], state)
        case .closed, .stopped: ([.sendTerminateAck], state)
        case .requestSent: ([.initializeRestartCount, .sendRequest], .requestSent)
        case .ackReceived: ([.sendRequest], .requestSent)
        case .ackSent: ([.initializeRestartCount, .sendRequest], .ackSent)
        case .opened: ([.layerDown, .sendRequest], .requestSent)
        }
    }

    private static func terminateRequest(_ state: State) -> ([Action], State) {
        switch state {
        case .initial, .starting: ([], state)
        case .closed, .stopped, .closing, .stopping: ([.sendTerminateAck], state)
        case .requestSent, .ackReceived, .ackSent: ([.sendTerminateAck], .requestSent)
        case .opened: ([.layerDown, .zeroRestartCount, .sendTerminateAck], .stopping)
        }
    }

    private static func terminateAck(_ state: State) -> ([Action], State) {
        switch state {
        case .initial, .starting, .closed, .stopped, .requestSent, .ackSent: ([], state)
        case .closing: ([.layerFinished], .closed)
        case .stopping: ([.layerFinished], .stopped)
        case .ackReceived: ([], .requestSent)
        case .opened: ([.layerDown, .sendRequest], .requestSent)
        }
    }

    private static func unknownCode(_ state: State) -> ([Action], State) {
        switch state {
        case .initial, .starting: ([], state)
        default: ([.sendCodeReject], state)
        }
    }

    private static func permittedReject(_ state: State) -> ([Action], State) {
        (([], state == .ackReceived ? .requestSent : state))
    }

    private static func catastrophicReject(_ state: State) -> ([Action], State) {
        switch state {
        case .initial, .starting: ([], state)
        case .closed, .closing: ([.layerFinished], .closed)
        case .stopped, .stopping, .requestSent, .ackReceived, .ackSent: ([.layerFinished], .stopped)
        case .opened: ([.layerDown, .initializeRestartCount, .sendTerminateRequest], .stopping)
        }
    }
}
