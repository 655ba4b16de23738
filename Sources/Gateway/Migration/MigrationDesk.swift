import Addresses
import Authentication
import Foundation
import Logging
import Migration
import MigrationTracker
import Settings
import Store

/// The migration as the daemon runs it: the database, the tracker over it, and what follows from its news. This file opens and runs it;
/// `+Operations` and `+Invitation` are what administrators ask of it.
actor MigrationDesk {
    let store: SQLiteStore
    nonisolated let tracker: MigrationTracker
    let logger: Logger
    var rules: MigrationRules
    let instance: String
    private let settings: MigrationTracker.Settings
    /// Users of this configuration are not written down yet.
    private var unregistered: CausewayConfiguration?
    private let news: AsyncStream<MigrationTracker.News>
    private let bulletin: Bulletin
    /// Set once the gateway runs.
    private var controller: SessionController?
    /// nil: nobody can be invited.
    weak var place: (any InvitationPlace)?
    /// The peers that users hold, by user.
    var invited: [String: PeerLink] = [:]
    /// Those who hold the identity that the gateway had for them; they connect to the hub, and no more to us.
    var handedOver: [String: PeerLink] = [:]
    private var knowsInvited = false
    /// Peers that the gateway speaks for, until they are written down.
    private var spokenFor: [NewPeerLink]?
    /// Who is invited changes by one call at a time, each of which takes several steps.
    private var isInviting = false
    private var waitingTurns: [CheckedContinuation<Void, Never>] = []

    /// Opens the database, makes it if there is none, and ends what a dead process left open. A database that cannot be written now (locked,
    /// disk full, not answering) does not keep the gateway from starting: what can be read of it holds, the rest follows.
    static func open(_ configuration: CausewayConfiguration, bulletin: Bulletin, logger: Logger) async throws -> MigrationDesk {
        let path = configuration.storePath
        let folder = URL(fileURLWithPath: path).deletingLastPathComponent().path
        guard FileManager.default.isWritableFile(atPath: folder) else {
            throw GatewayError("\(path): its directory is not there or not ours to write in: make it, give it to run-as's user, or change store.path")
        }
        let store = SQLiteStore(
            path: path, gateway: configuration.instance, patience: patience, clock: { SessionController.unixTime },
            opened: { count in
                guard count > 0 else { return }
                logger.notice("\(count) sessions of an earlier life of this gateway, which ended without closing them, are closed")
            })
        let desk = MigrationDesk(store, configuration, bulletin, logger)
        let deadline = ContinuousClock.now + patienceAtStart
        while true {
            do throws(StoreError) {
                try await store.open()
                try await desk.registerIfNeeded()
                try await desk.tracker.load()
                return desk
            } catch {
                if case .unusable = error { throw GatewayError("\(path): \(error); \(remedy(path))") }
                guard error.isOutage else { throw GatewayError("\(path): \(error)") }
                if ContinuousClock.now < deadline {
                    try? await Task.sleep(for: .milliseconds(200))
                    continue
                }
                logger.error("\(path): \(error): started without it; open sessions will be written down when it can be used")
                // What can be read decides about log-ins until then.
                do throws(StoreError) {
                    try await desk.tracker.load()
                    try await desk.loadInvitedIfNeeded()
                } catch {
                    logger.error("\(path): nothing is known of users and their phases: log-ins are refused until it can be read: \(error)")
                }
                return desk
            }
        }
    }

    private static func remedy(_ path: String) -> String {
        """
        if a newer version wrote it, run that version again; if it is damaged, stop the gateway, keep a copy of \(path)* and restore a backup, \
        or move them away to begin with an empty one; or set store.enabled = false to run without it
        """
    }

    /// Seconds for which somebody else's lock of the database is waited for.
    private static let patience = 1.0
    /// Whoever has it when we start may be done in a moment.
    private static let patienceAtStart = Duration.seconds(10)

    private init(_ store: SQLiteStore, _ configuration: CausewayConfiguration, _ bulletin: Bulletin, _ logger: Logger) {
        self.store = store
        unregistered = configuration
        self.bulletin = bulletin
        self.logger = logger
        rules = configuration.migrationRules
        instance = configuration.instance
        settings = MigrationTracker.Settings(rules: rules, retention: configuration.retention)
        let (news, tell) = AsyncStream.makeStream(of: MigrationTracker.News.self, bufferingPolicy: .unbounded)
        self.news = news
        tracker = MigrationTracker(
            store: store, settings: settings, clock: { SessionController.unixTime },
            zone: { WeekMinute(at: $0, offset: TimeZone.current.secondsFromGMT(for: Date(timeIntervalSince1970: Double($0)))) },
            logger: logger, report: { tell.yield($0) })
    }

    // MARK: Configuration

    func serve(_ controller: SessionController, at place: any InvitationPlace) async {
        self.controller = controller
        take(place)
        await controller.prime(await tracker.leases())
    }

    func take(_ place: any InvitationPlace) { self.place = place }

    /// After a reload.
    func adopt(_ configuration: CausewayConfiguration) async {
        rules = configuration.migrationRules
        await tracker.apply(rules, configuration.retention)
        unregistered = configuration
        do throws(StoreError) { try await registerIfNeeded() } catch {
            logger.error("users of the configuration could not be written down: \(error); trying again")
        }
        await controller?.prime(await tracker.leases())
        await tracker.advance()
    }

    private func registerIfNeeded() async throws(StoreError) {
        if let configuration = unregistered {
            try await loadInvitedIfNeeded()
            try await register(configuration)
            unregistered = nil
        }
        guard let links = spokenFor else { return }
        _ = try await store.setGatewayLinks(links, at: SessionController.unixTime)
        // Others may have come meanwhile.
        if spokenFor == links { spokenFor = nil }
    }

    /// The identities that the gateway uses now, each of which is a peer of some hub.
    func speaks(for links: [NewPeerLink]) async {
        spokenFor = links
        do throws(StoreError) { try await registerIfNeeded() } catch {
            logger.error("the peers that the gateway speaks for could not be written down: \(error); trying again")
        }
    }

    func turn() async {
        guard isInviting else { return isInviting = true }
        await withCheckedContinuation { waitingTurns.append($0) }
    }

    func endTurn() {
        if waitingTurns.isEmpty { isInviting = false } else { waitingTurns.removeFirst().resume() }
    }

    private func loadInvitedIfNeeded() async throws(StoreError) {
        guard !knowsInvited else { return }
        try await loadInvited()
        knowsInvited = true
        guard let place, !invited.isEmpty else { return }
        // Not waited for: a reload, which may be what asks, is what it would wait for itself.
        Task { [logger] in
            do { try await place.invitedChanged() } catch { logger.error("users who are invited cannot connect yet: \(error)") }
        }
    }

    /// Users of the files are known before they dial; those who are in no file any more are users no more.
    private func register(_ configuration: CausewayConfiguration) async throws(StoreError) {
        let now = SessionController.unixTime
        let inSecrets = Set(configuration.users.entries.filter { $0.isOf(configuration.authentication.secrets) }.compactMap(\.knownName))
        let all = Set(configuration.users.entries.compactMap(\.knownName)).union(configuration.access?.peers.map(\.user) ?? [])
        for (names, origin) in [(inSecrets, UserOrigin.secrets), (all.subtracting(inSecrets), .configuration)] where !names.isEmpty {
            _ = try await store.addUsers(names.sorted(), origin: origin, at: now, by: .gateway)
        }
        var after: String?
        repeat {
            let page = try await store.users(UserFilter(), after: after, limit: 1000)
            for user in page.elements where (user.origin == .secrets || user.origin == .configuration) && !all.contains(user.name) {
                // Whoever has WireGuard needs no password any more.
                guard invited[user.name] == nil, handedOver[user.name] == nil else { continue }
                try await store.removeUser(user.name, at: now, by: .gateway)
            }
            after = page.next
        } while after != nil
    }

    // MARK: Run

    /// Until cancelled.
    func run() async {
        let listener = Task { for await item in news { await heard(item) } }
        defer { listener.cancel() }
        var sinceAdvance = settings.advanceInterval
        while !Task.isCancelled {
            if sinceAdvance >= settings.advanceInterval {
                await tracker.advance()
                sinceAdvance = 0
            }
            try? await Task.sleep(for: .seconds(settings.flushInterval))
            sinceAdvance += settings.flushInterval
            await flush()
        }
    }

    private func flush() async {
        if let controller {
            await tracker.count(await controller.traffic())
            await tracker.nativeSeen(await controller.liveNatives())
        }
        let wasLoaded = await tracker.isLoaded
        await tracker.flush()
        if await tracker.trouble == nil, unregistered != nil || spokenFor != nil { try? await registerIfNeeded() }
        guard await tracker.isLoaded else { return }
        if !wasLoaded { await controller?.prime(await tracker.leases()) }
        try? await loadInvitedIfNeeded()
    }

    /// After all sessions have ended.
    func stop() async {
        await tracker.flush()
        let waiting = await tracker.waiting
        if waiting > 0 { logger.error("\(waiting) openings and ends of sessions could not be written down and are lost") }
        do throws(StoreError) { try await store.close(within: Self.patience) } catch { logger.error("\(error)") }
    }

    private func heard(_ item: MigrationTracker.News) async {
        switch item {
        case .moved(let user, let change): await moved(user, change)
        case .firstLegacyLogin(let user):
            logger.info("first PPTP log-in of user \"\(user)\"")
            bulletin.tell(.firstLegacyLogin(user: user))
        case .toInvite(let users):
            let names = users.prefix(20).joined(separator: ", ") + (users.count > 20 ? " and \(users.count - 20) more" : "")
            logger.notice("to be invited (causeway migrate invite USER): \(names)")
        case .storeAway, .storeBack: break  // The tracker has logged it.
        }
    }

    func moved(_ user: String, _ change: PhaseChange) async {
        logger.notice("user \"\(user)\": \(change.from.rawValue) -> \(change.to.rawValue): \(change.reason)")
        bulletin.tell(.phaseChanged(user: user, change))
        // Silence has shown that it was the last time; what a person decides shows nothing.
        if change.to == .migrated, change.mover == .evidence, let at = try? await store.user(user)?.migration.legacyAt {
            bulletin.tell(.lastLegacyLogin(user: user, at: at))
        }
        guard change.to == .retired else { return }
        await controller?.endLegacySessions(of: user, because: "PPTP is switched off for this user")
    }
}

extension CausewayConfiguration {
    var retention: Retention {
        func days(_ days: Int) -> Int? { days == 0 ? nil : days }
        return Retention(sessions: days(store.retainSessions), traffic: days(store.retainTraffic), events: days(store.retainEvents))
    }

    var migrationRules: MigrationRules {
        MigrationRules(quietDays: migration.quietDays, retireAfterDays: migration.retireAfterDays > 0 ? migration.retireAfterDays : nil)
    }
}

extension UserDirectory.Entry {
    /// nil: it stands for everybody.
    fileprivate var knownName: String? { name == nil ? nil : displayName }
    fileprivate func isOf(_ files: [String]) -> Bool { files.contains(origin.file) }
}
