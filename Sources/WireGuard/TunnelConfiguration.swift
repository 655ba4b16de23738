import Addresses
import Netlink

/// Where a peer is: an address, or a host name that is looked up again from time to time.
public enum PeerEndpoint: Hashable, Sendable, LosslessStringConvertible {
    case address(Endpoint)
    case name(String, port: UInt16)

    /// `192.0.2.1:51820`, `[2001:db8::1]:51820`, `hub.example.net:51820`
    public init?(_ text: String) {
        if let endpoint = Endpoint(text) {
            guard endpoint.port != 0, !endpoint.address.isUnspecified else { return nil }
            self = .address(endpoint)
            return
        }
        guard let colon = text.lastIndex(of: ":") else { return nil }
        let host = text[..<colon]
        let digits = text[text.index(after: colon)...]
        guard let port = UInt16(digits), port != 0, digits.allSatisfy(\.isNumber), Self.isHostName(host) else { return nil }
        self = .name(String(host), port: port)
    }

    public var description: String {
        switch self {
        case .address(let endpoint): endpoint.description
        case .name(let host, let port): "\(host):\(port)"
        }
    }

    /// RFC 1123 section 2.1: letters, digits, hyphens and dots. A name of digits and dots only is a mistyped address.
    private static func isHostName(_ text: Substring) -> Bool {
        let labels = text.split(separator: ".", omittingEmptySubsequences: false)
        guard text.utf8.count <= 253, !text.isEmpty, text.contains(where: { $0.isLetter }) else { return false }
        return (labels.last == "" ? labels.dropLast() : labels[...]).allSatisfy { label in
            (1...63).contains(label.utf8.count) && label.first != "-" && label.last != "-"
                && label.allSatisfy { $0.isASCII && ($0.isLetter || $0.isNumber || $0 == "-" || $0 == "_") }
        }
    }
}

/// An address on a tunnel interface, such as `10.8.0.1/24`; host bits are kept.
public struct TunnelAddress: Hashable, Sendable, LosslessStringConvertible {
    public var address: IPAddress
    public var prefixLength: Int

    public init(_ address: IPAddress, prefixLength: Int? = nil) {
        self.address = address
        self.prefixLength = prefixLength ?? address.family.bitCount
    }

    public init?(_ text: String) {
        let parts = text.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = IPAddress(String(parts[0])) else { return nil }
        self.init(address)
        guard parts.count == 2 else { return }
        guard let length = Int(parts[1]), String(length) == parts[1], (0...address.family.bitCount).contains(length) else {
            return nil
        }
        prefixLength = length
    }

    public var description: String { "\(address)/\(prefixLength)" }
}

public struct PeerConfiguration: Equatable, Sendable {
    public var publicKey: PublicKey
    public var endpoint: PeerEndpoint?
    public var allowedIPs: Set<IPPrefix>
    public var presharedKey: PresharedKey?
    /// Seconds; 0 is off.
    public var keepalive: UInt16

    public init(
        publicKey: PublicKey, endpoint: PeerEndpoint? = nil, allowedIPs: Set<IPPrefix>, presharedKey: PresharedKey? = nil,
        keepalive: UInt16 = 0
    ) {
        self.publicKey = publicKey
        self.endpoint = endpoint
        self.allowedIPs = allowedIPs
        self.presharedKey = presharedKey
        self.keepalive = keepalive
    }
}

/// A tunnel as it should be: one interface, one private key.
public struct TunnelConfiguration: Equatable, Sendable {
    public var interfaceName: String
    public var privateKey: PrivateKey
    /// nil leaves the choice to the device.
    public var listenPort: UInt16?
    /// Mark of the encrypted packets (SO_MARK); 0 is none.
    public var fwmark: UInt32
    public var mtu: UInt32
    public var addresses: [TunnelAddress]
    public var peers: [PeerConfiguration]

    /// The inner MTU that fits an outer path of 1500 over IPv6: 1500 - 40 (IPv6) - 8 (UDP) - 32 (WireGuard).
    public static let defaultMTU: UInt32 = 1420

    public init(
        interfaceName: String, privateKey: PrivateKey, listenPort: UInt16? = nil, fwmark: UInt32 = 0,
        mtu: UInt32 = TunnelConfiguration.defaultMTU, addresses: [TunnelAddress] = [], peers: [PeerConfiguration] = []
    ) {
        self.interfaceName = interfaceName
        self.privateKey = privateKey
        self.listenPort = listenPort
        self.fwmark = fwmark
        self.mtu = mtu
        self.addresses = addresses
        self.peers = peers
    }

    /// What a device would refuse, or silently take in another way than it was meant.
    public func validate() throws {
        func fail(_ reason: String) -> TunnelError { .configuration(interface: interfaceName, reason: reason) }
        try InterfaceName.validate(interfaceName)
        guard (576...65455).contains(mtu) else { throw fail("MTU \(mtu) is not between 576 and 65455") }
        var owners: [IPPrefix: PublicKey] = [:]
        var keys: Set<PublicKey> = []
        let own = privateKey.publicKey
        for peer in peers {
            guard keys.insert(peer.publicKey).inserted else { throw fail("peer \(peer.publicKey) is listed twice") }
            // The device ignores such a peer without a word.
            guard peer.publicKey != own else { throw fail("peer \(peer.publicKey) has the tunnel's own key") }
            for prefix in peer.allowedIPs {
                // The last peer would get it, silently.
                if let other = owners.updateValue(peer.publicKey, forKey: prefix) {
                    throw fail("allowed IP \(prefix) belongs to two peers, \(other) and \(peer.publicKey)")
                }
            }
        }
    }
}

public enum InterfaceName {
    /// dev_valid_name of the kernel, and no `%`, which it takes for a pattern.
    public static func validate(_ name: String) throws {
        let bytes = Array(name.utf8)
        guard (1...LinkRequest.longestName).contains(bytes.count), name != ".", name != "..", name != "all", name != "default",
            bytes.allSatisfy({
                $0 > 0x20 && $0 < 0x7F && ![UInt8(ascii: "/"), UInt8(ascii: ":"), UInt8(ascii: "%")].contains($0)
            })
        else {
            throw TunnelError.configuration(
                interface: name, reason: "an interface name has 1 to 15 printable characters without space, / : %")
        }
    }
}
