import Addresses
import SessionMapper
import Settings
import Store
import WireGuard

// Users who are invited connect to the access listener, beside those of the configuration.
extension GatewayService {
    /// Of the configuration, and invited ones that it does not name.
    func nativeUsers(_ configuration: CausewayConfiguration, _ known: IdentityRegistry.Known) async throws -> [NativeUser] {
        let configured = try configuration.nativeUsers(known.identities)
        let names = Set(configured.map(\.name)), keys = Set(configured.map(\.publicKey))
        let rates = Dictionary(configuration.users.entries.map { ($0.displayName, $0.attributes) }, uniquingKeysWith: { first, _ in first })
        let invited = await desk?.nativeUsers() ?? []
        return configured
            + invited.filter { !names.contains($0.name) && !keys.contains($0.publicKey) && configuration.tunnel(named: $0.tunnel) != nil }
            .map { user in
                var user = user
                user.rate = rates[user.name]?.rate
                user.group = rates[user.name]?.group
                return user
            }.sorted { $0.name < $1.name }
    }

    func migration() -> MigrationDesk? { desk }

    func invitedChanged() async throws {
        try await inTurn {
            guard let access = await self.configuration.access, let listener = await self.accessListener, let controller = await self.controller else {
                throw GatewayError("there is no [access] listener: nobody can connect")
            }
            let users = try await self.nativeUsers(self.configuration, self.known)
            try await listener.apply(access, users: users)
            await controller.setNatives(users)
        }
    }

    func terms(for user: String, publicKey: PublicKey, keeping old: PeerLink?) async throws -> InvitationTerms {
        guard let access = configuration.access, let controller else {
            throw GatewayError("there is no [access] in the configuration: users have nowhere to connect to")
        }
        guard !access.peers.contains(where: { $0.user == user }) else {
            throw GatewayError("user \"\(user)\" has an [[access.peer]] in the configuration already")
        }
        if let other = access.peers.first(where: { $0.publicKey == "\(publicKey)" }) {
            throw GatewayError("this key is the one of user \"\(other.user)\" ([[access.peer]] in the configuration): each device has its own")
        }
        guard let key = access.privateKey.withUnsafeBytes({ PrivateKey(bytes: $0) }) else { throw GatewayError("the access key has not 32 bytes") }
        let attributes = configuration.users.entries.first { $0.displayName == user }?.attributes
        let tunnelName = attributes?.tunnel ?? access.tunnel
        let endpoint: String
        if let given = access.endpoint {
            endpoint = "\(given)"
        } else if let address = configuration.listeners.first(where: { !$0.address.isUnspecified })?.address {
            endpoint = "\(Endpoint(address, access.listenPort))"
        } else {
            throw GatewayError("access.endpoint is missing: users have to be told where to connect to, and every [[listen]] is for all addresses")
        }
        let pool = attributes?.pool ?? configuration.listeners.first { $0.tunnel == tunnelName }?.pool ?? configuration.listeners.first?.pool
        var address = attributes?.staticAddress ?? known.identities[tunnelName]?[user]?.address
        if address == nil, let old, old.tunnel == tunnelName { address = old.allowedIPs.first?.address }
        if address == nil, let pool { address = await controller.addressToKeep(for: user, in: pool) }
        guard let address else { throw GatewayError("no address is free for user \"\(user)\"") }
        let networks = access.clientNetworks.isEmpty
            ? configuration.tunnel(named: tunnelName)?.peers.flatMap { $0.allowedIPs } ?? [] : access.clientNetworks
        return InvitationTerms(
            tunnel: tunnelName, address: address, prefixes: attributes?.prefixes ?? [], mtu: access.mtu, dns: configuration.ppp.dns,
            gatewayPublicKey: key.publicKey, endpoint: endpoint, allowedIPs: networks)
    }
}

extension SessionController {
    /// The one that the user has now, had last, or would get. From here on it is the user's.
    func addressToKeep(for user: String, in pool: String) -> IPAddress? {
        let open = sessionsOfUser[user]?.compactMap { sessions[$0]?.assignment }.first { $0.pool == pool }
        guard let address = open?.address ?? mapper.remember(user, in: pool) else { return nil }
        nativeReservations.append(Reservation(user: user, prefixes: [IPPrefix(address)]))
        reserve()
        return address
    }
}
