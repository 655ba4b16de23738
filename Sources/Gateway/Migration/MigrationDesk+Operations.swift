import Foundation
import Migration
import Store

// What administrators ask for. Every change names who asked, and is in force when the call returns.
extension MigrationDesk {
    func users(_ filter: UserFilter, after: String?, limit: Int) async throws -> PageView<UserView> {
        let page = try await store.users(filter, after: after, limit: limit)
        return PageView(items: page.elements.map(UserView.init), next: page.next)
    }

    func user(_ name: String) async throws -> UserDetailView {
        guard let user = try await store.user(name) else { throw StoreError.noSuch("user \"\(name)\"") }
        return UserDetailView(
            user: UserView(user),
            devices: try await store.devices(of: name).map {
                KnownDeviceView(
                    kind: $0.guess.kind, evidence: $0.guess.evidence, firstSeen: Date($0.firstSeen), lastSeen: Date($0.lastSeen), logins: $0.logins)
            },
            sessions: try await store.sessions(SessionFilter(user: name), before: nil, limit: 20).elements.map(PastSessionView.init),
            peers: try await store.links(of: name, after: nil, limit: 100).elements.map {
                LinkView(
                    publicKey: Data($0.publicKey).base64EncodedString(), tunnel: $0.tunnel, allowedIPs: $0.allowedIPs, holder: $0.holder.rawValue,
                    createdAt: Date($0.createdAt), revokedAt: $0.revokedAt.map { Date($0) })
            }, history: try await store.phaseChanges(of: name).map(PhaseChangeView.init))
    }

    func add(_ names: [String], origin: UserOrigin, by actor: Actor) async throws -> Int {
        try await store.addUsers(names, origin: origin, at: SessionController.unixTime, by: actor)
    }

    func set(note: String, of name: String, by actor: Actor) async throws {
        try await store.setNote(note, of: name, at: SessionController.unixTime, by: actor)
    }

    /// nil takes the exception away.
    func exempt(_ name: String, until: Date?, reason: String, by actor: Actor) async throws {
        let exemption = until.map { Exemption(until: $0.unixTime, reason: reason, administrator: actor.name) }
        try await store.setExemption(exemption, of: name, at: SessionController.unixTime, by: actor)
        try await tracker.refresh()
    }

    func set(_ phase: Phase, of name: String, reason: String, by actor: Actor) async throws {
        let now = SessionController.unixTime
        try await change(name, by: actor) { $0.set(phase, at: now, by: actor.name, reason: reason) }
    }

    func rollBack(_ name: String, reason: String, by actor: Actor) async throws {
        let now = SessionController.unixTime, rules = rules
        guard try await change(name, by: actor, { $0.rollBack(at: now, by: actor.name, reason: reason, rules) }) != nil else {
            throw StoreError.unfit("user \"\(name)\" is neither migrated nor retired: there is nothing to roll back")
        }
    }

    /// Waves and time may move the user on again after a roll-back.
    func release(_ name: String, by actor: Actor) async throws {
        try await change(name, by: actor) {
            $0.release()
            return nil
        }
    }

    func status() async throws -> MigrationView {
        MigrationView(try await store.status(at: SessionController.unixTime, days: 30, blockers: 10), problem: await tracker.trouble)
    }

    // MARK: Waves and policies

    func waves() async throws -> [WaveView] { try await status().waves }

    func create(_ wave: Wave, by actor: Actor) async throws { try await store.createWave(wave, at: SessionController.unixTime, by: actor) }

    func assign(_ users: [String], to wave: String?, by actor: Actor) async throws {
        try await store.assign(users, to: wave, at: SessionController.unixTime, by: actor)
        try await tracker.refresh()
    }

    enum WaveCommand: Sendable {
        case schedule(Date), start, pause, rollBack
        case policy(Policy)
    }

    /// Members that have to be invited now.
    func command(_ command: WaveCommand, wave: String, by actor: Actor) async throws -> [String] {
        let now = SessionController.unixTime
        let outcome = try await store.change(wave: wave, at: now, by: actor, rules) { (wave: inout Wave) throws(Wave.Problem) -> [Wave.Action] in
            switch command {
            case .schedule(let date): return try wave.schedule(at: date.unixTime, now: now)
            case .start: return try wave.start(now: now)
            case .pause: return try wave.pause()
            case .rollBack: return try wave.rollBack()
            case .policy(let policy):
                wave.policy = policy
                return []
            }
        }
        try await tracker.refresh()
        for (user, change) in outcome.changes { await moved(user, change) }
        return outcome.toInvite
    }

    func policies() async throws -> [String: PolicyView] {
        let policies = try await store.phasePolicies()
        return Dictionary(uniqueKeysWithValues: policies.map { ($0.key.rawValue, PolicyView($0.value)) })
    }

    /// nil takes it away.
    func set(_ policy: Policy?, of phase: Phase, by actor: Actor) async throws {
        try await store.setPolicy(policy, of: phase, at: SessionController.unixTime, by: actor)
        try await tracker.refresh()
    }

    // MARK: -

    @discardableResult
    func change(_ name: String, by actor: Actor, _ body: @Sendable @escaping (inout UserMigration) -> PhaseChange?) async throws -> PhaseChange? {
        let change = try await store.change(name, by: actor, body)
        try await tracker.refresh()
        if let change { await moved(name, change) }
        return change
    }
}
