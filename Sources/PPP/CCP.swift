/// CCP with its one option of interest, MPPE (RFC 1962, RFC 3078 section 2).
///
/// A Configure-Request of CCP speaks of what its sender is able to receive: ours decides over our receive key, the peer's over
/// our transmit key. The two may differ (one direction stateful, the other not).
struct CCPPolicy: OptionPolicy {
    static let number = PPPProtocol.ccp

    struct Agreement: Equatable, Sendable, Codable {
        var bits: Int
        var stateless: Bool
    }

    private let policy: EncryptionPolicy
    private let role: PPPConfiguration.Role
    private var strengths: MPPEStrengths
    private var stateless: Bool
    private var rejected = false

    /// What the peer encrypts with, if it acknowledges our latest request.
    private(set) var receive: Agreement?
    /// What the peer's request, which we acknowledged, says.
    private(set) var transmit: Agreement?
    /// The peer offers nothing that we may take.
    private(set) var refused = false

    init(configuration: PPPConfiguration) {
        policy = configuration.encryption
        role = configuration.role
        strengths = policy.strengths
        stateless = !policy.requestsStateful
    }

    mutating func restart(random: inout RandomSource) {
        strengths = policy.strengths
        stateless = !policy.requestsStateful
        rejected = false
        refused = false
        receive = nil
    }

    /// One strength, the best allowed: an acknowledged request has to name exactly one (RFC 3078 section 2.1).
    func request() -> [ConfigurationOption] {
        guard let agreement = wish else { return [] }
        return [Self.option(agreement)]
    }

    private var wish: Agreement? {
        guard !rejected, let bits = Self.best(strengths) else { return nil }
        return Agreement(bits: bits, stateless: stateless)
    }

    /// The receive key that has to be live before our Ack lets the peer send.
    var wanted: Agreement? { wish }

    // ---- The peer's request ----

    mutating func judge(_ options: [ConfigurationOption], random: inout RandomSource) -> Judgement {
        transmit = nil
        let others = options.repeated + options.filter { $0.type != MPPEOption.type || $0.uint32 == nil }
        if !others.isEmpty { return .reject(options.filter(others.contains)) }
        guard let option = options.first, let bits = option.uint32 else {
            // An empty request means "no compression": asked to think again, if encryption is needed.
            guard policy.mode == .required, let best = Self.best(policy.strengths) else { return .ack }
            return .nak([Self.option(Agreement(bits: best, stateless: true))])
        }
        let asked = Self.strengths(bits)
        let stateless = bits & MPPEOption.stateless != 0 || !policy.allowsStateful
        guard let strength = Self.best(asked.intersection(policy.strengths)) ?? Self.best(policy.strengths) else {
            return .reject(options)
        }
        let answer = Agreement(bits: strength, stateless: stateless)
        // Exactly one strength, no MPPC, no obsolete bit, stateless unless stateful is allowed: else this is what we would take.
        guard bits == Self.bits(answer) else { return .nak([Self.option(answer)]) }
        transmit = answer
        return .ack
    }

    // ---- The peer's answers ----

    mutating func acknowledged(_ options: [ConfigurationOption]) {
        receive = wish
    }

    mutating func naked(_ options: [ConfigurationOption], random: inout RandomSource) {
        guard let bits = options.first(where: { $0.type == MPPEOption.type })?.uint32 else { return }
        let common = Self.strengths(bits).intersection(policy.strengths)
        guard let best = Self.best(common) else {
            // No strength in common. With encryption required this is the end; else there is none.
            rejected = true
            refused = true
            return
        }
        strengths = Self.only(best)
        if bits & MPPEOption.stateless != 0 {
            stateless = true
        } else if policy.allowsStateful {
            stateless = false
        }
    }

    mutating func rejected(_ options: [ConfigurationOption]) {
        rejected = true
        refused = true
    }

    // ---- The supported bits (RFC 3078 section 2.1) ----

    static func option(_ agreement: Agreement) -> ConfigurationOption {
        ConfigurationOption(type: MPPEOption.type, bits(agreement))
    }

    static func bits(_ agreement: Agreement) -> UInt32 {
        let strength =
            switch agreement.bits {
            case 40: MPPEOption.bits40
            case 56: MPPEOption.bits56
            default: MPPEOption.bits128
            }
        return strength | (agreement.stateless ? MPPEOption.stateless : 0)
    }

    private static func strengths(_ bits: UInt32) -> MPPEStrengths {
        var strengths: MPPEStrengths = []
        if bits & MPPEOption.bits40 != 0 { strengths.insert(.bits40) }
        if bits & MPPEOption.bits56 != 0 { strengths.insert(.bits56) }
        if bits & MPPEOption.bits128 != 0 { strengths.insert(.bits128) }
        return strengths
    }

    private static func best(_ strengths: MPPEStrengths) -> Int? {
        strengths.contains(.bits128) ? 128 : strengths.contains(.bits56) ? 56 : strengths.contains(.bits40) ? 40 : nil
    }

    private static func only(_ bits: Int) -> MPPEStrengths { bits == 128 ? .bits128 : bits == 56 ? .bits56 : .bits40 }
}
