// A whole session, either role, under a hostile peer and a busy owner: frames, answers, time. The promises of the action list are
// checked after every step.

import Addresses

@testable import PPP

private struct Input {
    private var rest: ArraySlice<UInt8>
    init(_ bytes: [UInt8]) { rest = bytes[...] }
    var isAtEnd: Bool { rest.isEmpty }
    mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }
    /// One length byte and so many bytes, or what is left.
    mutating func bytes() -> [UInt8] {
        let count = Int(byte())
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }
}

private struct Numbers: RandomNumberGenerator, Sendable {
    var state: UInt64 = 1
    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 31
    }
}

private let keys = MPPEStartKeys(
    send: MPPEStartKey([UInt8](repeating: 1, count: 16))!, receive: MPPEStartKey([UInt8](repeating: 2, count: 16))!)
private let protocols: [UInt16] = [0xC021, 0xC223, 0x80FD, 0x8021, 0xC023, 0x8057, 0x0021, 0x00FD]

/// What the owner knows from the actions.
private struct Owner {
    var requests: [UInt16: [UInt8]] = [:]
    var chap: UInt8 = 0
    var questions: [UInt8] = []
    var addresses = 0
    var isUp = false
    var receives = false
    var transmits = false
    var receiveKeyIsNew = true
    var isOver = false

    mutating func take(_ actions: [PPPAction], required: Bool) {
        precondition(actions.count < 100, "a flood of actions")
        for action in actions {
            precondition(!isOver, "an action after the end")
            switch action {
            case .send(let number, let payload):
                guard let packet = ControlPacket(payload) else { preconditionFailure("a packet that cannot be parsed") }
                precondition(packet.bytes == payload && payload.count <= 1500)
                if packet.code == 1 { requests[number] = payload }
                if number == 0xC223 { chap = packet.identifier }
                if number == 0x80FD, packet.code == 2, required { precondition(receives, "an Ack before the receive key") }
            case .authenticate(let credentials):
                questions.append(credentials.identifier)
                precondition(questions.count == 1, "two verdicts are out")
            case .allocateAddress:
                addresses += 1
                precondition(addresses == 1, "two addresses are out")
            case .setKey(.receive, let parameters): receives = parameters != nil
            case .setKey(.transmit, let parameters): transmits = parameters != nil
            case .networkUp:
                precondition(!isUp && (!required || receives && transmits))
                isUp = true
            case .networkDown:
                precondition(isUp)
                isUp = false
            case .terminated:
                precondition(!isUp && !receives && !transmits, "the end leaves something behind")
                isOver = true
            default: break
            }
        }
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    var input = Input(Array(UnsafeBufferPointer(start: start, count: count)))
    let variant = input.byte()
    var configuration: PPPConfiguration
    switch variant & 7 {
    case 0: configuration = .windowsClient()
    case 1: configuration = .pppdClient()
    case 2: configuration = .embeddedClient()
    default: configuration = PPPConfiguration(role: .server)
    }
    if variant & 8 != 0 { configuration.encryption.mode = .optional }
    if variant & 16 != 0 { configuration.encryption.allowsStateful = true }
    if variant & 32 != 0 { configuration.rechallengeInterval = .seconds(30) }
    if variant & 64 != 0 { configuration.authentication = [.msCHAPv2, .pap] }
    let required = configuration.encryption.mode == .required
    var now = ContinuousClock.now
    var session = PPPSession(configuration: configuration, random: Numbers())
    var owner = Owner()
    owner.take(session.start(now: now), required: required)
    while !input.isAtEnd {
        let kind = input.byte()
        let number = protocols[Int(kind >> 4) % protocols.count]
        var actions: [PPPAction]
        switch kind & 15 {
        case 0, 1, 2: actions = session.receive(protocol: number, payload: input.bytes(), now: now)
        case 3, 4:
            // The body is the input's, code, identifier and length are right.
            let packet = ControlPacket(code: input.byte() % 16, identifier: input.byte(), data: input.bytes())
            actions = session.receive(protocol: number, payload: packet.bytes, now: now)
        case 5, 6, 7:
            // An answer to our latest request: Ack, or a Nak or Reject with the input's options.
            guard let request = owner.requests[number] else { continue }
            let answers: [UInt8] = [2, 3, 4]
            let code = answers[Int(kind & 15) - 5]
            let body = code == 2 ? Array(request[4...]) : input.bytes()
            actions = session.receive(
                protocol: number, payload: ControlPacket(code: code, identifier: request[1], data: body).bytes, now: now)
        case 8:
            let body = CHAPMessage.value([UInt8](repeating: kind, count: 49), name: input.bytes())
            actions = session.receive(
                protocol: 0xC223, payload: ControlPacket(code: 2, identifier: owner.chap, data: body).bytes, now: now)
        case 9:
            let verdict: AuthenticationVerdict =
                kind & 0x30 != 0 ? .accept(authenticatorResponse: "S=00", keys: kind & 0x10 != 0 ? keys : nil)
                : .reject(code: 691, retry: kind & 0x40 != 0, message: "no")
            let identifier = owner.questions.popLast()
            guard let identifier else { continue }
            actions = session.authenticated(identifier: identifier, verdict, now: now)
        case 10:
            guard owner.addresses > 0 else { continue }
            owner.addresses -= 1
            let assignment = AddressAssignment(local: IPAddress(v4: 0x0A08_0001), peer: IPAddress(v4: 0x0A08_000A))
            actions = kind & 0x80 == 0 ? session.assign(assignment, now: now) : session.refuseAddress(now: now)
        case 11:
            actions = session.respond(
                identifier: owner.chap, peerChallenge: [UInt8](repeating: 1, count: 16), ntResponse: [UInt8](repeating: 2, count: 24),
                userName: [1], now: now)
        case 12: actions = session.verifiedSuccess(keys: keys, now: now)
        case 13:
            // Every due timer, one by one: time has to move on.
            now += .seconds(Int(kind >> 4))
            var rounds = 0
            while let due = session.deadline, due <= now {
                owner.take(session.timer(now: now), required: required)
                rounds += 1
                precondition(rounds < 20, "the timer does not move on")
            }
            continue
        case 14: actions = session.decryptionLost(now: now)
        default:
            guard kind >> 4 > 13 else { continue }
            actions = kind >> 4 == 14 ? session.close(reason: .administrative("bye"), now: now) : session.lowerLayerDown(now: now)
        }
        owner.take(actions, required: required)
    }
    // Left alone, with nobody answering, every session ends.
    for _ in 0..<400 {
        guard let due = session.deadline else { break }
        now = max(now, due)
        owner.take(session.timer(now: now), required: required)
    }
    precondition(owner.isOver || configuration.echoInterval == nil || session.echo.refused, "a dead link lives on")
    return 0
}
