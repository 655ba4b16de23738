import Addresses
import Testing

@testable import PPTP

let start = ContinuousClock.now

extension ContinuousClock.Instant {
    /// Seconds after the beginning of the test run.
    static func at(_ seconds: Double) -> Self { start + .seconds(seconds) }
}

/// One message of every type, each field with a value of its own, so that two swapped fields show.
let samples: [Message] = [
    .startRequest(
        StartRequest(
            protocolVersion: 0x0102, framing: Framing(rawValue: 0x0304_0506), bearer: Bearer(rawValue: 0x0708_090A),
            maximumChannels: 0x0B0C, firmware: 0x0D0E, hostName: FixedText("host", width: 64),
            vendor: FixedText("vendor", width: 64))),
    .startReply(
        StartReply(
            protocolVersion: 0x0102, result: StartResult(rawValue: 3), error: ErrorCode(rawValue: 4),
            framing: Framing(rawValue: 0x0506_0708), bearer: Bearer(rawValue: 0x090A_0B0C), maximumChannels: 0x0D0E,
            firmware: 0x0F10, hostName: FixedText("host", width: 64), vendor: FixedText("vendor", width: 64))),
    .stopRequest(StopRequest(reason: .localShutdown)),
    .stopReply(StopReply(result: .generalError, error: .pacError)),
    .echoRequest(EchoRequest(identifier: 0x0102_0304)),
    .echoReply(EchoReply(identifier: 0x0102_0304, result: .generalError, error: .badValue)),
    .outgoingCallRequest(callRequest(0x0102)),
    .outgoingCallReply(
        OutgoingCallReply(
            callID: 0x0102, peerCallID: 0x0304, result: .busy, error: .badFormat, causeCode: 0x0506, connectSpeed: 0x0708_090A,
            receiveWindow: 0x0B0C, processingDelay: 0x0D0E, physicalChannel: 0x0F10_1112)),
    .incomingCallRequest(
        IncomingCallRequest(
            callID: 0x0102, serial: 0x0304, bearer: Bearer(rawValue: 0x0506_0708), physicalChannel: 0x090A_0B0C,
            dialedNumberLength: 0x0D0E, dialingNumberLength: 0x0F10, dialedNumber: FixedText("dialed", width: 64),
            dialingNumber: FixedText("dialing", width: 64), subaddress: FixedText("sub", width: 64))),
    .incomingCallReply(
        IncomingCallReply(
            callID: 0x0102, peerCallID: 0x0304, result: .doNotAccept, error: .noResource, receiveWindow: 0x0506,
            transmitDelay: 0x0708)),
    .incomingCallConnected(
        IncomingCallConnected(
            peerCallID: 0x0102, connectSpeed: 0x0304_0506, receiveWindow: 0x0708, transmitDelay: 0x090A, framing: .synchronous)),
    .callClearRequest(CallClearRequest(callID: 0x0102)),
    .callDisconnectNotify(
        CallDisconnectNotify(
            callID: 0x0102, result: .request, error: .badCallID, causeCode: 0x0304, statistics: FixedText("bytes 7", width: 128))),
    .wanErrorNotify(WANErrorNotify(peerCallID: 0x0102, errors: wanErrors)),
    .setLinkInfo(SetLinkInfo(peerCallID: 0x0102, sendACCM: 0x0304_0506, receiveACCM: 0x0708_090A)),
]

let wanErrors: WANErrors = {
    var errors = WANErrors()
    errors.crc = 1
    errors.framing = 2
    errors.hardwareOverruns = 3
    errors.bufferOverruns = 4
    errors.timeOuts = 5
    errors.alignment = 6
    return errors
}()

func startRequest(version: UInt16 = 0x0100) -> Message {
    .startRequest(
        StartRequest(
            protocolVersion: version, framing: .asynchronous, bearer: .analog, maximumChannels: 0, firmware: 0x0201,
            hostName: FixedText("till-7", width: 64), vendor: FixedText("ACME", width: 64)))
}

func callRequest(_ callID: UInt16) -> OutgoingCallRequest {
    OutgoingCallRequest(
        callID: callID, serial: 0x0304, minimumBPS: 0x0506_0708, maximumBPS: 0x090A_0B0C, bearer: Bearer(rawValue: 0x0D0E_0F10),
        framing: Framing(rawValue: 0x1112_1314), receiveWindow: 0x1516, processingDelay: 0x1718, phoneNumberLength: 5,
        phoneNumber: FixedText("12345", width: 64), subaddress: FixedText("sub", width: 64))
}

/// A small generator whose sequence is fixed by its seed (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    var state: UInt64
    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

/// Cuts `bytes` at random places.
func chunks(_ bytes: [UInt8], seed: UInt64) -> [[UInt8]] {
    var generator = SeededGenerator(state: seed)
    var rest = bytes[...]
    var pieces: [[UInt8]] = []
    while !rest.isEmpty {
        let count = min(rest.count, Int.random(in: 1...200, using: &generator))
        pieces.append(Array(rest.prefix(count)))
        rest.removeFirst(count)
    }
    return pieces
}
