import Addresses
import Authentication
import DataPath
import Foundation
import Settings
import WireGuard

/// What carries a tunnel: the kernel's WireGuard, or the data path's own engine.
enum BackendKind: String, Sendable {
    case kernel, embedded
}

/// What the data path has to know of a tunnel.
struct TunnelState: Equatable, Sendable {
    var index: UInt32
    var mtu: UInt16
    var up: Bool
}

/// A private key that a hub knows. In mode `shared` a tunnel has one, with the tunnel's own key.
struct UplinkIdentity: Sendable, Equatable {
    /// The user's or the group's; empty in mode `shared`.
    var name: String
    var publicKey: PublicKey
    /// 32 bytes. Not on pages of its own like a `PrivateKey`: there may be very many.
    var key: Secret
    /// What IPCP gives the user; nil: one of the pool.
    var address: IPAddress?
    /// Wall clock, seconds, of the last handshake that an earlier run has seen.
    var handshakeAt: Int64?

    func privateKey() throws -> PrivateKey {
        guard let key = key.withUnsafeBytes({ PrivateKey(bytes: $0) }) else { throw GatewayError("the private key has not 32 bytes") }
        return key
    }
}

/// An identity that is up.
struct Uplink: Sendable {
    var identity: UplinkIdentity
    let interfaceName: String
    let backend: any TunnelBackend
    var device: TunnelDevice
    /// Of the kernel's policy routing; nil for the embedded backend.
    var table: UInt32?
    /// Whether the hub in use answers, for each of the tunnel's routes.
    var watches: [HandshakeWatch]
    /// It has its peers.
    var isReady = false
    /// Sessions that leave through it, with their inner prefixes once these are known.
    var holders: [UInt64: [IPPrefix]] = [:]
    /// Since nobody holds it any more.
    var unusedSince: ContinuousClock.Instant?
    /// A reload has taken its identity away: it goes with its last session.
    var isRetired = false
    /// The hub answers others and not this one.
    var isRefused = false
    /// For each of the tunnel's routes, as `watches`.
    var losses: [LossMeter]
    /// nil: the device has what it should have.
    var unsettled: Unsettled?
}

/// The way out of sessions, as the session controller knows it.
struct TunnelWay: Sendable, Equatable {
    /// In the data path.
    var index: UInt32
    /// Sessions ask for an uplink of their own; otherwise all use `identity`.
    var isShared = true
    /// nil: the TUN.
    var identity: WireGuardEngine.Identity?
}

/// Who asks for a way out.
struct UplinkRequest: Sendable, Equatable {
    var tunnel: String
    var user: String
    var group: String?
}

struct UplinkGrant: Sendable, Equatable {
    /// nil: the TUN.
    var identity: WireGuardEngine.Identity?
    /// The address that this identity's user has for good.
    var address: IPAddress?
}

/// Brings the identities of users up when their sessions open, and lets go of them some time after the last one has ended.
protocol UplinkProvider: Sendable {
    func acquire(_ request: UplinkRequest, for session: UInt64) async throws -> UplinkGrant
    /// Before the first packet of the session: the kernel's rules let these prefixes into that uplink.
    func confine(_ prefixes: [IPPrefix], of session: UInt64, to request: UplinkRequest) async throws
    func release(_ request: UplinkRequest, by session: UInt64) async
}

/// Where all tunnels are shared.
struct NoUplinks: UplinkProvider {
    func acquire(_ request: UplinkRequest, for session: UInt64) throws -> UplinkGrant {
        throw GatewayError("tunnel \"\(request.tunnel)\" has no identities")
    }
    func confine(_ prefixes: [IPPrefix], of session: UInt64, to request: UplinkRequest) {}
    func release(_ request: UplinkRequest, by session: UInt64) {}
}
