import Addresses
import Logging
import Migration
import Store

/// Stands between the gateway's sessions and the store: judges log-ins by what is known of the user, writes down what happens, and moves
/// users and waves on when their time has come.
///
/// The store may be away (disk full, locked). Then open sessions go on; a log-in is judged by what was known last, and admitted only at an
/// address that cannot be anybody else's: the user's own for good, or one that this gateway has leased to them. What happened meanwhile is
/// kept, within limits, and written when the store is back.
///
/// Its timers: `flush` every `Settings.flushInterval` (traffic, what waits), `advance` every `Settings.advanceInterval` (waves, silence). Both
/// are called by `run`, or by a test.
public actor MigrationTracker {
    public struct Settings: Sendable {
        public var rules: MigrationRules
        /// Seconds.
        public var flushInterval: Int
        public var advanceInterval: Int
        /// Openings and closings that wait for a store that is away; beyond that log-ins are refused.
        public var longestBacklog: Int

        public init(rules: MigrationRules = MigrationRules(), flushInterval: Int = 10, advanceInterval: Int = 60, longestBacklog: Int = 65_535) {
            self.rules = rules
            self.flushInterval = flushInterval
            self.advanceInterval = advanceInterval
            self.longestBacklog = longestBacklog
        }
    }

    /// A number of the gateway's own for a session, unique while the process lives.
    public typealias Handle = UInt64

    /// What becomes of a session at its address.
    public enum Admission: Sendable, Equatable {
        case admitted(PhaseChange?)
        /// Another session has the address, here or on another gateway: try another one.
        case addressTaken
        case alreadyConnected
        /// The store is away and the address may be somebody else's.
        case storeAway(String)
    }

    /// Something that others want to hear of: a line in the log, a webhook.
    public enum News: Sendable, Equatable {
        case moved(user: String, PhaseChange)
        case firstLegacyLogin(user: String)
        /// They have to be handed a configuration.
        case toInvite([String])
        case storeAway(String)
        case storeBack(late: Int)
    }

    private enum Entry {
        /// Being written for the first time.
        case opening
        /// Over before that was done.
        case overBefore(UnixTime, String, Traffic)
        case stored(SessionID, Traffic)
        /// Not written yet; it is in `backlog`.
        case waiting(SessionOpening)
    }
    private enum Late {
        case opening(Handle)
        case closing(Handle, UnixTime, String, Traffic, Entry)
    }

    private let store: any Store
    private let clock: @Sendable () -> UnixTime
    private let zone: @Sendable (UnixTime) -> WeekMinute
    private let logger: Logger
    private let report: @Sendable (News) -> Void
    private var settings: Settings

    private var facts: [String: LoginFacts] = [:]
    private var waves: [String: Wave] = [:]
    private var policies: [Phase: Policy] = [:]
    /// The address that each user has leased here, by pool and user.
    private var leased: [String: [String: IPAddress]] = [:]
    private var sessions: [Handle: Entry] = [:]
    private var backlog: [Late] = []
    private var isWriting = false
    private var queue: [CheckedContinuation<Void, Never>] = []
    /// When the store was asked last in vain.
    private var askedAt = UnixTime.min
    private var totals: [Handle: Traffic] = [:]
    private var native: Set<String> = []
    /// Why the store is away; nil: it is not.
    public private(set) var trouble: String?

    /// - Parameters:
    ///   - clock: now, in seconds since the Unix epoch.
    ///   - zone: minute of the week at the place of the gateway.
    ///   - report: called for each piece of news, in order.
    public init(
        store: any Store, settings: Settings = Settings(), clock: @escaping @Sendable () -> UnixTime,
        zone: @escaping @Sendable (UnixTime) -> WeekMinute, logger: Logger, report: @escaping @Sendable (News) -> Void = { _ in }
    ) {
        self.store = store
        self.settings = settings
        self.clock = clock
        self.zone = zone
        self.logger = logger
        self.report = report
    }

    /// Reads what decides about log-ins. Before the first one is judged.
    public func load() async throws(StoreError) {
        try await refresh()
        for lease in try await store.leases() { leased[lease.pool, default: [:]][lease.user] = lease.address }
    }

    /// Reads phases, waves and policies again, after somebody changed them.
    public func refresh() async throws(StoreError) {
        let facts = try await store.loginFacts(), waves = try await store.waves(), policies = try await store.phasePolicies()
        self.facts = facts
        self.waves = Dictionary(waves.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        self.policies = policies
    }

    public func apply(_ rules: MigrationRules) { settings.rules = rules }

    /// Addresses that this gateway has leased, so that a user gets theirs again.
    public func leases() -> [String: [String: IPAddress]] { leased }

    // MARK: Log-ins

    /// Of a user who has shown the right password.
    public func verdict(of user: String) -> LoginVerdict {
        let facts = facts[user] ?? LoginFacts(phase: .legacy)
        let applying = [policies[facts.phase], facts.wave.flatMap { waves[$0]?.activePolicy }].compactMap { $0 }
        return .of(facts.phase, policies: applying, exemption: facts.exemption, at: clock(), zone: zone)
    }

    /// Writes the session down, or says why it cannot be. Until then the address is not the user's.
    public func open(_ handle: Handle, _ opening: SessionOpening) async -> Admission {
        sessions[handle] = .opening
        await turn()
        defer { endTurn() }
        if await isWorthAsking() {
            do throws(StoreError) {
                let opened = try await store.openSession(opening, settings.rules)
                back()
                await remember(handle, opening, opened)
                return .admitted(opened.change)
            } catch {
                switch error {
                case .addressTaken:
                    sessions[handle] = nil
                    return .addressTaken
                case .alreadyConnected:
                    sessions[handle] = nil
                    return .alreadyConnected
                default: away(error)
                }
            }
        }
        let text = trouble ?? "what waits has to be written first"
        if case .overBefore? = sessions.removeValue(forKey: handle) { return .storeAway(text) }
        let isOwn = opening.pool.map { leased[$0]?[opening.user] == opening.address } ?? true
        guard isOwn, backlog.count < settings.longestBacklog else { return .storeAway(text) }
        sessions[handle] = .waiting(opening)
        backlog.append(.opening(handle))
        return .admitted(nil)
    }

    private func remember(_ handle: Handle, _ opening: SessionOpening, _ opened: SessionOpened) async {
        let before = sessions.updateValue(.stored(opened.id, Traffic()), forKey: handle)
        if let pool = opening.pool { leased[pool, default: [:]][opening.user] = opening.address }
        if opened.isFirstLegacyLogin { report(.firstLegacyLogin(user: opening.user)) }
        if let change = opened.change { moved([opening.user: change]) }
        if case .overBefore(let at, let cause, let total)? = before { await write(endOf: handle, cause: cause, total: total, at: at) }
    }

    /// A session has ended; `total` is all that went through it.
    public func close(_ handle: Handle, cause: String, total: Traffic) async {
        let now = clock()
        if case .opening? = sessions[handle] {
            sessions[handle] = .overBefore(now, cause, total)
            return
        }
        await turn()
        defer { endTurn() }
        await write(endOf: handle, cause: cause, total: total, at: now)
    }

    private func write(endOf handle: Handle, cause: String, total: Traffic, at now: UnixTime) async {
        guard let entry = sessions.removeValue(forKey: handle) else { return }
        totals[handle] = nil
        guard case .stored(let id, let written) = entry, backlog.isEmpty, trouble == nil else {
            backlog.append(.closing(handle, now, cause, total, entry))
            return
        }
        do throws(StoreError) {
            moved(try await store.closeSessions([SessionClosing(id: id, at: now, cause: cause, traffic: total - written)], settings.rules))
        } catch {
            away(error)
            backlog.append(.closing(handle, now, cause, total, entry))
        }
    }

    /// All that went through open sessions so far. Written with the next flush.
    public func count(_ totals: [Handle: Traffic]) { for (handle, total) in totals where sessions[handle] != nil { self.totals[handle] = total } }

    /// Users whose own peers gave a sign of life. Written with the next flush.
    public func nativeSeen(_ users: some Sequence<String> & Sendable) { native.formUnion(users) }

    // MARK: Time

    /// Writes what has gathered. What cannot be written now is written later.
    public func flush() async {
        await turn()
        defer { endTurn() }
        await catchUp()
        guard backlog.isEmpty else { return }
        var amounts: [SessionID: Traffic] = [:], written: [Handle: Traffic] = [:]
        for (handle, total) in totals {
            guard case .stored(let id, let before)? = sessions[handle] else { continue }
            amounts[id] = total - before
            written[handle] = total
        }
        let seen = native
        do throws(StoreError) {
            try await store.record(traffic: amounts, at: clock())
            for (handle, total) in written {
                // It may have ended while we wrote; then its end wrote the rest.
                if case .stored(let id, _)? = sessions[handle] { sessions[handle] = .stored(id, total) }
                if totals[handle] == total { totals[handle] = nil }
            }
            if !seen.isEmpty {
                moved(try await store.nativeSeen(Array(seen), by: "the gateway's access listener", at: clock(), settings.rules))
                native.subtract(seen)
            }
            back()
        } catch { away(error) }
    }

    /// Moves on whoever and whatever has become due.
    public func advance() async {
        await turn()
        defer { endTurn() }
        do throws(StoreError) {
            let outcome = try await store.tickWaves(at: clock(), settings.rules)
            moved(outcome.changes)
            if !outcome.toInvite.isEmpty { report(.toInvite(outcome.toInvite)) }
            moved(try await store.settle(at: clock(), settings.rules))
            try await refresh()
            back()
        } catch { away(error) }
    }

    /// Until cancelled; then what has gathered is written once more.
    public func run() async {
        var sinceAdvance = settings.advanceInterval
        while !Task.isCancelled {
            if sinceAdvance >= settings.advanceInterval {
                await advance()
                sinceAdvance = 0
            }
            do { try await Task.sleep(for: .seconds(settings.flushInterval)) } catch { break }
            sinceAdvance += settings.flushInterval
            await flush()
        }
        await flush()
    }

    // MARK: The store away and back

    /// One write at a time: a store that is locked keeps each one waiting, and those behind the first need not find out for themselves.
    private func turn() async {
        guard isWriting else {
            isWriting = true
            return
        }
        await withCheckedContinuation { queue.append($0) }
    }

    private func endTurn() {
        if queue.isEmpty { isWriting = false } else { queue.removeFirst().resume() }
    }

    /// A store that is away is asked again at most once a second, and what waits is written first. In its turn only.
    private func isWorthAsking() async -> Bool {
        guard trouble != nil || !backlog.isEmpty else { return true }
        let now = clock()
        guard now > askedAt else { return false }
        askedAt = now
        await catchUp()
        return backlog.isEmpty
    }

    private func away(_ error: StoreError) {
        askedAt = clock()
        guard trouble == nil else { return }
        trouble = error.description
        logger.error("\(error): open sessions go on; new ones only at addresses that are the user's own; trying again")
        report(.storeAway(error.description))
    }

    private func back() {
        guard trouble != nil, backlog.isEmpty else { return }
        trouble = nil
        logger.notice("the database can be used again")
        report(.storeBack(late: 0))
    }

    /// Writes openings and closings that waited, in their order. In its turn only.
    private func catchUp() async {
        guard !backlog.isEmpty else { return }
        var late = 0
        // Others append meanwhile; only we take away.
        while late < backlog.count {
            do throws(StoreError) { try await write(backlog[late]) } catch {
                backlog.removeFirst(late)
                return away(error)
            }
            late += 1
        }
        backlog = []
        trouble = nil
        logger.notice("the database can be used again; \(late) openings and ends of sessions were written late")
        report(.storeBack(late: late))
    }

    private func write(_ late: Late) async throws(StoreError) {
        switch late {
        case .opening(let handle):
            // Ended meanwhile: its end writes both.
            guard case .waiting(let opening)? = sessions[handle] else { return }
            guard let opened = try await opened(opening) else { return }
            if case .waiting? = sessions[handle] { return await remember(handle, opening, opened) }
            // It ended while it was written; its end waits behind us and needs the row.
            for index in backlog.indices {
                if case .closing(handle, let at, let cause, let total, .waiting) = backlog[index] {
                    backlog[index] = .closing(handle, at, cause, total, .stored(opened.id, Traffic()))
                }
            }
        case .closing(_, let at, let cause, let total, let entry):
            switch entry {
            case .stored(let id, let written):
                moved(try await store.closeSessions([SessionClosing(id: id, at: at, cause: cause, traffic: total - written)], settings.rules))
            case .opening, .overBefore: break  // Never in the backlog: they are not written yet.
            case .waiting(let opening):
                guard let opened = try await opened(opening) else { return }
                moved(try await store.closeSessions([SessionClosing(id: opened.id, at: at, cause: cause, traffic: total)], settings.rules))
            }
        }
    }

    /// nil: somebody else has the address by now; the log says so, and nothing else can be done about a session that was.
    private func opened(_ opening: SessionOpening) async throws(StoreError) -> SessionOpened? {
        do throws(StoreError) { return try await store.openSession(opening, settings.rules) } catch {
            switch error {
            case .addressTaken, .alreadyConnected:
                logger.error("a session of user \"\(opening.user)\" at \(opening.address) could not be written down: \(error)")
                return nil
            default: throw error
            }
        }
    }

    private func moved(_ changes: [String: PhaseChange]) {
        for (user, change) in changes.sorted(by: { $0.key < $1.key }) {
            var fact = facts[user] ?? LoginFacts(phase: .legacy)
            fact.phase = change.to
            facts[user] = fact
            report(.moved(user: user, change))
        }
    }
}

extension Traffic {
    /// Counters only grow; should one not have, nothing is taken away.
    public static func - (left: Traffic, right: Traffic) -> Traffic {
        Traffic(
            packetsIn: max(0, left.packetsIn - right.packetsIn), packetsOut: max(0, left.packetsOut - right.packetsOut),
            bytesIn: max(0, left.bytesIn - right.bytesIn), bytesOut: max(0, left.bytesOut - right.bytesOut))
    }
}
