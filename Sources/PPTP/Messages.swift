/// A text field of fixed width. All of its bytes are kept, so that a message can be encoded again as it came.
public struct FixedText: Hashable, Sendable, Codable {
    public let bytes: [UInt8]

    /// Cut to `width`, or filled up with zeros.
    public init(_ text: String, width: Int) { self.init(bytes: Array(text.utf8), width: width) }

    init(bytes: some Collection<UInt8>, width: Int) {
        var field = Array(bytes.prefix(width))
        field.append(contentsOf: repeatElement(0, count: width - field.count))
        self.bytes = field
    }

    /// Up to the first zero, with everything but printable ASCII shown as "?": it comes from strangers and goes into logs.
    public var text: String {
        String(decoding: bytes.prefix { $0 != 0 }.map { (0x20...0x7E).contains($0) ? $0 : UInt8(ascii: "?") }, as: UTF8.self)
    }
}

/// RFC 2637 section 2.1, Start-Control-Connection-Request.
public struct StartRequest: Hashable, Sendable {
    public var protocolVersion = WireFacts.protocolVersion
    public var framing: Framing
    public var bearer: Bearer
    public var maximumChannels: UInt16
    public var firmware: UInt16
    public var hostName: FixedText
    public var vendor: FixedText
}

/// Section 2.2, Start-Control-Connection-Reply.
public struct StartReply: Hashable, Sendable {
    public var protocolVersion = WireFacts.protocolVersion
    public var result: StartResult
    public var error = ErrorCode.none
    public var framing: Framing
    public var bearer: Bearer
    public var maximumChannels: UInt16
    public var firmware: UInt16
    public var hostName: FixedText
    public var vendor: FixedText
}

/// Section 2.3, Stop-Control-Connection-Request.
public struct StopRequest: Hashable, Sendable {
    public var reason: StopReason
    public init(reason: StopReason) { self.reason = reason }
}

/// Section 2.4, Stop-Control-Connection-Reply.
public struct StopReply: Hashable, Sendable {
    public var result: SimpleResult
    public var error = ErrorCode.none
}

/// Section 2.5, Echo-Request.
public struct EchoRequest: Hashable, Sendable {
    public var identifier: UInt32
    public init(identifier: UInt32) { self.identifier = identifier }
}

/// Section 2.6, Echo-Reply.
public struct EchoReply: Hashable, Sendable {
    public var identifier: UInt32
    public var result: SimpleResult
    public var error = ErrorCode.none
}

/// Section 2.7, Outgoing-Call-Request: what a client sends to open its session.
public struct OutgoingCallRequest: Hashable, Sendable, Codable {
    /// Chosen by the client: the key field of every GRE packet that we send for this call.
    public var callID: UInt16
    public var serial: UInt16
    public var minimumBPS: UInt32
    public var maximumBPS: UInt32
    public var bearer: Bearer
    public var framing: Framing
    public var receiveWindow: UInt16
    public var processingDelay: UInt16
    public var phoneNumberLength: UInt16
    public var phoneNumber: FixedText
    public var subaddress: FixedText
}

/// Section 2.8, Outgoing-Call-Reply.
public struct OutgoingCallReply: Hashable, Sendable, Codable {
    /// Chosen by the sender of this reply: the key field of every GRE packet that the client sends.
    public var callID: UInt16
    public var peerCallID: UInt16
    public var result: OutgoingCallResult
    public var error = ErrorCode.none
    public var causeCode: UInt16 = 0
    public var connectSpeed: UInt32 = 0
    public var receiveWindow: UInt16 = 0
    public var processingDelay: UInt16 = 0
    public var physicalChannel: UInt32 = 0
}

/// Section 2.9, Incoming-Call-Request.
public struct IncomingCallRequest: Hashable, Sendable {
    public var callID: UInt16
    public var serial: UInt16
    public var bearer: Bearer
    public var physicalChannel: UInt32
    public var dialedNumberLength: UInt16
    public var dialingNumberLength: UInt16
    public var dialedNumber: FixedText
    public var dialingNumber: FixedText
    public var subaddress: FixedText
}

/// Section 2.10, Incoming-Call-Reply.
public struct IncomingCallReply: Hashable, Sendable {
    public var callID: UInt16
    public var peerCallID: UInt16
    public var result: IncomingCallResult
    public var error = ErrorCode.none
    public var receiveWindow: UInt16 = 0
    public var transmitDelay: UInt16 = 0
}

/// Section 2.11, Incoming-Call-Connected.
public struct IncomingCallConnected: Hashable, Sendable {
    public var peerCallID: UInt16
    public var connectSpeed: UInt32
    public var receiveWindow: UInt16
    public var transmitDelay: UInt16
    public var framing: Framing
}

/// Section 2.12, Call-Clear-Request. Its call ID is the client's own: the only one that the client is sure to know.
public struct CallClearRequest: Hashable, Sendable {
    public var callID: UInt16
    public init(callID: UInt16) { self.callID = callID }
}

/// Section 2.13, Call-Disconnect-Notify. Its call ID is the PAC's, that is ours.
public struct CallDisconnectNotify: Hashable, Sendable {
    public var callID: UInt16
    public var result: DisconnectResult
    public var error = ErrorCode.none
    public var causeCode: UInt16 = 0
    public var statistics = FixedText("", width: WireFacts.statisticsLength)
}

/// The error counters of section 2.14, since the start of the call.
public struct WANErrors: Hashable, Sendable {
    public var crc: UInt32 = 0
    public var framing: UInt32 = 0
    public var hardwareOverruns: UInt32 = 0
    public var bufferOverruns: UInt32 = 0
    public var timeOuts: UInt32 = 0
    public var alignment: UInt32 = 0
    public init() {}
}

/// Section 2.14, WAN-Error-Notify.
public struct WANErrorNotify: Hashable, Sendable {
    public var peerCallID: UInt16
    public var errors: WANErrors
}

/// Section 2.15, Set-Link-Info.
public struct SetLinkInfo: Hashable, Sendable {
    /// The receiver's call ID: ours when a client sends it.
    public var peerCallID: UInt16
    public var sendACCM: UInt32
    public var receiveACCM: UInt32
}

/// One control message.
public enum Message: Hashable, Sendable {
    case startRequest(StartRequest)
    case startReply(StartReply)
    case stopRequest(StopRequest)
    case stopReply(StopReply)
    case echoRequest(EchoRequest)
    case echoReply(EchoReply)
    case outgoingCallRequest(OutgoingCallRequest)
    case outgoingCallReply(OutgoingCallReply)
    case incomingCallRequest(IncomingCallRequest)
    case incomingCallReply(IncomingCallReply)
    case incomingCallConnected(IncomingCallConnected)
    case callClearRequest(CallClearRequest)
    case callDisconnectNotify(CallDisconnectNotify)
    case wanErrorNotify(WANErrorNotify)
    case setLinkInfo(SetLinkInfo)

    public var type: ControlType {
        switch self {
        case .startRequest: .startRequest
        case .startReply: .startReply
        case .stopRequest: .stopRequest
        case .stopReply: .stopReply
        case .echoRequest: .echoRequest
        case .echoReply: .echoReply
        case .outgoingCallRequest: .outgoingCallRequest
        case .outgoingCallReply: .outgoingCallReply
        case .incomingCallRequest: .incomingCallRequest
        case .incomingCallReply: .incomingCallReply
        case .incomingCallConnected: .incomingCallConnected
        case .callClearRequest: .callClearRequest
        case .callDisconnectNotify: .callDisconnectNotify
        case .wanErrorNotify: .wanErrorNotify
        case .setLinkInfo: .setLinkInfo
        }
    }
}
