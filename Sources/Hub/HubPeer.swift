import Addresses
import Authentication

/// A peer as a hub has to know it: one of our identities, or a tunnel of ours.
public struct HubPeer: Sendable, Equatable {
    /// For people: `user ann`. nil where nobody said.
    public var comment: String?
    /// Base64 of 32 bytes, canonical.
    public var publicKey: String
    public var allowedIPs: Set<IPPrefix>
    /// 32 bytes.
    public var presharedKey: Secret?

    public init(comment: String? = nil, publicKey: String, allowedIPs: Set<IPPrefix> = [], presharedKey: Secret? = nil) {
        self.comment = comment
        self.publicKey = publicKey
        self.allowedIPs = allowedIPs
        self.presharedKey = presharedKey
    }

    /// A `[Peer]` section as wg(8) reads it.
    public var section: String {
        var lines = ["[Peer]"]
        if let comment { lines.append("# \(comment.onOneLine)") }
        lines.append("PublicKey = \(publicKey)")
        lines.append("AllowedIPs = \(allowedIPsText)")
        if let presharedKeyText { lines.append("PresharedKey = \(presharedKeyText)") }
        return lines.joined(separator: "\n") + "\n"
    }

    /// Base64, for text that has to hold it. Never for a log.
    public var presharedKeyText: String? { presharedKey?.base64 }

    var allowedIPsText: String { allowedIPs.sorted().map(\.description).joined(separator: ", ") }
}

extension Sequence<HubPeer> {
    /// The sections of all, with an empty line between them.
    public var sections: String { map(\.section).joined(separator: "\n") }
}

extension Secret {
    fileprivate var base64: String {
        var text: [UInt8] = []
        withUnsafeBytes { WireGuardKey.encode($0, onto: &text) }
        return String(decoding: text, as: UTF8.self)
    }
}

extension String {
    /// A comment must not become a line of its own.
    var onOneLine: String { String(unicodeScalars.map { $0.properties.generalCategory == .control ? " " : Character($0) }) }
}
