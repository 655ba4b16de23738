import PPP
import PPTP

/// How one family of legacy clients behaves from the first control message to the last: on the control connection and inside PPP.
public struct LegacyProfile: Sendable {
    public var control: ClientProfile
    public var ppp: PPPConfiguration

    public init(control: ClientProfile, ppp: PPPConfiguration) {
        self.control = control
        self.ppp = ppp
    }

    /// Windows' built-in client, with "maximum strength encryption".
    public static let windows: LegacyProfile = {
        var ppp = PPPConfiguration(role: .client)
        ppp.lcp.mru = 1400
        // Callback control and multilink are offered and taken back when the server rejects them.
        ppp.lcp.others = [
            ConfigurationOption(type: LCPOption.callback, data: [LCPOption.callbackControlProtocol]),
            ConfigurationOption(type: LCPOption.mrru, data: [0x06, 0x4E]),
            ConfigurationOption(type: LCPOption.endpointDiscriminator, data: [LCPOption.locallyAssigned] + windowsEndpoint),
        ]
        ppp.requestsNameServers = true
        ppp.negotiatesInParallel = true
        ppp.probesIPv6 = true
        ppp.identifications = ["MSRASV5.20", "MSRAS-0-TILL"]
        ppp.echoInterval = nil
        return LegacyProfile(control: .windows, ppp: ppp)
    }()

    /// pptp-linux and pppd 2.4 with the options of the recorded sessions and Debian's echo settings.
    public static let pppd: LegacyProfile = {
        var ppp = PPPConfiguration(role: .client)
        ppp.lcp.mru = 1400
        ppp.lcp.accm = 0
        ppp.probesIPv6 = true
        ppp.echoInterval = .seconds(30)
        ppp.echoFailures = 4
        ppp.retransmission.firstRequests = []
        return LegacyProfile(control: .pptpLinux, ppp: ppp)
    }()

    /// The firmware of a small router or controller: a larger MRU, no header compression on the link, Van Jacobson asked for, no IPv6.
    public static let embedded: LegacyProfile = {
        var ppp = PPPConfiguration(role: .client)
        ppp.lcp.mru = 1460
        ppp.lcp.protocolFieldCompression = false
        ppp.lcp.addressControlCompression = false
        ppp.requestsNameServers = true
        ppp.requestsHeaderCompression = true
        ppp.echoInterval = .seconds(10)
        return LegacyProfile(control: .embedded, ppp: ppp)
    }()

    /// 20 bytes that a Windows machine keeps for good; any will do.
    private static let windowsEndpoint: [UInt8] = [
        0x6B, 0x1D, 0x5A, 0x0C, 0x24, 0x9E, 0x47, 0x1F, 0x83, 0xD2, 0x0E, 0x66, 0xB7, 0x5C, 0x19, 0xA4, 0, 0, 0, 0,
    ]

    /// RFC 1570 section 2.3, RFC 1990 section 5.1.
    private enum LCPOption {
        static let callback: UInt8 = 13
        static let callbackControlProtocol: UInt8 = 6
        static let mrru: UInt8 = 17
        static let endpointDiscriminator: UInt8 = 19
        static let locallyAssigned: UInt8 = 1
    }
}

/// The profiles by the names that a command line has for them.
public enum LegacyProfileName: String, Sendable, CaseIterable {
    case windows, pppd, embedded

    public var profile: LegacyProfile {
        switch self {
        case .windows: .windows
        case .pppd: .pppd
        case .embedded: .embedded
        }
    }
}

extension LegacyProfile {
    /// The encryption that the client insists on; nil: none, and CCP is refused.
    public mutating func encrypt(_ strengths: MPPEStrengths?, stateful: Bool = false) {
        ppp.encryption.mode = strengths == nil ? .none : .required
        ppp.encryption.strengths = strengths ?? []
        ppp.encryption.requestsStateful = stateful
        ppp.encryption.allowsStateful = stateful
    }
}
