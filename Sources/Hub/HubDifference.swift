import Addresses
import Authentication

/// What a hub has to change to know exactly the peers that it should.
public struct HubDifference: Sendable, Equatable {
    /// Missing at the hub.
    public var added: [HubPeer] = []
    /// As they should be; at the hub they have other networks, or another preshared key.
    public var changed: [HubPeer] = []
    /// As the hub has them.
    public var removed: [HubPeer] = []

    public var isEmpty: Bool { added.isEmpty && changed.isEmpty && removed.isEmpty }

    /// - Parameter keepsOthers: peers of the hub that are not ours are none of our business.
    public init(from current: [HubPeer], to wanted: [HubPeer], keepsOthers: Bool = false) {
        let known = Dictionary(current.map { ($0.publicKey, $0) }, uniquingKeysWith: { $1 })
        for peer in wanted {
            guard let now = known[peer.publicKey] else {
                added.append(peer)
                continue
            }
            if now.allowedIPs != peer.allowedIPs || now.presharedKey != peer.presharedKey { changed.append(peer) }
        }
        guard !keepsOthers else { return }
        let ours = Set(wanted.map(\.publicKey))
        removed = current.filter { !ours.contains($0.publicKey) }
    }

    /// Commands for bash on the hub. They hold the preshared keys that have to be set.
    public func commands(interface: String) -> String {
        var lines: [String] = []
        for peer in removed { lines += ["# remove", "wg set \(interface) peer \(peer.publicKey) remove"] }
        for (verb, peers) in [("change", changed), ("add", added)] {
            for peer in peers {
                lines.append("# \(verb)\(peer.comment.map { " \($0.onOneLine)" } ?? "")")
                lines.append(Self.set(peer, interface, isKnown: verb == "change"))
            }
        }
        return lines.map { $0 + "\n" }.joined()
    }

    private static func set(_ peer: HubPeer, _ interface: String, isKnown: Bool) -> String {
        let networks = peer.allowedIPs.sorted().map(\.description).joined(separator: ",")
        let command = "wg set \(interface) peer \(peer.publicKey) allowed-ips \"\(networks)\""
        if let key = peer.presharedKeyText { return "\(command) preshared-key /dev/stdin <<< '\(key)'" }
        // An empty file takes the key away.
        return isKnown ? "\(command) preshared-key /dev/null" : command
    }
}
