import Addresses
import Authentication

// Which inner addresses belong to which tunnel.

extension CausewayConfiguration {
    /// Every inner prefix that may appear as a source in this tunnel: pools, their gateways, static addresses, users' networks.
    public func innerPrefixes(ofTunnel name: String) -> [IPPrefix] {
        let users = users(ofTunnel: name).map(\.attributes)
        let listening = Set(listeners.filter { $0.tunnel == name }.map(\.pool)).union(users.compactMap(\.pool))
        var found: [IPPrefix] = []
        for pool in pools where listening.contains(pool.name) {
            found.append(IPPrefix(pool.gateway))
            for range in pool.ranges { found += range.prefixes }
        }
        for user in users { found += user.ownPrefixes }
        for peer in access?.peers ?? [] where peer.tunnel == name { found += peer.ownPrefixes }
        return found.withoutContained()
    }

    /// Users whose traffic may go through this tunnel: those who name it, and, where it is a listener's, those who name none.
    public func users(ofTunnel name: String) -> [UserDirectory.Entry] {
        let isDefault = listeners.contains { $0.tunnel == name }
        return users.entries.filter { entry in entry.attributes.tunnel.map { $0 == name } ?? isDefault }
    }
}

extension CausewayConfiguration {
    /// The pools that a user of this tunnel may get an address from.
    public func pools(drawnBy user: UserAttributes, in tunnel: String) -> [String] {
        switch user.address {
        case .fixed, .refused: []
        case .any, .within:
            user.pool.map { [$0] } ?? listeners.filter { user.tunnel != nil || $0.tunnel == tunnel }.map(\.pool).firstOfEach()
        }
    }

    /// The names of the identities that a tunnel needs: of its users or of their groups; none in mode `shared`.
    public func identityNames(of tunnel: Tunnel) -> Set<String> {
        let entries = users(ofTunnel: tunnel.name).filter { $0.attributes.address != .refused }
        let peers = (access?.peers ?? []).filter { $0.tunnel == tunnel.name }
        return switch tunnel.mode {
        case .shared: []
        case .perUser: Set(entries.filter { $0.name != nil }.map(\.displayName) + peers.map(\.user))
        case .group: Set(entries.map { $0.attributes.group ?? tunnel.defaultGroup } + peers.map { $0.group ?? tunnel.defaultGroup })
        }
    }
}

extension Sequence where Element: Hashable {
    /// In their order, each once.
    fileprivate func firstOfEach() -> [Element] {
        var seen: Set<Element> = []
        return filter { seen.insert($0).inserted }
    }
}

extension UserAttributes {
    /// The static address and the networks behind the user.
    public var ownPrefixes: [IPPrefix] { (staticAddress.map { [IPPrefix($0)] } ?? []) + prefixes }
}

extension CausewayConfiguration.Access.Peer {
    public var ownPrefixes: [IPPrefix] { (address.map { [IPPrefix($0)] } ?? []) + prefixes }
}

extension Sequence<IPPrefix> {
    /// Sorted, without those that lie in another one.
    public func withoutContained() -> [IPPrefix] {
        var result: [IPPrefix] = []
        // A prefix comes directly before everything inside it.
        for prefix in sorted() where result.last?.contains(prefix) != true { result.append(prefix) }
        return result
    }
}

extension AddressRange {
    /// The fewest prefixes that cover exactly this range.
    public var prefixes: [IPPrefix] {
        var result: [IPPrefix] = []
        var start: IPAddress? = first
        while let from = start, from <= last {
            var length = from.family.bitCount
            while length > 0, let wider = IPPrefix(from, length: length - 1), wider.last <= last { length -= 1 }
            let prefix = IPPrefix(from, length: length)!
            result.append(prefix)
            start = prefix.last.advanced(by: 1)
        }
        return result
    }
}
