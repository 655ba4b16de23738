import Addresses
import Authentication
import Hub
import Settings
import WireGuard

extension CausewayConfiguration {
    /// The peers that a hub of this tunnel has to have, in an order that does not depend on when they were made.
    ///
    /// A retired identity stays among them until it is pruned: a user who is missing from a file by mistake is not cut off.
    ///
    /// - Parameters:
    ///   - identities: of any tunnel; the others are left out.
    ///   - hub: which of the tunnel's hubs asks, by its public key: they may have different preshared keys. nil: the first.
    public func hubPeers(of tunnel: Tunnel, identities: [Identity], hub: String? = nil) throws(IdentityError) -> [HubPeer] {
        let hubs = tunnel.peers.flatMap(\.hubs)
        guard let asking = hub.map({ key in hubs.first { $0.publicKey == key } }) ?? hubs.first else {
            throw IdentityError("tunnel \"\(tunnel.name)\" has no peer with the key \(hub ?? "")")
        }
        switch tunnel.mode {
        case .shared:
            guard let key = tunnel.privateKey?.withUnsafeBytes({ PrivateKey(bytes: $0) }) else {
                throw IdentityError("tunnel \"\(tunnel.name)\": the private key has not 32 bytes")
            }
            return [
                HubPeer(
                    comment: "tunnel \(tunnel.name)", publicKey: "\(key.publicKey)", allowedIPs: Set(innerPrefixes(ofTunnel: tunnel.name)),
                    presharedKey: asking.presharedKey)
            ]
        case .group, .perUser:
            let kind: Identity.Kind = tunnel.mode == .group ? .group : .user
            let prefixes = prefixesByIdentity(of: tunnel)
            return identities.filter { $0.id.tunnel == tunnel.name && $0.id.kind == kind }.sorted { $0.id < $1.id }.map { identity in
                HubPeer(
                    comment: "\(kind.rawValue) \(identity.id.name)\(identity.isHandedOver ? ", in the user's hands" : identity.isRetired ? ", retired" : "")",
                    publicKey: "\(identity.publicKey)",
                    allowedIPs: Set((identity.addresses.map(IPPrefix.init) + (prefixes[identity.id.name] ?? [])).withoutContained()),
                    presharedKey: asking.presharedKey)
            }
        }
    }

    /// What a hub takes from each identity of a tunnel besides the identity's own address, by name.
    public func prefixesByIdentity(of tunnel: Tunnel) -> [String: [IPPrefix]] {
        switch tunnel.mode {
        case .shared: [:]
        case .group: groupPrefixes(of: tunnel)
        case .perUser: userPrefixes(of: tunnel)
        }
    }

    /// Networks behind each user.
    private func userPrefixes(of tunnel: Tunnel) -> [String: [IPPrefix]] {
        var found: [String: [IPPrefix]] = [:]
        for entry in users(ofTunnel: tunnel.name) { found[entry.displayName, default: []] += entry.attributes.prefixes }
        for peer in access?.peers ?? [] where peer.tunnel == tunnel.name { found[peer.user, default: []] += peer.prefixes }
        return found
    }

    /// The inner addresses of each group: its users' own, and the pools that they draw from with our end of those links.
    private func groupPrefixes(of tunnel: Tunnel) -> [String: [IPPrefix]] {
        var found: [String: [IPPrefix]] = [:]
        var pools: [String: Set<String>] = [:]
        for entry in users(ofTunnel: tunnel.name) {
            let group = entry.attributes.group ?? tunnel.defaultGroup
            found[group, default: []] += entry.attributes.ownPrefixes
            pools[group, default: []].formUnion(self.pools(drawnBy: entry.attributes, in: tunnel.name))
        }
        for peer in access?.peers ?? [] where peer.tunnel == tunnel.name {
            found[peer.group ?? tunnel.defaultGroup, default: []] += peer.ownPrefixes
        }
        for (group, names) in pools {
            for pool in self.pools where names.contains(pool.name) {
                found[group, default: []] += [IPPrefix(pool.gateway)] + pool.ranges.flatMap(\.prefixes)
            }
        }
        return found
    }
}
