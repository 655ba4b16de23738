import Addresses
import Authentication
import Identities
import Settings
import WireGuard

/// A user's identity on its way to the user's device, with the hub that knows it already.
struct HandedIdentity: Sendable {
    var identity: Identity
    /// Networks behind the user.
    var prefixes: [IPPrefix]
    var mtu: Int
    var dns: [IPAddress]
    var hub: CausewayConfiguration.Hub
    var endpoint: String
    var allowedIPs: [IPPrefix]
}

/// Where identities are that a user can be given.
protocol HandOverPlace: AnyObject, Sendable {
    /// Stops using the user's identity everywhere, and only then gives it away.
    func handOver(_ user: String) async throws -> HandedIdentity
    /// The user's device has it: the key is wiped here.
    func confirmHandOver(of user: String) async throws
    /// Throws if `takeBack` would.
    func expectTakeBack(_ user: String, renewing: Bool) async throws
    /// Uses it again. `renewing`: under another key, which the hub has to be told; the one that was given away is worth nothing then.
    func takeBack(_ user: String, renewing: Bool) async throws
}

// In mode `per-user` the hub knows each user as the peer they will be. On the day they move, they take over that very identity, and nothing
// changes at the hub. One identity has one live holder: ours is gone before anybody else has it.
extension GatewayService: HandOverPlace {
    /// How long the user's sessions may take to end.
    private static let patience = Duration.seconds(20)

    func handOver(_ user: String) async throws -> HandedIdentity {
        try await inTurn { try await self.handOverNow(user) }
    }

    private func handOverNow(_ user: String) async throws -> HandedIdentity {
        let (tunnel, identity) = try await identity(of: user)
        if identity.isHandedOver {
            throw GatewayError("user \"\(user)\" has had their identity since it was handed over; take it back first (causeway migrate take-back \(user)), or hand out the file again that was made then")
        }
        if configuration.access?.peers.contains(where: { $0.user == user && $0.tunnel == tunnel.name }) == true {
            throw GatewayError("user \"\(user)\" has an [[access.peer]] in the configuration, which uses the identity: take it out first")
        }
        // One hub has to be enough: a device has one peer for each network.
        guard let peer = tunnel.peers.first, tunnel.peers.count == 1 else {
            throw GatewayError("tunnel \"\(tunnel.name)\" has \(tunnel.peers.count) peers: a user's device can be told of one hub only")
        }
        guard let endpoint = peer.primary.endpoints.first else {
            throw GatewayError("tunnel \"\(tunnel.name)\": the hub has no endpoint, and a device has to be told where to connect to")
        }
        let taken = try await identityStore.handOver(identity.id)
        do {
            try await followIdentities()
            try await untilUnused(user, in: tunnel.name)
        } catch {
            try await identityStore.takeBack(identity.id)
            try await followIdentities()
            throw error
        }
        logger.notice("identity \"\(user)\" of tunnel \"\(tunnel.name)\" is the user's own now (public key \(taken.publicKey))")
        let attributes = configuration.users.entries.first { $0.displayName == user }?.attributes
        return HandedIdentity(
            identity: taken, prefixes: attributes?.prefixes ?? [], mtu: tunnel.mtu, dns: configuration.ppp.dns, hub: peer.primary,
            endpoint: "\(endpoint)", allowedIPs: peer.allowedIPs)
    }

    func confirmHandOver(of user: String) async throws {
        try await inTurn {
            let (tunnel, identity) = try await self.identity(of: user)
            try await self.identityStore.wipe(identity.id)
            self.logger.notice("identity \"\(user)\" of tunnel \"\(tunnel.name)\": the user's device has been seen with it, its key is wiped here")
        }
    }

    func expectTakeBack(_ user: String, renewing: Bool) async throws {
        let (_, identity) = try await identity(of: user)
        try identity.expectTakeBack(renewing: renewing)
    }

    func takeBack(_ user: String, renewing: Bool) async throws {
        try await inTurn {
            let (tunnel, identity) = try await self.identity(of: user)
            if renewing { try await self.identityStore.renew(identity.id) } else { try await self.identityStore.takeBack(identity.id) }
            try await self.followIdentities()
            self.logger.notice(
                "identity \"\(user)\" of tunnel \"\(tunnel.name)\" is ours again\(renewing ? ", with another key, which the hub has to be told" : "")")
        }
    }

    /// The one that the user leaves through in a tunnel of the mode `per-user`.
    private func identity(of user: String) async throws -> (CausewayConfiguration.Tunnel, Identity) {
        let attributes = configuration.users.entries.first { $0.displayName == user }?.attributes
        var found: [(CausewayConfiguration.Tunnel, Identity)] = []
        for tunnel in configuration.tunnels where tunnel.mode == .perUser && (attributes?.tunnel ?? tunnel.name) == tunnel.name {
            if let identity = try await identityStore.identity(Identity.ID(tunnel: tunnel.name, kind: .user, name: user)) { found.append((tunnel, identity)) }
        }
        guard let first = found.first else {
            throw GatewayError("user \"\(user)\" has no identity of their own: only tunnels with mode = \"per-user\" have them (invite the user instead)")
        }
        guard found.count == 1 else {
            throw GatewayError(
                "user \"\(user)\" has an identity in each of the tunnels \(found.map { "\"\($0.0.name)\"" }.joined(separator: ", ")): set tunnel in a [[user]] first")
        }
        return first
    }

    /// The tunnels as they are, with the identities that we hold now.
    private func followIdentities() async throws {
        guard let tunnelManager, let controller else { throw GatewayError("the gateway is starting or stopping; try again") }
        let known = try await registry.prepare(configuration)
        let endings = try await tunnelManager.apply(configuration, identities: known.identities, live: await controller.livePrefixes())
        self.known = known
        await desk?.speaks(for: IdentityRegistry.links(known, configuration))
        await controller.adopt(configuration, identityReservations: known.reservations)
        await controller.setHandedOver(known.handedOver)
        await controller.end(endings)
        await tellHubs()
    }

    private func untilUnused(_ user: String, in tunnel: String) async throws {
        let deadline = ContinuousClock.now + Self.patience
        while await tunnelManager?.uses(user, in: tunnel) == true {
            guard ContinuousClock.now < deadline else {
                throw GatewayError("the sessions of user \"\(user)\" did not end within \(Self.patience.components.seconds) s; nothing was changed, try again")
            }
            await tunnelManager?.removeUnused(of: tunnel)
            try await Task.sleep(for: .milliseconds(50))
        }
    }
}
