// CCP's options: a byte for the configuration, then the peer's requests and its answers to ours.

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

/// What a peer that does as it is told asks for next.
private func obey(_ judgement: Judgement, _ options: [ConfigurationOption]) -> [ConfigurationOption] {
    switch judgement {
    case .ack: return options
    case .reject(let refused):
        precondition(!refused.isEmpty, "an empty reject")
        var kept: [ConfigurationOption] = []
        var left = refused[...]
        for option in options {
            if option == left.first { left = left.dropFirst() } else { kept.append(option) }
        }
        precondition(left.isEmpty, "a reject must name the peer's options, in their order")
        return kept
    case .nak(let wanted):
        precondition(!wanted.isEmpty, "an empty Nak")
        var next = options.map { option in wanted.first { $0.type == option.type } ?? option }
        for option in wanted where !next.contains(where: { $0.type == option.type }) { next.append(option) }
        return next
    }
}

/// Judged over and over, an obedient peer gets its Ack within a few rounds.
private func settle(_ policy: inout some OptionPolicy, _ options: [ConfigurationOption], _ random: inout RandomSource) {
    var options = options
    for _ in 0..<8 {
        let judgement = policy.judge(options, random: &random)
        if judgement == .ack { return }
        options = obey(judgement, options)
    }
    preconditionFailure("an obedient peer gets no Ack")
}

private func answers(_ policy: inout some OptionPolicy, _ input: inout Input, _ random: inout RandomSource) {
    while !input.isAtEnd {
        let kind = input.byte() % 4
        let bytes = input.bytes()
        guard let options = ConfigurationOption.parse(bytes[...]) else { continue }
        precondition(options.bytes == bytes, "not the same bytes when rebuilt")
        switch kind {
        case 0: settle(&policy, options, &random)
        case 1: policy.naked(options, random: &random)
        case 2: policy.rejected(options)
        default: policy.acknowledged(policy.request())
        }
        let request = policy.request()
        precondition(request.bytes.count < 600 && request.repeated.isEmpty, "our own request repeats an option")
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    var input = Input(Array(UnsafeBufferPointer(start: start, count: count)))
    let variant = input.byte()
    var configuration = PPPConfiguration(role: .server)
    configuration.encryption.mode = variant & 1 == 0 ? .required : .optional
    configuration.encryption.strengths = variant & 2 == 0 ? .bits128 : variant & 4 == 0 ? [.bits40, .bits56, .bits128] : .bits40
    configuration.encryption.allowsStateful = variant & 8 != 0
    configuration.encryption.requestsStateful = variant & 24 == 24
    var random = RandomSource(Numbers())
    var policy = CCPPolicy(configuration: configuration)
    policy.restart(random: &random)
    answers(&policy, &input, &random)
    for agreement in [policy.transmit, policy.receive, policy.wanted].compactMap({ $0 }) {
        let strength: MPPEStrengths = agreement.bits == 128 ? .bits128 : agreement.bits == 56 ? .bits56 : .bits40
        precondition(configuration.encryption.strengths.contains(strength), "a strength that the configuration does not allow")
        precondition(agreement.stateless || configuration.encryption.allowsStateful, "stateful although it is not allowed")
    }
    return 0
}
