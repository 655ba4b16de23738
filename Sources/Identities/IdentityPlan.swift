import Addresses
import Authentication
import Settings

/// The identities that a configuration needs, and where their addresses come from.
public struct IdentityPlan: Sendable, Equatable {
    public struct Need: Sendable, Equatable {
        public var id: Identity.ID
        public var address: Source

        public init(_ id: Identity.ID, _ address: Source) {
            self.id = id
            self.address = address
        }
    }

    public enum Source: Sendable, Equatable {
        /// A group: its users' addresses are not its own.
        case none
        case fixed(IPAddress)
        /// Any free one of these pools, for good; if there are networks, one that lies in them.
        case pools([String], within: [IPPrefix]?)
    }

    /// In the order of the configuration; no id twice.
    public var needs: [Need]
    public var pools: [String: [AddressRange]]
    /// Static addresses and whose they are: never leased to somebody else.
    public var reserved: [IPAddress: String]

    public init(needs: [Need], pools: [String: [AddressRange]], reserved: [IPAddress: String] = [:]) {
        self.needs = needs
        self.pools = pools
        self.reserved = reserved
    }
}

extension IdentityPlan {
    /// What a store with these identities would do with the plan, or why it could not.
    public func preview(on identities: [Identity]) throws(IdentityError) -> IdentityChange {
        var byID = Dictionary(identities.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        // One key for all: they are thrown away.
        let key = KeyPair()
        return try Provisioning.carryOut(self, on: &byID, now: 0) { key }
    }

    /// Users and groups of every tunnel that is not in mode `shared`.
    public init(_ configuration: CausewayConfiguration) {
        let owned = configuration.users.entries.map { ($0.displayName, $0.attributes.staticAddress) }
            + (configuration.access?.peers ?? []).map { ($0.user, $0.address) }
        self.init(
            needs: configuration.tunnels.flatMap { Self.needs(of: $0, configuration) },
            pools: Dictionary(configuration.pools.map { ($0.name, $0.ranges) }, uniquingKeysWith: { first, _ in first }),
            reserved: Dictionary(
                owned.compactMap { user, address in address.map { ($0, user) } }, uniquingKeysWith: { first, _ in first }))
    }

    private static func needs(of tunnel: CausewayConfiguration.Tunnel, _ configuration: CausewayConfiguration) -> [Need] {
        switch tunnel.mode {
        case .shared: return []
        case .group:
            return configuration.identityNames(of: tunnel).sorted().map { Need(.init(tunnel: tunnel.name, kind: .group, name: $0), .none) }
        case .perUser:
            var seen: Set<String> = []
            let users = configuration.users(ofTunnel: tunnel.name).compactMap { entry -> Need? in
                guard entry.name != nil, entry.attributes.address != .refused, seen.insert(entry.displayName).inserted else { return nil }
                return Need(
                    .init(tunnel: tunnel.name, kind: .user, name: entry.displayName),
                    source(for: entry.attributes, in: tunnel.name, configuration))
            }
            let peers = (configuration.access?.peers ?? []).filter { $0.tunnel == tunnel.name && seen.insert($0.user).inserted }
            return users + peers.map { peer in
                // Without a tunnel: only pools of this one's listeners are offered.
                var attributes = UserAttributes()
                if let address = peer.address { attributes.address = .fixed(address) }
                return Need(.init(tunnel: tunnel.name, kind: .user, name: peer.user), source(for: attributes, in: tunnel.name, configuration))
            }
        }
    }

    private static func source(for user: UserAttributes, in tunnel: String, _ configuration: CausewayConfiguration) -> Source {
        if let address = user.staticAddress { return .fixed(address) }
        var networks: [IPPrefix]?
        if case .within(let prefixes) = user.address { networks = prefixes }
        return .pools(configuration.pools(drawnBy: user, in: tunnel), within: networks)
    }
}
