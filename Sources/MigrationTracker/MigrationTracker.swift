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
        public var retention: Retention
        /// Seconds.
        public var flushInterval: Int
        public var advanceInterval: Int
        /// Openings and closings that wait for a store that is away; beyond that log-ins are refused.
        public var longestBacklog: Int

        public init(rules: MigrationRules = MigrationRules(), retention: Retention = Retention(), flushInterval: Int = 10, advanceInterval: Int = 60, longestBacklog: Int = 65_535) {
            self.rules = rules
            self.retention = retention
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

    enum Entry {
        /// Being written for the first time.
        case opening
        /// Over before that was done.
        case overBefore(UnixTime, String, Traffic)
        case stored(SessionID)
        /// Not written yet; it is in `backlog`.
        case waiting(SessionOpening)
    }
    private struct WaitingOpening {
        var handle: Handle
        var opening: SessionOpening
        var answer: CheckedContinuation<Admission, Never>
    }
    /// In one transaction: the first of them does not wait for many others.
    private static let mostOpenings = 64

    enum Late {
        case opening(Handle)
        case closing(Handle, UnixTime, String, Traffic, Entry)
    }

    let store: any Store
    let clock: @Sendable () -> UnixTime
    private let zone: @Sendable (UnixTime) -> WeekMinute
    let logger: Logger
    let report: @Sendable (News) -> Void
    var settings: Settings

    var facts: [String: LoginFacts] = [:]
    private var waves: [String: Wave] = [:]
    private var policies: [Phase: Policy] = [:]
    /// The address that each user has leased here, by pool and user.
    var leased: [String: [String: IPAddress]] = [:]
    /// Facts and leases have been read. Until then nobody knows who is refused.
    public private(set) var isLoaded = false
    var sessions: [Handle: Entry] = [:]
    var backlog: [Late] = []
    private var isWriting = false
    private var openings: [WaitingOpening] = []
    private var isOpening = false
    private var queue: [CheckedContinuation<Void, Never>] = []
    /// When the store was asked last in vain.
    var askedAt = UnixTime.min
    /// Since when the store has answered without a break: only then others' silence is theirs.
    var answersSince: UnixTime?
    private var totals: [Handle: Traffic] = [:]
    private var native: Set<String> = []
    private var refusals = RefusedLogIns()
    /// Why the store is away; nil: it is not.
    public internal(set) var trouble: String?
    /// What the store would never take, and was not written.
    public internal(set) var setAside = 0
    /// Since the store is back.
    var writtenLate = 0
    /// Openings and ends that wait for the store.
    public var waiting: Int { backlog.count }

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
        isLoaded = true
    }

    /// Reads phases, waves and policies again, after somebody changed them.
    public func refresh() async throws(StoreError) {
        let facts = try await store.loginFacts(), waves = try await store.waves(), policies = try await store.phasePolicies()
        self.facts = facts
        self.waves = Dictionary(waves.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        self.policies = policies
    }

    public func apply(_ rules: MigrationRules, _ retention: Retention) {
        settings.rules = rules
        settings.retention = retention
    }

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
    ///
    /// All that wait at the same time share a transaction: its commit costs as much as writing several sessions.
    public func open(_ handle: Handle, _ opening: SessionOpening) async -> Admission {
        sessions[handle] = .opening
        return await withCheckedContinuation { continuation in
            openings.append(WaitingOpening(handle: handle, opening: opening, answer: continuation))
            guard !isOpening else { return }
            isOpening = true
            Task { await writeOpenings() }
        }
    }

    private func writeOpenings() async {
        while !openings.isEmpty {
            await turn()
            let part = takePart()
            let answers = await write(part)
            endTurn()
            for (waiting, answer) in zip(part, answers) { waiting.answer.resume(returning: answer) }
        }
        isOpening = false
    }

    /// Those that are written next. Whoever wants the address or the place of one before waits until that one is written, with its end, if it
    /// is over already.
    private func takePart() -> [WaitingOpening] {
        var addresses: Set<IPAddress> = [], users: Set<String> = [], part: [WaitingOpening] = [], rest: [WaitingOpening] = []
        for waiting in openings {
            let isFirst = addresses.insert(waiting.opening.address).inserted, isAlone = users.insert(waiting.opening.user).inserted
            if isFirst, isAlone, part.count < Self.mostOpenings { part.append(waiting) } else { rest.append(waiting) }
        }
        openings = rest
        return part
    }

    private func write(_ part: [WaitingOpening]) async -> [Admission] {
        guard await isWorthAsking() else { return part.map { unwritten($0, isInDoubt: false) } }
        let results: [Result<SessionOpened, StoreError>]
        do throws(StoreError) {
            // Alone, it is a transaction of its own, and needs no way back inside of it.
            results = part.count == 1
                ? [.success(try await store.openSession(part[0].opening, settings.rules))]
                : try await store.openSessions(part.map(\.opening), settings.rules)
        } catch {
            guard error.isOutage else { return [await refused(part[0], error)] }
            away(error)
            let isInDoubt = if case .unanswered = error { true } else { false }
            return part.map { unwritten($0, isInDoubt: isInDoubt) }
        }
        back()
        var answers: [Admission] = []
        for (waiting, result) in zip(part, results) {
            switch result {
            case .success(let opened):
                await remember(waiting.handle, waiting.opening, opened)
                answers.append(.admitted(opened.change))
            case .failure(let error): answers.append(await refused(waiting, error))
            }
        }
        return answers
    }

    /// The store has answered, and does not take it.
    private func refused(_ waiting: WaitingOpening, _ error: StoreError) async -> Admission {
        switch error {
        case .addressTaken:
            sessions[waiting.handle] = nil
            return .addressTaken
        case .alreadyConnected:
            sessions[waiting.handle] = nil
            return .alreadyConnected
        default:
            putAside("the session of user \"\(waiting.opening.user)\" at \(waiting.opening.address)", error)
            return unwritten(waiting, isInDoubt: false, isUnwritable: true)
        }
    }

    private func unwritten(_ waiting: WaitingOpening, isInDoubt: Bool, isUnwritable: Bool = false) -> Admission {
        let (handle, opening) = (waiting.handle, waiting.opening)
        let text = isUnwritable ? "the database does not take the session" : trouble ?? "what waits has to be written first"
        let before = sessions.removeValue(forKey: handle)
        // Should it have been written after all, it has to end there, too.
        func endIfWritten(_ cause: String) { if isInDoubt { backlog.append(.closing(handle, clock(), cause, Traffic(), .waiting(opening))) } }
        if case .overBefore(_, let cause, _)? = before {
            endIfWritten(cause)
            return .storeAway(text)
        }
        let isOwn = isLoaded && (opening.pool.map { leased[$0]?[opening.user] == opening.address } ?? true)
        guard isOwn, backlog.count < settings.longestBacklog else {
            endIfWritten("never began: the database did not answer in time")
            return .storeAway(text)
        }
        guard !isUnwritable else { return .admitted(nil) }
        sessions[handle] = .waiting(opening)
        backlog.append(.opening(handle))
        return .admitted(nil)
    }

    func remember(_ handle: Handle, _ opening: SessionOpening, _ opened: SessionOpened) async {
        let before = sessions.updateValue(.stored(opened.id), forKey: handle)
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
        guard case .stored(let id) = entry, backlog.isEmpty, trouble == nil else {
            backlog.append(.closing(handle, now, cause, total, entry))
            return
        }
        do throws(StoreError) { try await end(id, at: now, cause, total) } catch {
            backlog.append(.closing(handle, now, cause, total, entry))
        }
    }

    /// All that went through open sessions so far. Written with the next flush.
    public func count(_ totals: [Handle: Traffic]) { for (handle, total) in totals where sessions[handle] != nil { self.totals[handle] = total } }

    /// Users whose own peers gave a sign of life. Written with the next flush.
    public func nativeSeen(_ users: some Sequence<String> & Sendable) { native.formUnion(users) }

    /// Written with the next flush, the same ones as one event. Should the store be away just then, they are in the log only.
    public func refused(_ refusal: RefusedLogIn) { refusals.add(refusal) }

    // MARK: Time

    /// Writes what has gathered. What cannot be written now is written later.
    public func flush() async {
        repeat {
            await turn()
            await catchUp()
            endTurn()
            // In parts: whoever dials in between is heard.
        } while !backlog.isEmpty && trouble == nil
        guard backlog.isEmpty, await loadIfNeeded() else { return }
        await turn()
        defer { endTurn() }
        await recordTotals()
        await recordNatives()
        await recordRefusals()
    }

    private func recordRefusals() async {
        let events = refusals.take(at: clock())
        guard trouble == nil, !events.isEmpty else { return }
        do throws(StoreError) {
            try await inParts(events, "an event") { events throws(StoreError) in try await store.record(events) }
        } catch { away(error) }
    }

    private func recordTotals() async {
        var amounts: [(Handle, SessionID, Traffic)] = []
        for (handle, total) in totals {
            guard case .stored(let id)? = sessions[handle] else { continue }
            amounts.append((handle, id, total))
        }
        // Once at least: it says that we live.
        repeat {
            let part = amounts.prefix(Self.part)
            amounts.removeFirst(part.count)
            do throws(StoreError) {
                try await inParts(Array(part), "the traffic of a session") { part throws(StoreError) in
                    try await store.record(totals: Dictionary(part.map { ($0.1, $0.2) }) { $1 }, at: clock())
                }
                back()
            } catch { return away(error) }
            for (handle, _, total) in part where totals[handle] == total { totals[handle] = nil }
        } while !amounts.isEmpty
    }

    private func recordNatives() async {
        var seen = native.sorted()[...]
        while !seen.isEmpty {
            let part = Array(seen.prefix(Self.part))
            seen = seen.dropFirst(Self.part)
            do throws(StoreError) {
                try await inParts(part, "a sign of life") { part throws(StoreError) in
                    moved(try await store.nativeSeen(part, by: "the gateway's access listener", at: clock(), settings.rules))
                }
            } catch { return away(error) }
            native.subtract(part)
        }
    }

    /// Of what is written in one transaction: each one is short.
    private static let part = 1000

    /// Writes all in one go; where the store does not take that, one by one, and what it does not take then is set aside.
    private func inParts<Item: Sendable>(
        _ items: [Item], _ what: String, _ write: ([Item]) async throws(StoreError) -> Void
    ) async throws(StoreError) {
        do throws(StoreError) { try await write(items) } catch {
            if error.isOutage { throw error }
            guard items.count > 1 else { return putAside(what, error) }
            for item in items {
                do throws(StoreError) { try await write([item]) } catch {
                    if error.isOutage { throw error }
                    putAside(what, error)
                }
            }
        }
    }

    /// Moves on whoever and whatever has become due. Not in turn: it may take long, and log-ins do not wait for it.
    public func advance() async {
        guard await loadIfNeeded() else { return }
        do throws(StoreError) {
            let outcome = try await store.tickWaves(at: clock(), settings.rules)
            moved(outcome.changes)
            if !outcome.toInvite.isEmpty { report(.toInvite(outcome.toInvite)) }
            moved(try await store.settle(at: clock(), settings.rules))
            try await refresh()
            try await bury()
            try await store.prune(settings.retention, at: clock())
        } catch { if error.isOutage { away(error) } else { logger.error("waves and phases were not moved on: \(error)") } }
    }

    /// Seconds of silence after which another gateway's sessions are over.
    public static let longestSilence: UnixTime = 300

    private func bury() async throws(StoreError) {
        let now = clock()
        // While the store was away from all, nobody could say that they live.
        guard let since = answersSince, now - since > Self.longestSilence else { return }
        for (gateway, count) in try await store.endSessionsOfTheDead(silentSince: now - Self.longestSilence).sorted(by: { $0.key < $1.key }) {
            logger.notice("\(count) sessions of gateway \"\(gateway)\", which was not heard of for \(Self.longestSilence) seconds, are closed")
        }
    }

    /// The store may not have been there at the start.
    private func loadIfNeeded() async -> Bool {
        guard !isLoaded else { return true }
        do throws(StoreError) { try await load() } catch {
            away(error)
            return false
        }
        return true
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

    // MARK: Turns

    /// One write at a time: a store that is locked keeps each one waiting, and those behind the first need not find out for themselves.
    func turn() async {
        guard isWriting else {
            isWriting = true
            return
        }
        await withCheckedContinuation { queue.append($0) }
    }

    func endTurn() {
        if queue.isEmpty { isWriting = false } else { queue.removeFirst().resume() }
    }
}
