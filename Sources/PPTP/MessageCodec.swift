/// Why bytes are not a control message. Each one ends the connection: the stream cannot be trusted any further.
public enum ParseError: Error, Hashable, Sendable, Codable {
    case badMagic(UInt32)
    /// Not a control message.
    case badMessageType(UInt16)
    /// Shorter than a header or longer than the longest message.
    case badLength(UInt16)
    case unknownControlType(UInt16)
    /// Not the length that this type has.
    case wrongLength(ControlType, UInt16)

    /// Section 1.4: the receiver no longer knows where a message begins, so nothing that it says would be an answer.
    public var losesSynchronization: Bool {
        switch self {
        case .badMagic, .badMessageType, .badLength: true
        case .unknownControlType, .wrongLength: false
        }
    }
}

/// The first twelve bytes of a message, checked.
struct MessageHeader {
    let type: ControlType

    var messageLength: Int { type.messageLength }

    /// `bytes` must hold at least a header's length. Magic cookie first: without it no other field means anything.
    init(_ bytes: ArraySlice<UInt8>) throws(ParseError) {
        var reader = Reader(bytes)
        let length = reader.u16()
        let messageType = reader.u16()
        let magic = reader.u32()
        let control = reader.u16()
        guard magic == WireFacts.magicCookie else { throw .badMagic(magic) }
        guard messageType == WireFacts.controlMessage else { throw .badMessageType(messageType) }
        guard (WireFacts.headerLength...WireFacts.maximumMessageLength).contains(Int(length)) else { throw .badLength(length) }
        guard let type = ControlType(rawValue: control) else { throw .unknownControlType(control) }
        guard Int(length) == type.messageLength else { throw .wrongLength(type, length) }
        self.type = type
    }
}

extension Message {
    /// `bytes` must be exactly one message. Reserved fields are ignored.
    public init(_ bytes: ArraySlice<UInt8>) throws(ParseError) {
        guard bytes.count >= WireFacts.headerLength else { throw .badLength(UInt16(bytes.count)) }
        let header = try MessageHeader(bytes)
        guard bytes.count == header.messageLength else {
            throw .wrongLength(header.type, UInt16(truncatingIfNeeded: bytes.count))
        }
        self.init(type: header.type, body: bytes.dropFirst(WireFacts.headerLength))
    }

    public init(_ bytes: [UInt8]) throws(ParseError) { try self.init(bytes[...]) }

    /// `body` has the length that `type` demands.
    init(type: ControlType, body: ArraySlice<UInt8>) {
        var read = Reader(body)
        switch type {
        case .startRequest:
            let version = read.u16()
            read.skip(2)
            self = .startRequest(
                StartRequest(
                    protocolVersion: version, framing: Framing(rawValue: read.u32()), bearer: Bearer(rawValue: read.u32()),
                    maximumChannels: read.u16(), firmware: read.u16(), hostName: read.name(), vendor: read.name()))
        case .startReply:
            self = .startReply(
                StartReply(
                    protocolVersion: read.u16(), result: StartResult(rawValue: read.u8()), error: ErrorCode(rawValue: read.u8()),
                    framing: Framing(rawValue: read.u32()), bearer: Bearer(rawValue: read.u32()),
                    maximumChannels: read.u16(), firmware: read.u16(), hostName: read.name(), vendor: read.name()))
        case .stopRequest:
            self = .stopRequest(StopRequest(reason: StopReason(rawValue: read.u8())))
        case .stopReply:
            self = .stopReply(StopReply(result: SimpleResult(rawValue: read.u8()), error: ErrorCode(rawValue: read.u8())))
        case .echoRequest:
            self = .echoRequest(EchoRequest(identifier: read.u32()))
        case .echoReply:
            self = .echoReply(
                EchoReply(
                    identifier: read.u32(), result: SimpleResult(rawValue: read.u8()), error: ErrorCode(rawValue: read.u8())))
        case .outgoingCallRequest:
            let fields = (
                callID: read.u16(), serial: read.u16(), minimum: read.u32(), maximum: read.u32(), bearer: read.u32(),
                framing: read.u32(), window: read.u16(), delay: read.u16(), length: read.u16()
            )
            read.skip(2)
            self = .outgoingCallRequest(
                OutgoingCallRequest(
                    callID: fields.callID, serial: fields.serial, minimumBPS: fields.minimum, maximumBPS: fields.maximum,
                    bearer: Bearer(rawValue: fields.bearer), framing: Framing(rawValue: fields.framing),
                    receiveWindow: fields.window, processingDelay: fields.delay, phoneNumberLength: fields.length,
                    phoneNumber: read.name(), subaddress: read.name()))
        case .outgoingCallReply:
            self = .outgoingCallReply(
                OutgoingCallReply(
                    callID: read.u16(), peerCallID: read.u16(), result: OutgoingCallResult(rawValue: read.u8()),
                    error: ErrorCode(rawValue: read.u8()), causeCode: read.u16(), connectSpeed: read.u32(),
                    receiveWindow: read.u16(), processingDelay: read.u16(), physicalChannel: read.u32()))
        case .incomingCallRequest:
            self = .incomingCallRequest(
                IncomingCallRequest(
                    callID: read.u16(), serial: read.u16(), bearer: Bearer(rawValue: read.u32()), physicalChannel: read.u32(),
                    dialedNumberLength: read.u16(), dialingNumberLength: read.u16(), dialedNumber: read.name(),
                    dialingNumber: read.name(), subaddress: read.name()))
        case .incomingCallReply:
            self = .incomingCallReply(
                IncomingCallReply(
                    callID: read.u16(), peerCallID: read.u16(), result: IncomingCallResult(rawValue: read.u8()),
                    error: ErrorCode(rawValue: read.u8()), receiveWindow: read.u16(), transmitDelay: read.u16()))
        case .incomingCallConnected:
            let peerCallID = read.u16()
            read.skip(2)
            self = .incomingCallConnected(
                IncomingCallConnected(
                    peerCallID: peerCallID, connectSpeed: read.u32(), receiveWindow: read.u16(), transmitDelay: read.u16(),
                    framing: Framing(rawValue: read.u32())))
        case .callClearRequest:
            self = .callClearRequest(CallClearRequest(callID: read.u16()))
        case .callDisconnectNotify:
            let fields = (callID: read.u16(), result: read.u8(), error: read.u8(), cause: read.u16())
            read.skip(2)
            self = .callDisconnectNotify(
                CallDisconnectNotify(
                    callID: fields.callID, result: DisconnectResult(rawValue: fields.result),
                    error: ErrorCode(rawValue: fields.error), causeCode: fields.cause,
                    statistics: read.text(WireFacts.statisticsLength)))
        case .wanErrorNotify:
            let peerCallID = read.u16()
            read.skip(2)
            var errors = WANErrors()
            errors.crc = read.u32()
            errors.framing = read.u32()
            errors.hardwareOverruns = read.u32()
            errors.bufferOverruns = read.u32()
            errors.timeOuts = read.u32()
            errors.alignment = read.u32()
            self = .wanErrorNotify(WANErrorNotify(peerCallID: peerCallID, errors: errors))
        case .setLinkInfo:
            let peerCallID = read.u16()
            read.skip(2)
            self = .setLinkInfo(SetLinkInfo(peerCallID: peerCallID, sendACCM: read.u32(), receiveACCM: read.u32()))
        }
    }

    /// The whole message, reserved fields zero.
    public func encoded() -> [UInt8] {
        var write = Writer(capacity: type.messageLength)
        write.u16(UInt16(type.messageLength))
        write.u16(WireFacts.controlMessage)
        write.u32(WireFacts.magicCookie)
        write.u16(type.rawValue)
        write.u16(0)
        switch self {
        case .startRequest(let message):
            write.u16(message.protocolVersion)
            write.u16(0)
            write.u32(message.framing.rawValue)
            write.u32(message.bearer.rawValue)
            write.u16(message.maximumChannels)
            write.u16(message.firmware)
            write.text(message.hostName)
            write.text(message.vendor)
        case .startReply(let message):
            write.u16(message.protocolVersion)
            write.u8(message.result.rawValue)
            write.u8(message.error.rawValue)
            write.u32(message.framing.rawValue)
            write.u32(message.bearer.rawValue)
            write.u16(message.maximumChannels)
            write.u16(message.firmware)
            write.text(message.hostName)
            write.text(message.vendor)
        case .stopRequest(let message):
            write.u8(message.reason.rawValue)
            write.u8(0)
            write.u16(0)
        case .stopReply(let message):
            write.u8(message.result.rawValue)
            write.u8(message.error.rawValue)
            write.u16(0)
        case .echoRequest(let message):
            write.u32(message.identifier)
        case .echoReply(let message):
            write.u32(message.identifier)
            write.u8(message.result.rawValue)
            write.u8(message.error.rawValue)
            write.u16(0)
        case .outgoingCallRequest(let message):
            write.u16(message.callID)
            write.u16(message.serial)
            write.u32(message.minimumBPS)
            write.u32(message.maximumBPS)
            write.u32(message.bearer.rawValue)
            write.u32(message.framing.rawValue)
            write.u16(message.receiveWindow)
            write.u16(message.processingDelay)
            write.u16(message.phoneNumberLength)
            write.u16(0)
            write.text(message.phoneNumber)
            write.text(message.subaddress)
        case .outgoingCallReply(let message):
            write.u16(message.callID)
            write.u16(message.peerCallID)
            write.u8(message.result.rawValue)
            write.u8(message.error.rawValue)
            write.u16(message.causeCode)
            write.u32(message.connectSpeed)
            write.u16(message.receiveWindow)
            write.u16(message.processingDelay)
            write.u32(message.physicalChannel)
        case .incomingCallRequest(let message):
            write.u16(message.callID)
            write.u16(message.serial)
            write.u32(message.bearer.rawValue)
            write.u32(message.physicalChannel)
            write.u16(message.dialedNumberLength)
            write.u16(message.dialingNumberLength)
            write.text(message.dialedNumber)
            write.text(message.dialingNumber)
            write.text(message.subaddress)
        case .incomingCallReply(let message):
            write.u16(message.callID)
            write.u16(message.peerCallID)
            write.u8(message.result.rawValue)
            write.u8(message.error.rawValue)
            write.u16(message.receiveWindow)
            write.u16(message.transmitDelay)
            write.u16(0)
        case .incomingCallConnected(let message):
            write.u16(message.peerCallID)
            write.u16(0)
            write.u32(message.connectSpeed)
            write.u16(message.receiveWindow)
            write.u16(message.transmitDelay)
            write.u32(message.framing.rawValue)
        case .callClearRequest(let message):
            write.u16(message.callID)
            write.u16(0)
        case .callDisconnectNotify(let message):
            write.u16(message.callID)
            write.u8(message.result.rawValue)
            write.u8(message.error.rawValue)
            write.u16(message.causeCode)
            write.u16(0)
            write.text(message.statistics)
        case .wanErrorNotify(let message):
            write.u16(message.peerCallID)
            write.u16(0)
            write.u32(message.errors.crc)
            write.u32(message.errors.framing)
            write.u32(message.errors.hardwareOverruns)
            write.u32(message.errors.bufferOverruns)
            write.u32(message.errors.timeOuts)
            write.u32(message.errors.alignment)
        case .setLinkInfo(let message):
            write.u16(message.peerCallID)
            write.u16(0)
            write.u32(message.sendACCM)
            write.u32(message.receiveACCM)
        }
        return write.bytes
    }
}

/// Reads big-endian fields from bytes whose length has been checked.
private struct Reader {
    private var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

    mutating func u8() -> UInt8 { rest.removeFirst() }
    mutating func u16() -> UInt16 { UInt16(u8()) << 8 | UInt16(u8()) }
    mutating func u32() -> UInt32 { UInt32(u16()) << 16 | UInt32(u16()) }
    mutating func skip(_ count: Int) { rest.removeFirst(count) }
    mutating func text(_ width: Int) -> FixedText {
        defer { rest.removeFirst(width) }
        return FixedText(bytes: rest.prefix(width), width: width)
    }
    mutating func name() -> FixedText { text(WireFacts.nameLength) }
}

private struct Writer {
    private(set) var bytes: [UInt8] = []

    init(capacity: Int) { bytes.reserveCapacity(capacity) }

    mutating func u8(_ value: UInt8) { bytes.append(value) }
    mutating func u16(_ value: UInt16) {
        u8(UInt8(value >> 8))
        u8(UInt8(truncatingIfNeeded: value))
    }
    mutating func u32(_ value: UInt32) {
        u16(UInt16(value >> 16))
        u16(UInt16(truncatingIfNeeded: value))
    }
    mutating func text(_ value: FixedText) { bytes.append(contentsOf: value.bytes) }
}
