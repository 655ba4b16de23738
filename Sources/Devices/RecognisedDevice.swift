/// Kinds of PPTP clients; the raw value is what listings and reports show.
public enum DeviceKind: String, Sendable, Codable, CaseIterable {
    case windows = "Windows 10/11"
    case olderWindows = "Windows XP/7/8"
    case apple = "macOS/iOS (old)"
    case android = "Android"
    case routerOS = "MikroTik RouterOS"
    case pppd = "pptp-linux/pppd"
    case mpd = "FreeBSD/mpd5"
    case embedded = "embedded"
    case unknown = "unknown"
}

/// Whether a kind of device can become a WireGuard peer.
public enum WireGuardAbility: String, Sendable, Codable {
    /// It is built in, or a client for it exists.
    case yes
    /// With newer software on the same device, where there is one.
    case afterUpgrade = "after-upgrade"
    /// Not by itself: it needs a router or gateway before it, or a successor.
    case no
    case unknown
}

extension DeviceKind {
    public var wireGuard: WireGuardAbility {
        switch self {
        case .windows, .android, .pppd, .mpd: .yes
        case .olderWindows, .apple, .routerOS: .afterUpgrade
        case .embedded: .no
        case .unknown: .unknown
        }
    }

    /// What has to be done, for an administrator.
    public var advice: String {
        switch self {
        case .windows: "install WireGuard for Windows"
        case .olderWindows: "WireGuard for Windows needs Windows 10: upgrade, or replace the machine"
        case .apple: "the WireGuard app needs a system that no longer has PPTP: upgrade, or replace the device"
        case .android: "install the WireGuard app"
        case .routerOS: "upgrade to RouterOS 7 or newer, which has WireGuard"
        case .pppd: "use the kernel's WireGuard (Linux 5.6 or newer) or wireguard-go; on a router, if its firmware has it"
        case .mpd: "use FreeBSD's WireGuard (if_wg, or wireguard-go)"
        case .embedded: "no WireGuard known: keep it behind a router that has it, or replace it"
        case .unknown: "find out what it is"
        }
    }
}

/// A guess, with everything that speaks for it.
public struct RecognisedDevice: Sendable, Equatable, Codable {
    public enum Confidence: String, Sendable, Codable { case none, low, medium, high }

    /// Where we know from that a sign means what we say.
    public enum Source: Sendable, Equatable, Codable {
        /// Seen in a recorded session of such a device.
        case capture
        /// Published: source code, a specification, somebody's log.
        case document(String)
        /// Our own conclusion.
        case inference

        public var text: String {
            switch self {
            case .capture: "seen in a capture"
            case .document(let name): "from \(name)"
            case .inference: "inferred"
            }
        }
    }

    public struct Evidence: Sendable, Equatable, Codable {
        public var text: String
        public var source: Source
    }

    public var kind: DeviceKind
    public var confidence: Confidence
    public var evidence: [Evidence]

    /// One line for each piece of evidence.
    public var evidenceLines: [String] { evidence.map { "\($0.text) (\($0.source.text))" } }
}
