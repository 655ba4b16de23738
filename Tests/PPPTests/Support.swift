import Addresses
import Testing

@testable import PPP

/// SplitMix64: the same numbers on every run.
struct SeededGenerator: RandomNumberGenerator, Sendable {
    var state: UInt64

    init(_ seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var z = state
        z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
        z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
        return z ^ (z >> 31)
    }
}

let t0 = ContinuousClock.now
let serverKeys = MPPEStartKeys(
    send: MPPEStartKey([UInt8](repeating: 0xA1, count: 16))!, receive: MPPEStartKey([UInt8](repeating: 0xB2, count: 16))!)
let clientKeys = MPPEStartKeys(send: serverKeys.receive, receive: serverKeys.send)
let assignment = AddressAssignment(
    local: IPAddress("10.8.0.1")!, peer: IPAddress("10.8.0.10")!, dns: [IPAddress("10.8.0.53")!])

func hex(_ text: some StringProtocol) -> [UInt8] {
    let digits = text.filter { !$0.isWhitespace }.map { UInt8($0.hexDigitValue!) }
    return stride(from: 0, to: digits.count, by: 2).map { digits[$0] << 4 | digits[$0 + 1] }
}

extension [PPPAction] {
    /// The frames of one protocol, in order.
    func frames(_ number: UInt16) -> [ControlPacket] {
        compactMap { if case .send(number, let payload) = $0 { ControlPacket(payload) } else { nil } }
    }
    func frames(_ number: UInt16, code: UInt8) -> [ControlPacket] { frames(number).filter { $0.code == code } }
    var sends: Int { count { if case .send = $0 { true } else { false } } }
    var credentials: PPPCredentials? { compactMap { if case .authenticate(let value) = $0 { value } else { nil } }.first }
    var networkUp: NetworkParameters? { compactMap { if case .networkUp(let value) = $0 { value } else { nil } }.first }
    var termination: TerminationReason? { compactMap { if case .terminated(let value) = $0 { value } else { nil } }.first }
    var notes: [PPPNote] { compactMap { if case .note(let note) = $0 { note } else { nil } } }
}

/// A server session in the hands of a test that plays the client, packet by packet.
struct Bench {
    var session: PPPSession
    var now = t0
    /// Everything so far.
    var log: [PPPAction] = []
    /// What the last step returned.
    var last: [PPPAction] = []
    private var requests: [UInt16: ControlPacket] = [:]

    init(seed: UInt64 = 1, _ adjust: (inout PPPConfiguration) -> Void = { _ in }) {
        var configuration = PPPConfiguration(role: .server)
        adjust(&configuration)
        session = PPPSession(configuration: configuration, random: SeededGenerator(seed))
        note(session.start(now: now))
    }

    mutating func note(_ actions: [PPPAction]) {
        last = actions
        log += actions
        for case .send(let number, let payload) in actions {
            if let packet = ControlPacket(payload), packet.code == Code.configureRequest { requests[number] = packet }
        }
    }

    mutating func receive(_ number: UInt16, _ packet: ControlPacket) {
        note(session.receive(protocol: number, payload: packet.bytes, now: now))
    }
    mutating func receive(_ number: UInt16, code: UInt8, id: UInt8 = 1, _ data: [UInt8] = []) {
        receive(number, ControlPacket(code: code, identifier: id, data: data))
    }
    mutating func ask(_ number: UInt16, id: UInt8 = 1, _ options: [ConfigurationOption]) {
        receive(number, code: Code.configureRequest, id: id, options.bytes)
    }
    /// Our latest Configure-Request of a protocol.
    func request(_ number: UInt16) -> ControlPacket { requests[number]! }
    func options(_ number: UInt16) -> [ConfigurationOption] { ConfigurationOption.parse(request(number).data)! }
    mutating func acknowledge(_ number: UInt16) {
        let request = request(number)
        receive(number, code: Code.configureAck, id: request.identifier, Array(request.data))
    }
    mutating func advance(_ duration: Duration) {
        let end = now + duration
        var actions: [PPPAction] = []
        while let due = session.deadline, due <= end {
            now = max(now, due)
            note(session.timer(now: now))
            actions += last
        }
        now = end
        last = actions
    }

    // ---- The steps of an ordinary client ----

    mutating func openLink(_ options: [ConfigurationOption] = [ConfigurationOption(type: 5, UInt32(0x1234_5678))]) {
        acknowledge(PPPProtocol.lcp)
        ask(PPPProtocol.lcp, options)
    }
    var challenge: ControlPacket { log.frames(PPPProtocol.chap, code: CHAPCode.challenge).last! }
    static func response(_ user: String = "lab", fill: UInt8 = 7) -> [UInt8] {
        let value = CHAPMessage.msCHAPv2Value(
            peerChallenge: [UInt8](repeating: fill, count: 16), ntResponse: [UInt8](repeating: fill, count: 24))
        return CHAPMessage.value(value, name: Array(user.utf8))
    }
    static let accept = AuthenticationVerdict.accept(
        authenticatorResponse: "S=" + String(repeating: "0F", count: 20), keys: serverKeys)
    mutating func respond(_ user: String = "lab", fill: UInt8 = 7) {
        receive(PPPProtocol.chap, code: CHAPCode.response, id: challenge.identifier, Self.response(user, fill: fill))
    }
    mutating func authenticate(_ verdict: AuthenticationVerdict = Self.accept) {
        respond()
        note(session.authenticated(identifier: challenge.identifier, verdict, now: now))
    }
    static let mppe = ConfigurationOption(type: 18, UInt32(0x0100_0040))
    mutating func openEncryption() {
        ask(PPPProtocol.ccp, [Self.mppe])
        acknowledge(PPPProtocol.ccp)
    }
    mutating func openNetwork() {
        note(session.assign(assignment, now: now))
        acknowledge(PPPProtocol.ipcp)
        ask(PPPProtocol.ipcp, [ConfigurationOption(type: 3, UInt32(0x0A08_000A))])
    }
    mutating func openAll() {
        openLink()
        authenticate()
        openEncryption()
        openNetwork()
    }
}
