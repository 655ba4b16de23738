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
        var ppp = PPPConfiguration.windowsClient(hostName: "TILL")
        ppp.probesIPv6 = true
        return LegacyProfile(control: .windows, ppp: ppp)
    }()

    /// pptp-linux and pppd 2.4 with the options of the recorded sessions (novj) and Debian's echo settings.
    public static let pppd: LegacyProfile = {
        var ppp = PPPConfiguration.pppdClient()
        ppp.requestsHeaderCompression = false
        ppp.echoInterval = .seconds(30)
        ppp.echoFailures = 4
        // pppd does not hurry.
        ppp.retransmission.firstRequests = []
        return LegacyProfile(control: .pptpLinux, ppp: ppp)
    }()

    /// The firmware of a small router or controller: a larger MRU, no magic number, uncompressed headers on the link, Van Jacobson
    /// compression and name servers asked for, echoes every ten seconds.
    public static let embedded: LegacyProfile = {
        var ppp = PPPConfiguration.embeddedClient()
        ppp.requestsNameServers = true
        ppp.requestsHeaderCompression = true
        ppp.echoInterval = .seconds(10)
        return LegacyProfile(control: .embedded, ppp: ppp)
    }()
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

/// What the client insists on.
public enum LegacyEncryption: Sendable, Equatable {
    /// Data in the clear; CCP is refused.
    case none
    case mppe(bits: Strength, stateful: Bool)

    public enum Strength: Int, Sendable, CaseIterable {
        case bits40 = 40
        case bits56 = 56
        case bits128 = 128

        var option: MPPEStrengths {
            switch self {
            case .bits40: .bits40
            case .bits56: .bits56
            case .bits128: .bits128
            }
        }
    }
}

extension LegacyProfile {
    /// Stateful is asked for when wanted, and taken when the server wants it; otherwise only stateless will do.
    public mutating func encrypt(_ encryption: LegacyEncryption) {
        switch encryption {
        case .none: ppp.encryption = EncryptionPolicy(mode: .none, strengths: [])
        case .mppe(let bits, let stateful):
            ppp.encryption = EncryptionPolicy(mode: .required, strengths: bits.option, allowsStateful: stateful)
            ppp.encryption.requestsStateful = stateful
        }
    }
}
