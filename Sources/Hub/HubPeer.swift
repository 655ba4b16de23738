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
}
