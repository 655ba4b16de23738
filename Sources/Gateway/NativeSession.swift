import Addresses
import DataPath
import Foundation
import SessionMapper
import Store
import WireGuard

/// A user who may connect over WireGuard instead of PPTP, keeping address, networks and uplink.
struct NativeUser: Sendable, Hashable {
    var name: String
    var publicKey: PublicKey
    var address: IPAddress
    var prefixes: [IPPrefix]
    var tunnel: String
    var group: String?
    /// kbit/s each way.
    var rate: Int?

    /// The address first.
    var allPrefixes: [IPPrefix] { [IPPrefix(address)] + prefixes }
}

/// The session of a native user in the data path.
///
/// One address is one session, and whose it is follows from one rule: **the native peer has the address while its WireGuard session
/// lives** (a handshake in the last three minutes), and PPTP may have it otherwise. So the first handshake ends a PPTP session that has
/// the address, a PPTP log-in that would get it is refused while the native session lives, and takes it over once that is silent.
struct NativeSession {
    let id: UInt64
    let user: NativeUser
    let startedAt = Date()
    let started = ContinuousClock.now
    /// While the address is the native peer's.
    var assignment: Assignment?
    var uplink: UplinkRequest?
    var identity: WireGuardEngine.Identity?
    /// It waits for its uplink.
    var isBinding = false
    /// What its device says about the peer.
    var peer: PeerStatus?
    var isLive = false
    var silentSince = ContinuousClock.now
    var isEnding = false
    /// Others have heard that it is open.
    var isAnnounced = false
    /// The PPTP session that has replaced it: as long as that lives, the address stays there.
    var yieldsTo: UInt64?
    /// While it is in the book.
    var entry: Entry?

    struct Entry {
        var handle: UInt64
        /// What had gone through the session by then.
        var before: Traffic
    }

    /// For log lines.
    var label: String { "native user \"\(user.name)\" (session \(id))" }

    var announcement: Happening.Session {
        .init(
            id: id, kind: "wireguard", user: user.name, clientAddress: peer?.endpoint?.address, innerAddress: user.address, tunnel: user.tunnel)
    }

    enum Step: Equatable {
        case none
        /// The address becomes the native peer's; who has it over PPTP goes.
        case bind
        /// Nobody has come for a while: the uplink is not kept up for it.
        case letGo
    }

    /// What a look at the peer leads to. Where all users share the uplink, a native user keeps the address as long as nobody else
    /// wants it, so that the hub reaches a peer that is silent.
    mutating func observed(
        _ peer: PeerStatus?, isShared: Bool, linger: Duration, wallClock: Duration, now: ContinuousClock.Instant
    ) -> Step {
        self.peer = peer
        let lives = peer?.hasLiveSession(now: wallClock) ?? false
        if isLive, !lives { silentSince = now }
        isLive = lives
        if assignment == nil { return lives && !isBinding ? .bind : .none }
        return !isShared && !lives && now - silentSince >= linger ? .letGo : .none
    }
}
