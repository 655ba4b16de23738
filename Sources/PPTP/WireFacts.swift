/// The facts of RFC 2637 that never change. What this gateway limits by its own choice is in `ServerConnection.Configuration`
/// and `AdmissionLimits.Configuration`.
public enum WireFacts {
    /// Section 3.1.2: the control connection's TCP port.
    public static let port: UInt16 = 1723
    /// Section 1.4: every message carries it, so that a receiver notices when it has lost synchronisation.
    public static let magicCookie: UInt32 = 0x1A2B_3C4D
    /// Section 1.4: PPTP message type 1 is a control message; type 2, management, was never defined.
    public static let controlMessage: UInt16 = 1
    /// Version 1, revision 0.
    public static let protocolVersion: UInt16 = 0x0100
    /// Length, PPTP message type, magic cookie, control message type, reserved.
    public static let headerLength = 12
    /// Incoming-Call-Request is the longest message.
    public static let maximumMessageLength = 220
    /// Host name, vendor name, phone number and subaddress.
    public static let nameLength = 64
    /// The vendor-specific text of a Call-Disconnect-Notify.
    public static let statisticsLength = 128
    /// Section 2.15: an ACCM of all ones until a Set-Link-Info says otherwise.
    public static let defaultACCM: UInt32 = 0xFFFF_FFFF
}

/// The control message types of section 2, with the exact length that each one has.
public enum ControlType: UInt16, Sendable, CaseIterable, Codable {
    case startRequest = 1
    case startReply = 2
    case stopRequest = 3
    case stopReply = 4
    case echoRequest = 5
    case echoReply = 6
    case outgoingCallRequest = 7
    case outgoingCallReply = 8
    case incomingCallRequest = 9
    case incomingCallReply = 10
    case incomingCallConnected = 11
    case callClearRequest = 12
    case callDisconnectNotify = 13
    case wanErrorNotify = 14
    case setLinkInfo = 15

    /// The whole message, header included.
    public var messageLength: Int {
        switch self {
        case .startRequest, .startReply: 156
        case .stopRequest, .stopReply, .echoRequest, .callClearRequest: 16
        case .echoReply: 20
        case .outgoingCallRequest: 168
        case .outgoingCallReply: 32
        case .incomingCallRequest: 220
        case .incomingCallReply, .setLinkInfo: 24
        case .incomingCallConnected: 28
        case .callDisconnectNotify: 148
        case .wanErrorNotify: 40
        }
    }
}

/// Section 2.16: the general error code that goes with a result of "general error".
public struct ErrorCode: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let none = ErrorCode(rawValue: 0)
    /// No control connection exists yet.
    public static let notConnected = ErrorCode(rawValue: 1)
    /// A length is wrong or the magic cookie is incorrect.
    public static let badFormat = ErrorCode(rawValue: 2)
    /// A field is out of range, or a reserved field is not zero.
    public static let badValue = ErrorCode(rawValue: 3)
    public static let noResource = ErrorCode(rawValue: 4)
    public static let badCallID = ErrorCode(rawValue: 5)
    /// A vendor-specific error in the PAC.
    public static let pacError = ErrorCode(rawValue: 6)
}

/// Section 2.2.
public struct StartResult: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let established = StartResult(rawValue: 1)
    public static let generalError = StartResult(rawValue: 2)
    public static let alreadyExists = StartResult(rawValue: 3)
    public static let notAuthorized = StartResult(rawValue: 4)
    public static let versionNotSupported = StartResult(rawValue: 5)
}

/// Section 2.3.
public struct StopReason: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let none = StopReason(rawValue: 1)
    /// The requester cannot support the peer's version of the protocol.
    public static let stopProtocol = StopReason(rawValue: 2)
    public static let localShutdown = StopReason(rawValue: 3)
}

/// Sections 2.4 and 2.6.
public struct SimpleResult: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let ok = SimpleResult(rawValue: 1)
    public static let generalError = SimpleResult(rawValue: 2)
}

/// Section 2.8.
public struct OutgoingCallResult: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let connected = OutgoingCallResult(rawValue: 1)
    public static let generalError = OutgoingCallResult(rawValue: 2)
    public static let noCarrier = OutgoingCallResult(rawValue: 3)
    public static let busy = OutgoingCallResult(rawValue: 4)
    public static let noDialTone = OutgoingCallResult(rawValue: 5)
    public static let timeOut = OutgoingCallResult(rawValue: 6)
    public static let doNotAccept = OutgoingCallResult(rawValue: 7)
}

/// Section 2.10.
public struct IncomingCallResult: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let connect = IncomingCallResult(rawValue: 1)
    public static let generalError = IncomingCallResult(rawValue: 2)
    public static let doNotAccept = IncomingCallResult(rawValue: 3)
}

/// Section 2.13.
public struct DisconnectResult: RawRepresentable, Hashable, Sendable, Codable {
    public let rawValue: UInt8
    public init(rawValue: UInt8) { self.rawValue = rawValue }
    public static let lostCarrier = DisconnectResult(rawValue: 1)
    public static let generalError = DisconnectResult(rawValue: 2)
    public static let adminShutdown = DisconnectResult(rawValue: 3)
    /// The answer to a Call-Clear-Request.
    public static let request = DisconnectResult(rawValue: 4)
}

/// Sections 2.1 and 2.7; asynchronous 1, synchronous 2.
public struct Framing: OptionSet, Hashable, Sendable, Codable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let asynchronous = Framing(rawValue: 1)
    public static let synchronous = Framing(rawValue: 2)
    public static let either: Framing = [.asynchronous, .synchronous]
}

/// Sections 2.1 and 2.7; analog 1, digital 2.
public struct Bearer: OptionSet, Hashable, Sendable, Codable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    public static let analog = Bearer(rawValue: 1)
    public static let digital = Bearer(rawValue: 2)
    public static let either: Bearer = [.analog, .digital]
}
