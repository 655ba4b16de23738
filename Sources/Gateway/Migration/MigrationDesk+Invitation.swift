import Addresses
import Foundation
import Migration
import Store
import WireGuard

/// What a user's device needs to connect to the access listener. `POST /v1/users/{name}/invitation`.
public struct InvitationView: Codable, Sendable, Equatable {
    public var user: String
    public var publicKey: PublicKey
    /// Inner addresses of the user: the same as with PPTP.
    public var addresses: [IPPrefix]
    public var mtu: Int
    public var dns: [IPAddress]
    public var gatewayPublicKey: PublicKey
    public var endpoint: String
    /// Networks that the device sends into the tunnel.
    public var allowedIPs: [IPPrefix]
}

/// What the gateway knows about where a user belongs.
struct InvitationTerms: Sendable {
    /// The one of the users file, in its spelling.
    var tunnel: String
    var address: IPAddress
    /// Networks behind the user.
    var prefixes: [IPPrefix]
    var mtu: Int
    var dns: [IPAddress]
    var gatewayPublicKey: PublicKey
    var endpoint: String
    var allowedIPs: [IPPrefix]
}

/// Where invited users connect.
protocol InvitationPlace: AnyObject, Sendable {
    /// Throws if nobody can be invited, or this user cannot, in words for an administrator. Whoever is invited again keeps the address, unless
    /// the configuration says another one by now.
    func terms(for user: String, publicKey: PublicKey, keeping old: PeerLink?) async throws -> InvitationTerms
    /// Serves the users who are invited now, and nobody else.
    func invitedChanged() async throws
}

extension MigrationDesk {
    /// Makes the user a peer of the access listener. The private key stays with whoever made it.
    func invite(_ name: String, publicKey: PublicKey, replacing: Bool, by actor: Actor) async throws -> InvitationView {
        await turn()
        defer { endTurn() }
        guard let place else { throw StoreError.unavailable("the gateway is starting or stopping") }
        guard let user = try await store.user(name), user.removedAt == nil else { throw StoreError.noSuch("user \"\(name)\"") }
        guard handedOver[name] == nil else {
            throw StoreError.exists("a hand-over to user \"\(name)\": they are known to the hub itself (causeway migrate take-back undoes that)")
        }
        let old = invited[name]
        if old != nil, !replacing { throw StoreError.exists("an invitation of user \"\(name)\" (ask for another one with --replace)") }
        let terms = try await place.terms(for: name, publicKey: publicKey, keeping: old)
        let addresses = [IPPrefix(terms.address)] + terms.prefixes
        let now = SessionController.unixTime
        let link = try await store.link(
            NewPeerLink(user: name, publicKey: publicKey.bytes, tunnel: terms.tunnel, allowedIPs: addresses, holder: .user), at: now, by: actor)
        invited[name] = link
        do { try await place.invitedChanged() } catch {
            // The old key works on, now and after a restart.
            invited[name] = old
            await revoke(link, at: now, by: actor)
            throw error
        }
        if let old { await revoke(old, at: now, by: actor) }
        try await change(name, by: actor) { $0.invited(at: now, by: .administrator(actor.name)) }
        return InvitationView(
            user: name, publicKey: publicKey, addresses: [addresses[0]], mtu: terms.mtu, dns: terms.dns, gatewayPublicKey: terms.gatewayPublicKey,
            endpoint: terms.endpoint, allowedIPs: terms.allowedIPs)
    }

    /// The peer is taken away at once.
    func withdraw(_ name: String, by actor: Actor) async throws {
        await turn()
        defer { endTurn() }
        try await withdrawNow(name, by: actor)
    }

    /// The history stays; the user's own peer goes. Should that fail, the user is still there, and it can be tried again.
    func remove(_ name: String, by actor: Actor) async throws {
        await turn()
        defer { endTurn() }
        guard handedOver[name] == nil else {
            throw StoreError.unfit(
                "user \"\(name)\" is known to the hub under the identity that was handed over: take it back first (causeway migrate take-back \(name) --new-key)")
        }
        if invited[name] != nil { try await withdrawNow(name, by: actor) }
        try await store.removeUser(name, at: SessionController.unixTime, by: actor)
        try await tracker.refresh()
    }

    private func withdrawNow(_ name: String, by actor: Actor) async throws {
        guard let link = invited[name] else { throw StoreError.noSuch("invitation of user \"\(name)\"") }
        let now = SessionController.unixTime
        try await store.revoke(link.id, at: now, by: actor)
        invited[name] = nil
        // Whatever the listener says: the invitation is over, and with the next start or reload the peer is gone in any case.
        do { try await place?.invitedChanged() } catch { logger.error("the peer of user \"\(name)\" could not be taken away yet: \(error)") }
        try await change(name, by: actor) { $0.invitationWithdrawn(at: now, by: .administrator(actor.name)) }
    }

    /// Of a peer that nobody serves any more.
    func revoke(_ link: PeerLink, at now: UnixTime, by actor: Actor) async {
        do { try await store.revoke(link.id, at: now, by: actor) } catch {
            logger.error("peer \(link.id) of user \"\(link.user)\" could not be marked as revoked: \(error)")
        }
    }

    /// Peers that users hold, as they were left.
    func loadInvited() async throws(StoreError) {
        var after: LinkID?
        repeat {
            let page = try await store.links(of: nil, after: after, limit: 1000)
            for link in page.elements where link.holder == .user && link.revokedAt == nil {
                if link.handedOverAt == nil { invited[link.user] = link } else { handedOver[link.user] = link }
            }
            after = page.next
        } while after != nil
    }

    /// Invited users as the access listener serves them.
    func nativeUsers() -> [NativeUser] {
        invited.values.compactMap { link in
            guard let key = PublicKey(bytes: link.publicKey), let address = link.allowedIPs.first?.address else { return nil }
            return NativeUser(
                name: link.user, publicKey: key, address: address, prefixes: Array(link.allowedIPs.dropFirst()), tunnel: link.tunnel)
        }
    }
}
