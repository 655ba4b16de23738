import Addresses
import Foundation
import Identities
import Logging
import SessionMapper
import Settings
import Store

/// The identities that users leave through in tunnels of the modes `group` and `per-user`, from the store to the tunnels and back.
actor IdentityRegistry {
    private let store: any IdentityStore
    private let logger: Logger

    init(store: any IdentityStore, logger: Logger) {
        self.store = store
        self.logger = logger
    }

    struct Known: Sendable {
        /// By tunnel and name; retired ones are left out.
        var identities: [String: [String: UplinkIdentity]] = [:]
        /// Addresses that users have for good: nobody else is given one.
        var reservations: [Reservation] = []
        /// Users who hold theirs themselves, by tunnel.
        var handedOver: [String: Set<String>] = [:]
        fileprivate var change = IdentityChange()
    }

    /// Those of users as the database has them.
    static func links(_ known: Known, _ configuration: CausewayConfiguration) -> [NewPeerLink] {
        configuration.tunnels.filter { $0.mode == .perUser }.flatMap { tunnel in
            (known.identities[tunnel.name] ?? [:]).values.map { identity in
                NewPeerLink(
                    user: identity.name, publicKey: identity.publicKey.bytes, tunnel: tunnel.name, allowedIPs: identity.address.map { [IPPrefix($0)] } ?? [],
                    holder: .gateway)
            }
        }.sorted { ($0.tunnel, $0.user) < ($1.tunnel, $1.user) }
    }

    /// Makes what the configuration needs and reads everything. A gateway whose tunnels are all shared never opens the store.
    func prepare(_ configuration: CausewayConfiguration) async throws -> Known {
        guard configuration.tunnels.contains(where: { $0.mode != .shared }) else { return Known() }
        let change = try await store.provision(IdentityPlan(configuration))
        if !change.isEmpty { logger.notice("identities: \(change.summary)") }
        var known = Known(change: change)
        for identity in try await store.identities() {
            // A retired one keeps its address until it is pruned: the hub may still know it.
            if !identity.addresses.isEmpty {
                known.reservations.append(Reservation(user: identity.id.name, prefixes: identity.addresses.map { IPPrefix($0) }))
            }
            if identity.isHandedOver {
                if identity.id.kind == .user { known.handedOver[identity.id.tunnel, default: []].insert(identity.id.name) }
                continue
            }
            guard !identity.isRetired else { continue }
            known.identities[identity.id.tunnel, default: [:]][identity.id.name] = UplinkIdentity(
                name: identity.id.name, publicKey: identity.publicKey, key: identity.privateKey, address: identity.addresses.first,
                handshakeAt: identity.handshakeAt)
        }
        return known
    }

    /// Takes back what `prepare` did for a configuration that was not taken.
    func undo(_ known: Known) async throws {
        guard !known.change.isEmpty else { return }
        try await store.undo(known.change)
        logger.notice("identities: as before (\(known.change.summary) taken back)")
    }

    /// - Parameter handshakes: wall clock of the newest of each, by tunnel and name.
    func record(_ handshakes: [String: [String: Date]], _ configuration: CausewayConfiguration) async {
        var news: [Identity.ID: Int64] = [:]
        for (tunnel, byName) in handshakes {
            guard let kind = configuration.tunnel(named: tunnel)?.mode.identityKind else { continue }
            for (name, date) in byName { news[Identity.ID(tunnel: tunnel, kind: kind, name: name)] = Int64(date.timeIntervalSince1970) }
        }
        guard !news.isEmpty else { return }
        do { try await store.record(handshakes: news) } catch {
            logger.warning("the identities' last handshakes cannot be kept: \(error)")
        }
    }

    /// What the running tunnels know is newer than the store.
    func views(_ running: [String: [String: RunningIdentity]]) async throws -> [IdentityView] {
        try await store.identities().map { identity in
            let now = running[identity.id.tunnel]?[identity.id.name]
            var view = IdentityView(identity, up: now?.isUp ?? false, sessions: now?.sessions ?? 0)
            if let handshake = now?.handshake, handshake > view.lastHandshake ?? .distantPast {
                view.lastHandshake = Date(timeIntervalSince1970: handshake.timeIntervalSince1970.rounded(.down))
            }
            return view
        }
    }
}

struct RunningIdentity: Sendable {
    var isUp: Bool
    var sessions: Int
    var handshake: Date?
}

extension CausewayConfiguration.Tunnel.Mode {
    var identityKind: Identity.Kind? {
        switch self {
        case .shared: nil
        case .group: .group
        case .perUser: .user
        }
    }
}
