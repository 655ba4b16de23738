import PPP
import PPTP

/// What a PPTP client has said about itself, and in which order it asks for things. Nothing here is proven: it tells one kind of device from
/// another for an administrator, and decides nothing.
public struct DeviceFingerprint: Sendable, Equatable, Codable {
    /// The Start-Control-Connection-Request (RFC 2637 section 2.1).
    public var start: PeerIdentity?
    /// The Outgoing-Call-Request (section 2.7).
    public var call: OutgoingCallRequest?
    /// The options of its first Configure-Request of each protocol, in its order.
    public private(set) var requests: [UInt16: [ConfigurationOption]] = [:]
    /// LCP Identifications (RFC 1570 section 2.1).
    public private(set) var identifications: [[UInt8]] = []
    /// It has sent Set-Link-Info (RFC 2637 section 2.15).
    public var setsLinkInfo = false
    /// It logged in as `DOMAIN\user` (RFC 2759 section 4).
    public var namesDomain = false

    public init(start: PeerIdentity? = nil, call: OutgoingCallRequest? = nil) {
        self.start = start
        self.call = call
    }

    /// A stranger decides how much it says; more than this is not kept.
    private static let protocolsKept = 8, optionsKept = 32, identificationsKept = 4

    public mutating func note(_ note: PPPNote) {
        switch note {
        case .peerAsks(let number, let options):
            guard requests[number] == nil, requests.count < Self.protocolsKept else { return }
            requests[number] = Array(options.prefix(Self.optionsKept))
        case .identification(let bytes):
            // A client that negotiates again says the same again.
            guard identifications.count < Self.identificationsKept, !identifications.contains(bytes) else { return }
            identifications.append(bytes)
        default: break
        }
    }

    /// The same text each time for the same device: what differs from call to call (magic numbers, call IDs, addresses) is left out.
    public var text: String {
        var parts: [String] = []
        if let start {
            parts.append("host=\(start.hostName) vendor=\(start.vendor) firmware=\(start.firmware)")
            parts.append("framing=\(start.framing.rawValue) bearer=\(start.bearer.rawValue) channels=\(start.maximumChannels)")
        }
        if let call {
            parts.append("bps=\(call.minimumBPS)-\(call.maximumBPS) window=\(call.receiveWindow) delay=\(call.processingDelay)")
        }
        for (number, options) in requests.sorted(by: { $0.key < $1.key }) {
            parts.append("\(String(number, radix: 16))=" + options.map { Self.text(of: $0, number) }.joined(separator: ","))
        }
        parts += identifications.map { "id=\(Self.text(ofIdentification: $0))" }
        if setsLinkInfo { parts.append("link-info") }
        return parts.joined(separator: " ")
    }

    private static func text(of option: ConfigurationOption, _ number: UInt16) -> String {
        let isConstant =
            switch (number, option.type) {
            case (PPPProtocol.lcp, Option.magicNumber), (PPPProtocol.lcp, Option.endpointDiscriminator), (PPPProtocol.ipv6cp, _): false
            // Addresses that it had last time; zeros ask for any.
            case (PPPProtocol.ipcp, Option.address), (PPPProtocol.ipcp, 129...): option.data.allSatisfy { $0 == 0 }
            default: true
            }
        let data = option.data.prefix(8).map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
        return isConstant && !option.data.isEmpty ? "\(option.type):\(data)" : "\(option.type)"
    }

    /// Windows' third Identification is sixteen random bytes.
    static func text(ofIdentification bytes: [UInt8]) -> String {
        guard !bytes.isEmpty, bytes.allSatisfy({ (0x21...0x7E).contains($0) }) else { return "\(bytes.count)-bytes" }
        return String(decoding: bytes.prefix(64), as: UTF8.self)
    }
}

/// Types of options that tell devices apart (RFC 1661 section 6, RFC 1570, RFC 1990, RFC 1332, RFC 3078).
enum Option {
    static let mru: UInt8 = 1
    static let magicNumber: UInt8 = 5
    static let endpointDiscriminator: UInt8 = 19
    static let address: UInt8 = 3
}
