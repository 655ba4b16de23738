// CHAP and PAP, both ends: packets, verdicts and time in any order.

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

private func server(_ method: AuthenticationMethod, _ input: inout Input) {
    var configuration = PPPConfiguration(role: .server)
    configuration.rechallengeInterval = .seconds(60)
    var random = RandomSource(Numbers())
    var now = ContinuousClock.now
    var authenticator = Authenticator(method: method, configuration: configuration, random: &random)
    var identifier: UInt8 = 0
    var open: PPPCredentials?
    var granted: [UInt8]?
    var over = false
    var outputs = authenticator.start(now: now, random: &random)
    while true {
        for output in outputs {
            precondition(!over, "something after the end")
            switch output {
            case .send(let number, let packet):
                precondition((number == PPPProtocol.pap) == (method == .pap))
                precondition(ControlPacket(packet.bytes) == packet && packet.bytes.count < 600)
                identifier = packet.identifier
            case .authenticate(let credentials):
                precondition(open == nil, "a second question before the first was answered")
                if case .msCHAPv2(let response) = credentials {
                    precondition(
                        response.authenticatorChallenge.count == 16 && response.peerChallenge.count == 16 && response.ntResponse.count == 24)
                }
                open = credentials
            case .accepted(let user, let live, let again):
                precondition(again == (granted != nil) && (granted == nil || granted == user), "the user changed")
                precondition(!again || live == nil, "a repeated authentication touches the keys")
                granted = user
            case .refused, .note: break
            case .gaveUp: over = true
            }
        }
        outputs = []
        guard !input.isAtEnd else { return }
        let kind = input.byte()
        switch kind % 5 {
        case 0, 1:
            let bytes = input.bytes()
            guard var packet = ControlPacket(bytes) else { continue }
            if kind & 0x80 != 0 { packet.identifier = identifier }
            outputs = authenticator.receive(packet)
        case 2:
            // A response of the right shape.
            let name = input.bytes()
            let value = [UInt8](repeating: kind, count: 49)
            let code = method == .pap ? PAPCode.request : CHAPCode.response
            let body = method == .pap ? CHAPMessage.value(name, name: []) + CHAPMessage.value(name, name: []) : CHAPMessage.value(value, name: name)
            outputs = authenticator.receive(ControlPacket(code: code, identifier: identifier &+ (kind >> 7), data: body))
        case 3:
            let verdict: AuthenticationVerdict =
                kind & 0x80 != 0
                ? .accept(authenticatorResponse: "S=00", keys: keys) : .reject(code: 691, retry: kind & 0x40 != 0, message: "no")
            let asked = open
            open = nil
            outputs = authenticator.judged(identifier: asked?.identifier ?? kind, verdict, now: now, random: &random)
            precondition(asked != nil || outputs.isEmpty, "a verdict that nobody asked for counts")
        default:
            now += .seconds(Int(kind >> 4))
            outputs = authenticator.timer(now: now, random: &random)
            precondition(authenticator.deadline.map { $0 > now } ?? true, "the timer does not move on")
        }
    }
}

private func client(_ input: inout Input) {
    var supplicant = Supplicant(configuration: PPPConfiguration(role: .client))
    var now = ContinuousClock.now
    while !input.isAtEnd {
        let kind = input.byte()
        var outputs: [Supplicant.Output] = []
        switch kind % 4 {
        case 0, 1:
            guard let packet = ControlPacket(input.bytes()) else { continue }
            outputs = supplicant.receive(packet)
        case 2:
            outputs = supplicant.respond(
                identifier: input.byte(), peerChallenge: [UInt8](repeating: 1, count: 16), ntResponse: [UInt8](repeating: 2, count: 24),
                userName: input.bytes(), now: now)
        default:
            if kind & 0x80 != 0 { _ = supplicant.verified() }
            now += .seconds(Int(kind >> 4))
            outputs = supplicant.timer(now: now)
            precondition(supplicant.deadline.map { $0 > now } ?? true, "the timer does not move on")
        }
        for case .challenged(let challenge) in outputs { precondition(challenge.challenge.count == 16) }
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    var input = Input(Array(UnsafeBufferPointer(start: start, count: count)))
    let variant = input.byte()
    switch variant & 3 {
    case 0: server(.msCHAPv2, &input)
    case 1: server(.msCHAPv1, &input)
    case 2: server(.pap, &input)
    default: client(&input)
    }
    return 0
}
