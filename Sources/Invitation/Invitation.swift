import Addresses
import Authentication

/// The WireGuard configuration that a user is handed: who they will be, and which peer they reach. It holds their private key unless they
/// have one of their own.
public struct Invitation: Sendable {
    /// Who reads it.
    public enum Form: Sendable {
        /// wg-quick(8) and the WireGuard apps: addresses, DNS and MTU are set as well.
        case quick
        /// `wg setconf` and `wg addconf` (wg(8)), which know keys, endpoints and networks only.
        case wg
    }

    /// Why no configuration can be made, in words for an administrator.
    public struct Problem: Error, Equatable, CustomStringConvertible { public var description: String }

    /// 32 bytes; nil: the user has made the key and puts it in.
    public var privateKey: Secret?
    /// The user's inner addresses; each is a network of its own (/32, /128).
    public let addresses: [IPAddress]
    public let dns: [IPAddress]
    public let mtu: UInt16?
    /// Of the hub or of our access listener: base64 of 32 bytes.
    public let peerPublicKey: String
    /// 32 bytes.
    public var presharedKey: Secret?
    /// `HOST:PORT`, the host a name, an IPv4 address or an IPv6 address in brackets.
    public let endpoint: String
    public let allowedIPs: [IPPrefix]
    /// Seconds; nil: off.
    public let keepalive: UInt16?
    /// For the person who opens the file: whose it is, until when.
    public let comments: [String]

    public init(
        privateKey: Secret?, addresses: [IPAddress], dns: [IPAddress] = [], mtu: UInt16? = nil, peerPublicKey: String,
        presharedKey: Secret? = nil, endpoint: String, allowedIPs: [IPPrefix], keepalive: UInt16? = nil, comments: [String] = []
    ) throws(Problem) {
        func demand(_ holds: Bool, _ text: String) throws(Problem) { if !holds { throw Problem(description: text) } }
        for key in [privateKey, presharedKey].compactMap({ $0 }) {
            try demand(key.count == WireGuardKey.length, "a key has \(key.count) bytes instead of \(WireGuardKey.length)")
        }
        try demand(WireGuardKey.canonical(peerPublicKey) != nil, "the peer's public key is not base64 of 32 bytes")
        try demand(!addresses.isEmpty, "the user has no address")
        try demand(!allowedIPs.isEmpty, "no network would be reached through the peer")
        try demand(Self.isEndpoint(endpoint), "\"\(endpoint.filter { $0 != "\n" })\" is not HOST:PORT")
        // RFC 791 and RFC 8200 section 5: what every host takes.
        let least: UInt16 = addresses.contains { $0.family == .v6 } ? 1280 : 576
        if let mtu { try demand(mtu >= least, "an MTU of \(mtu) is below \(least)") }
        self.privateKey = privateKey
        self.addresses = addresses
        self.dns = dns
        self.mtu = mtu
        self.peerPublicKey = peerPublicKey
        self.presharedKey = presharedKey
        self.endpoint = endpoint
        self.allowedIPs = allowedIPs
        self.keepalive = keepalive
        self.comments = comments
    }

    /// The file. Whoever writes it out sees to who may read it.
    public func text(_ form: Form = .quick) -> Secret {
        var text: [UInt8] = []
        // One piece of memory, wiped below: growing would leave copies of the key behind.
        text.reserveCapacity(1024 + 64 * (addresses.count + dns.count + allowedIPs.count) + comments.reduce(0) { $0 + 2 * $1.utf8.count })
        func line(_ parts: String) { text.append(contentsOf: (parts + "\n").utf8) }
        func key(_ name: String, _ secret: Secret) {
            text.append(contentsOf: "\(name) = ".utf8)
            secret.withUnsafeBytes { WireGuardKey.encode($0, onto: &text) }
            text.append(UInt8(ascii: "\n"))
        }
        for comment in comments { line("# " + String(comment.unicodeScalars.map { $0.properties.generalCategory == .control ? " " : Character($0) })) }
        line("[Interface]")
        if let privateKey { key("PrivateKey", privateKey) } else { line("# PrivateKey = the one that belongs to the public key you gave") }
        if form == .quick {
            line("Address = " + addresses.map { IPPrefix($0).description }.joined(separator: ", "))
            if !dns.isEmpty { line("DNS = " + dns.map(\.description).joined(separator: ", ")) }
            if let mtu { line("MTU = \(mtu)") }
        }
        line("")
        line("[Peer]")
        line("PublicKey = \(peerPublicKey)")
        if let presharedKey { key("PresharedKey", presharedKey) }
        line("AllowedIPs = " + allowedIPs.map(\.description).joined(separator: ", "))
        line("Endpoint = \(endpoint)")
        if let keepalive { line("PersistentKeepalive = \(keepalive)") }
        return Secret(count: text.count) { buffer in
            text.withUnsafeMutableBytes { bytes in
                buffer.copyMemory(from: UnsafeRawBufferPointer(bytes))
                bytes.initializeMemory(as: UInt8.self, repeating: 0)
            }
        }
    }

    static func isEndpoint(_ text: String) -> Bool {
        if Endpoint(text) != nil { return !text.hasSuffix(":0") }
        // A host name as DNS has them (RFC 1123 section 2.1).
        guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port != 0 else { return false }
        let host = text[..<colon]
        guard (1...253).contains(host.utf8.count) else { return false }
        return host.split(separator: ".", omittingEmptySubsequences: false).allSatisfy { label in
            (1...63).contains(label.utf8.count) && !label.hasPrefix("-") && !label.hasSuffix("-")
                && label.utf8.allSatisfy { $0 == UInt8(ascii: "-") || (0x30...0x39).contains($0) || (0x41...0x5A).contains($0) || (0x61...0x7A).contains($0) }
        } && !host.utf8.allSatisfy { $0 == UInt8(ascii: ".") || (0x30...0x39).contains($0) }
    }
}
