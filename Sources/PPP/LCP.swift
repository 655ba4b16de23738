/// LCP's options (RFC 1661 section 6), both ways.
struct LCPPolicy: OptionPolicy {
    static let number = PPPProtocol.lcp

    private let wishes: LCPWishes
    private let role: PPPConfiguration.Role
    private let methods: [AuthenticationMethod]

    // Our request.
    private var mru: UInt16?
    private var accm: UInt32?
    private var magic: UInt32?
    private var compressesProtocol = false
    private var compressesAddress = false
    private var others: [ConfigurationOption] = []
    /// Methods that may still be asked for, the one in our request first.
    private var offers: [AuthenticationMethod] = []

    /// The peer will not authenticate in any way that we take.
    private(set) var authenticationRefused = false
    private(set) var loops = 0

    // Outcome.
    private(set) var localMRU = defaultMRU
    private(set) var peerMRU = defaultMRU
    private(set) var peerMagic: UInt32 = 0
    private(set) var sendsPFC = false
    private(set) var sendsACFC = false
    /// Client: what the server wants of us.
    private(set) var demanded: AuthenticationMethod?

    init(configuration: PPPConfiguration) {
        wishes = configuration.lcp
        role = configuration.role
        // The client's side exists for MS-CHAPv2 only.
        methods = role == .server ? configuration.authentication : configuration.authentication.filter { $0 == .msCHAPv2 }
    }

    /// What the peer has to do once LCP is open.
    var method: AuthenticationMethod? { role == .server ? offers.first : nil }
    /// The number in our echoes; 0 when none was agreed on (RFC 1661 section 5.8).
    var localMagic: UInt32 { magic ?? 0 }
    var options: LinkOptions {
        LinkOptions(peerMRU: peerMRU, localMRU: localMRU, sendACFC: sendsACFC, sendPFC: sendsPFC)
    }

    mutating func restart(random: inout RandomSource) {
        mru = wishes.mru
        accm = wishes.accm
        magic = wishes.magicNumber ? Self.newMagic(&random) : nil
        compressesProtocol = wishes.protocolFieldCompression
        compressesAddress = wishes.addressControlCompression
        others = wishes.others
        offers = role == .server ? methods : []
        authenticationRefused = false
        localMRU = defaultMRU
    }

    private static func newMagic(_ random: inout RandomSource) -> UInt32 { UInt32.random(in: 1...UInt32.max, using: &random) }

    func request() -> [ConfigurationOption] {
        var options: [ConfigurationOption] = []
        if let mru { options.append(ConfigurationOption(type: LCPOption.mru, mru)) }
        if let accm { options.append(ConfigurationOption(type: LCPOption.accm, accm)) }
        if let method { options.append(Self.option(method)) }
        if let magic { options.append(ConfigurationOption(type: LCPOption.magicNumber, magic)) }
        if compressesProtocol { options.append(ConfigurationOption(type: LCPOption.protocolFieldCompression)) }
        if compressesAddress { options.append(ConfigurationOption(type: LCPOption.addressControlCompression)) }
        return options + others
    }

    // ---- The peer's request ----

    mutating func judge(_ options: [ConfigurationOption], random: inout RandomSource) -> Judgement {
        var refused = options.repeated
        var wanted: [ConfigurationOption] = []
        var mru = defaultMRU
        var peerMagic: UInt32 = 0
        var pfc = false
        var acfc = false
        var demanded: AuthenticationMethod?
        for option in options {
            switch option.type {
            case LCPOption.mru:
                guard let value = option.uint16 else { refused.append(option); continue }
                if value < Limit.minimumMRU {
                    wanted.append(ConfigurationOption(type: LCPOption.mru, Limit.minimumMRU))
                }
                mru = value
            case LCPOption.accm:
                // Without asynchronous framing the map has no meaning; any is as good (RFC 1662 section 7.1).
                if option.uint32 == nil { refused.append(option) }
            case LCPOption.authentication:
                if role == .server {
                    refused.append(option)
                } else if let asked = Self.method(option), methods.contains(asked) {
                    demanded = asked
                } else if let best = methods.first {
                    wanted.append(Self.option(best))
                } else {
                    refused.append(option)
                }
            case LCPOption.magicNumber:
                guard let value = option.uint32 else { refused.append(option); continue }
                let other = ConfigurationOption(type: LCPOption.magicNumber, Self.newMagic(&random))
                // Our own number: the line may be looped, and then the other options are ours as well (RFC 1661 section 6.4).
                if value != 0, value == magic {
                    loops += 1
                    return .nak([other])
                }
                loops = 0
                // Zero is not allowed.
                if value == 0 { wanted.append(other) }
                peerMagic = value
            case LCPOption.protocolFieldCompression:
                if option.data.isEmpty { pfc = true } else { refused.append(option) }
            case LCPOption.addressControlCompression:
                if option.data.isEmpty { acfc = true } else { refused.append(option) }
            default:
                // Callback, link quality, multilink and its discriminator among them: the peer does without.
                refused.append(option)
            }
        }
        if !refused.isEmpty { return .reject(options.filter(refused.contains)) }
        if !wanted.isEmpty { return .nak(wanted) }
        peerMRU = mru
        self.peerMagic = peerMagic
        sendsPFC = pfc
        sendsACFC = acfc
        self.demanded = demanded
        return .ack
    }

    // ---- The peer's answers ----

    mutating func acknowledged(_ options: [ConfigurationOption]) {
        localMRU = mru ?? defaultMRU
    }

    mutating func naked(_ options: [ConfigurationOption], random: inout RandomSource) {
        for option in options {
            switch option.type {
            case LCPOption.mru:
                // Also as a hint for a request without it. Larger than Ethernet's is no use to us.
                guard let value = option.uint16 else { continue }
                mru = value >= Limit.minimumMRU && value <= defaultMRU ? value : nil
            case LCPOption.accm:
                accm = accm == nil ? nil : option.uint32
            case LCPOption.authentication:
                refuseOffer(inFavourOf: Self.method(option))
            case LCPOption.magicNumber:
                guard magic != nil else { continue }
                loops += 1
                magic = Self.newMagic(&random)
            case LCPOption.protocolFieldCompression: compressesProtocol = false
            case LCPOption.addressControlCompression: compressesAddress = false
            default: others.removeAll { $0.type == option.type }
            }
        }
    }

    mutating func rejected(_ options: [ConfigurationOption]) {
        for option in options {
            switch option.type {
            case LCPOption.mru: mru = nil
            case LCPOption.accm: accm = nil
            case LCPOption.authentication:
                offers = []
                authenticationRefused = role == .server
            case LCPOption.magicNumber: magic = nil
            case LCPOption.protocolFieldCompression: compressesProtocol = false
            case LCPOption.addressControlCompression: compressesAddress = false
            default: others.removeAll { $0.type == option.type }
            }
        }
    }

    private mutating func refuseOffer(inFavourOf wish: AuthenticationMethod?) {
        guard role == .server, !offers.isEmpty else { return }
        offers.removeFirst()
        if let wish, let index = offers.firstIndex(of: wish) { offers.swapAt(0, index) }
        authenticationRefused = offers.isEmpty
    }

    // ---- The authentication option (RFC 1661 section 6.2) ----

    static func option(_ method: AuthenticationMethod) -> ConfigurationOption {
        switch method {
        case .msCHAPv2:
            ConfigurationOption(type: LCPOption.authentication, data: bigEndian(PPPProtocol.chap) + [CHAPAlgorithm.msCHAPv2])
        case .msCHAPv1:
            ConfigurationOption(type: LCPOption.authentication, data: bigEndian(PPPProtocol.chap) + [CHAPAlgorithm.msCHAPv1])
        case .pap: ConfigurationOption(type: LCPOption.authentication, PPPProtocol.pap)
        }
    }

    static func method(_ option: ConfigurationOption) -> AuthenticationMethod? {
        [.msCHAPv2, .msCHAPv1, .pap].first { Self.option($0) == option }
    }
}
