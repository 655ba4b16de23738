import Addresses
import Authentication
import Foundation
import Migration
import Store
import WireGuard

/// What a user's device needs to be the peer that the gateway has been for the user. `POST /v1/users/{name}/hand-over`. It holds the key.
public struct HandOverView: Codable, Sendable, Equatable {
    public var user: String
    public var publicKey: PublicKey
    /// Base64. Nowhere else from now on but in the gateway's state directory, until the hand-over is confirmed.
    public var privateKey: String
    public var presharedKey: String?
    public var addresses: [IPPrefix]
    public var mtu: Int
    public var dns: [IPAddress]
    public var hubPublicKey: PublicKey
    public var endpoint: String
    public var allowedIPs: [IPPrefix]
}

extension MigrationDesk {
    /// Gives the user the identity and the address that the gateway has been speaking with for them. Their PPTP sessions end.
    func handOver(_ name: String, by actor: Actor) async throws -> HandOverView {
        await turn()
        defer { endTurn() }
        let place = try handOverPlace()
        guard let user = try await store.user(name), user.removedAt == nil else { throw StoreError.noSuch("user \"\(name)\"") }
        guard invited[name] == nil else {
            throw StoreError.unfit("user \"\(name)\" has an invitation with a key of their own: withdraw it first (causeway migrate withdraw)")
        }
        let handed = try await place.handOver(name)
        let identity = handed.identity, now = SessionController.unixTime
        do {
            handedOver[name] = try await store.link(
                NewPeerLink(
                    user: name, publicKey: identity.publicKey.bytes, tunnel: identity.id.tunnel,
                    allowedIPs: identity.addresses.map { IPPrefix($0) } + handed.prefixes, holder: .user, isHandedOver: true), at: now, by: actor)
            try await change(name, by: actor) { $0.invited(at: now, by: .administrator(actor.name)) }
        } catch {
            // Nobody has been given anything yet.
            if let link = handedOver.removeValue(forKey: name) { await revoke(link, at: now, by: actor) }
            try await place.takeBack(name, renewing: false)
            throw error
        }
        guard let hubKey = PublicKey(handed.hub.publicKey) else { throw GatewayError("the hub's public key is none") }
        return HandOverView(
            user: name, publicKey: identity.publicKey, privateKey: Self.base64(identity.privateKey), presharedKey: handed.hub.presharedKey.map(Self.base64),
            addresses: identity.addresses.map { IPPrefix($0) }, mtu: handed.mtu, dns: handed.dns, hubPublicKey: hubKey, endpoint: handed.endpoint,
            allowedIPs: handed.allowedIPs)
    }

    /// Seconds within which a handshake may still have been ours.
    static let doubt: UnixTime = 5

    /// The hub has had a handshake with the user's device: there is no need for our copy of the key any more.
    func sawHandedOver(_ name: String) async {
        do { try await confirmHandOver(name) } catch {
            logger.error("user \"\(name)\" was seen with the identity that was handed over, and the gateway's copy of its key cannot be wiped: \(error)")
        }
    }

    /// The user's device works with the key.
    func confirmHandOver(_ name: String) async throws {
        await turn()
        defer { endTurn() }
        try await handOverPlace().confirmHandOver(of: name)
    }

    /// The gateway speaks for the user again.
    func takeBack(_ name: String, renewing: Bool, by actor: Actor) async throws {
        await turn()
        defer { endTurn() }
        let place = try handOverPlace(), now = SessionController.unixTime
        try await place.expectTakeBack(name, renewing: renewing)
        // First: whatever ends us between the two, the identity is not taken for the user's while it is ours, and this can be asked again.
        if let link = handedOver[name] { try await store.revoke(link.id, at: now, by: actor) }
        handedOver[name] = nil
        try await place.takeBack(name, renewing: renewing)
        try await change(name, by: actor) { $0.invitationWithdrawn(at: now, by: .administrator(actor.name)) }
    }

    private func handOverPlace() throws -> any HandOverPlace {
        guard let place = place as? any HandOverPlace else { throw StoreError.unavailable("the gateway is starting or stopping") }
        return place
    }

    private static func base64(_ key: Secret) -> String { key.withUnsafeBytes { Data($0).base64EncodedString() } }
}
