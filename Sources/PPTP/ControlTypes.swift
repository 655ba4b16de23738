/// Who the peer says it is. Nothing here is proven; it serves to tell one kind of device from another.
public struct PeerIdentity: Hashable, Sendable, Codable {
    public var hostName: String
    public var vendor: String
    public var firmware: UInt16
    public var protocolVersion: UInt16
    public var framing: Framing
    public var bearer: Bearer
    public var maximumChannels: UInt16
}

/// Names one call of one control connection, and never a second one: a client may use its call ID again, a handle is not.
public struct CallHandle: Hashable, Sendable, Codable, CustomStringConvertible {
    let number: UInt64
    public var description: String { "call \(number)" }
}

/// Why a control connection ended, for the log and the counters.
public enum CloseReason: Hashable, Sendable, Codable {
    case peerStopped(StopReason)
    case peerClosed
    case shutdown
    case idle
    case startTimeout
    case echoTimeout
    case malformed(ParseError)
    case tooManyViolations
    case versionNotSupported(UInt16)
    case refused(StartResult)
}

/// Why a call ended without its owner asking for it.
public enum CallEnd: Hashable, Sendable {
    case clearedByPeer
    case connectionClosed(CloseReason)
}

/// What happened on control connections, to be counted; the raw value is the counter's name.
public enum ControlCount: String, Sendable, CaseIterable, Codable {
    case badMagic = "bad_magic"
    case badMessageType = "bad_message_type"
    case badLength = "bad_length"
    case unknownControlType = "unknown_control_type"
    case wrongLength = "wrong_length"
    case badVersion = "bad_version"
    case startRefused = "start_refused"
    case startTimeout = "start_timeout"
    case duplicateStart = "duplicate_start"
    /// The message may not be sent before the connection has been started.
    case notStarted = "not_started"
    /// The message may only be sent by the other side's role.
    case wrongDirection = "wrong_direction"
    /// An answer to nothing that was asked.
    case unsolicitedReply = "unsolicited_reply"
    case echoTimeout = "echo_timeout"
    case badEchoReply = "bad_echo_reply"
    case idleTimeout = "idle_timeout"
    case stopTimeout = "stop_timeout"
    case incomingCallRefused = "incoming_call_refused"
    case callAccepted = "call_accepted"
    case callRefused = "call_refused"
    case duplicateCallID = "duplicate_call_id"
    case callLimit = "call_limit"
    case callRate = "call_rate"
    case badCallValue = "bad_call_value"
    case unknownCallClear = "unknown_call_clear"
    case linkInfo = "link_info"
    case unknownLinkInfo = "unknown_link_info"
    case wanErrors = "wan_errors"
    case tooManyViolations = "too_many_violations"

    init(_ error: ParseError) {
        self =
            switch error {
            case .badMagic: .badMagic
            case .badMessageType: .badMessageType
            case .badLength: .badLength
            case .unknownControlType: .unknownControlType
            case .wrongLength: .wrongLength
            }
    }
}
