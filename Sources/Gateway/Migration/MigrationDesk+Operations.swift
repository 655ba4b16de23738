import Foundation
import HubObserver
import Migration
import MigrationReport
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
            peers: try await store.links(of: name, after: nil, limit: 100).elements.map(LinkView.init), history: try await store.phaseChanges(of: name).map(PhaseChangeView.init))
    }

    func add(_ names: [String], origin: UserOrigin, by actor: Actor) async throws -> Int {
        try await store.addUsers(names, origin: origin, at: SessionController.unixTime, by: actor)
    }

    /// Texts for people stay short enough for a screen.
    private static func checked(_ text: String, _ what: String) throws {
        guard text.utf8.count <= 1000 else { throw StoreError.unfit("\(what) has at most 1000 bytes, and this one has \(text.utf8.count)") }
    }

    func set(note: String, of name: String, by actor: Actor) async throws {
        try Self.checked(note, "a note")
        try await store.setNote(note, of: name, at: SessionController.unixTime, by: actor)
    }

    /// nil takes the exception away.
    func exempt(_ name: String, until: Date?, reason: String, by actor: Actor) async throws {
        try Self.checked(reason, "a reason")
        let exemption = until.map { Exemption(until: $0.unixTime, reason: reason, administrator: actor.name) }
        try await store.setExemption(exemption, of: name, at: SessionController.unixTime, by: actor)
        try await tracker.refresh()
    }

    func set(_ phase: Phase, of name: String, reason: String, by actor: Actor) async throws {
        try Self.checked(reason, "a reason")
        let now = SessionController.unixTime
        try await change(name, by: actor) { $0.set(phase, at: now, by: actor.name, reason: reason) }
    }

    func rollBack(_ name: String, reason: String, by actor: Actor) async throws {
        try Self.checked(reason, "a reason")
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

    /// For the people who asked for the date. `since`: where its trend begins; nil: 90 days ago.
    func report(since: Date?, withUsers: Bool) async throws -> MigrationReport {
        let now = SessionController.unixTime
        let days = since.map { max(1, min(3650, Int((now - $0.unixTime) / 86_400) + 1)) } ?? 90
        let status = try await store.status(at: now, days: days, blockers: 20)
        var users: [StoredUser] = [], after: String?
        if withUsers {
            repeat {
                let page = try await store.users(UserFilter(), after: after, limit: 1000)
                users += page.elements
                after = page.next
            } while after != nil
        }
        return MigrationReport(instance: instance, at: now, status: status, users: users)
    }

    func peers(of user: String?, after: Int64?, limit: Int) async throws -> PageView<LinkView> {
        let page = try await store.links(of: user, after: after.map { LinkID($0) }, limit: limit)
        return PageView(items: page.elements.map(LinkView.init), next: page.next.map { "\($0.value)" })
    }

    /// What was seen on a hub: users whose own devices complete handshakes there are on WireGuard. Peers for which we hold the key are no
    /// sign of that, and strangers are nobody's business. How many of the peers are users of ours.
    func observed(_ report: ObservationReport) async throws -> Int {
        let now = SessionController.unixTime
        let owners = Dictionary((Array(invited.values) + handedOver.values).map { ($0.publicKey, $0) }, uniquingKeysWith: { first, _ in first })
        var users: Set<String> = []
        for peer in report.peers where peer.handshakeAt > 0 {
            guard let link = owners[peer.publicKey.bytes] else { continue }
            if let since = link.handedOverAt {
                // Before that it was us. The hub's clock may be another one: what counts is how long ago it was.
                guard now - (report.at - peer.handshakeAt) > since + Self.doubt else { continue }
                await sawHandedOver(link.user)
            }
            users.insert(link.user)
        }
        guard !users.isEmpty else { return 0 }
        let witness = "the observer \(report.observer.filter { $0.isASCII && !$0.isNewline }.prefix(64))"
        let changes = try await store.nativeSeen(users.sorted(), by: witness, at: now, rules)
        try await tracker.refresh()
        for (user, change) in changes.sorted(by: { $0.key < $1.key }) { await moved(user, change) }
        return users.count
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
