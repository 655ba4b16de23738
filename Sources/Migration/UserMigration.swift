/// The migration of one user: what was seen, and the phase that follows from it. A value; times come in, changes come out.
///
/// What moves a user by itself:
///
///     legacy   -> invited    a configuration was handed out
///     legacy, invited -> dual      WireGuard was seen, PPTP is open or was within `quietDays`
///     legacy, invited, dual -> migrated   WireGuard was seen, and PPTP has been silent for `quietDays`
///     migrated -> dual       PPTP again
///     migrated -> retired    after `retireAfterDays`, or when the wave's date comes; not while a roll-back holds it
///
/// A retired user stays retired until somebody says otherwise: a refused PPTP log-in is no reason to let them in again.
public struct UserMigration: Sendable, Codable, Equatable {
    public private(set) var phase: Phase
    /// Since when.
    public private(set) var since: UnixTime
    /// When PPTP was seen last; while a session is open: when it was opened or looked at last.
    public private(set) var legacyAt: UnixTime?
    /// Open PPTP sessions: somebody who stays connected for weeks is not silent.
    public private(set) var openLegacySessions: Int
    /// First and last sign of life of a peer that the user holds: a handshake or bytes.
    public private(set) var nativeSince: UnixTime?
    public private(set) var nativeAt: UnixTime?
    public private(set) var invitedAt: UnixTime?
    /// The phase was set by a person and nothing seen has confirmed it since: a report says so.
    public private(set) var isSetByHand: Bool
    /// Who moved the user to where they are.
    public private(set) var mover: Mover
    /// A roll-back holds the user: neither time nor a wave moves them on until `release`.
    public private(set) var isHeld: Bool

    public init(since: UnixTime) {
        phase = .legacy
        self.since = since
        openLegacySessions = 0
        isSetByHand = false
        mover = .evidence
        isHeld = false
    }

    /// As it was kept.
    public init(
        phase: Phase, since: UnixTime, mover: Mover, legacyAt: UnixTime?, openLegacySessions: Int, nativeSince: UnixTime?, nativeAt: UnixTime?,
        invitedAt: UnixTime?, isSetByHand: Bool, isHeld: Bool
    ) {
        self.phase = phase
        self.since = since
        self.mover = mover
        self.legacyAt = legacyAt
        self.openLegacySessions = openLegacySessions
        self.nativeSince = nativeSince
        self.nativeAt = nativeAt
        self.invitedAt = invitedAt
        self.isSetByHand = isSetByHand
        self.isHeld = isHeld
    }

    // MARK: What was seen

    /// A PPTP session of the user was admitted.
    public mutating func legacyOpened(at now: UnixTime, _ rules: MigrationRules) -> PhaseChange? {
        openLegacySessions += 1
        legacyAt = max(legacyAt ?? now, now)
        guard phase == .migrated else { return settle(at: now, rules) }
        return move(to: .dual, at: now, .evidence, "PPTP log-in of a migrated user")
    }

    /// A PPTP session ended: it was there until now.
    public mutating func legacyClosed(at now: UnixTime, _ rules: MigrationRules) -> PhaseChange? {
        openLegacySessions = max(0, openLegacySessions - 1)
        legacyAt = max(legacyAt ?? now, now)
        return settle(at: now, rules)
    }

    /// After a restart of the gateway no session of its last life is open; PPTP was last seen when that life ended.
    public mutating func legacySessionsLost(at end: UnixTime) {
        guard openLegacySessions > 0 else { return }
        openLegacySessions = 0
        legacyAt = max(legacyAt ?? end, end)
    }

    /// A handshake or data of the user's own peer, by whomever it was seen.
    public mutating func nativeSeen(at now: UnixTime, by witness: String, _ rules: MigrationRules) -> PhaseChange? {
        nativeSince = min(nativeSince ?? now, now)
        nativeAt = max(nativeAt ?? now, now)
        if phase >= .dual { isSetByHand = false }
        guard phase < .dual else { return settle(at: now, rules) }
        if isQuiet(at: now, rules), !isHeld {
            return move(to: .migrated, at: now, .evidence, "WireGuard seen by \(witness), \(Self.silence(legacyAt, at: now))")
        }
        return move(to: .dual, at: now, .evidence, "WireGuard seen by \(witness)")
    }

    /// Time has passed. Call it once in a while; nothing is lost when it comes late.
    public mutating func settle(at now: UnixTime, _ rules: MigrationRules) -> PhaseChange? {
        guard !isHeld else { return nil }
        switch phase {
        case .dual where nativeAt != nil && isQuiet(at: now, rules) && wasNativeWithoutLegacy:
            return move(to: .migrated, at: now, .evidence, Self.silence(legacyAt, at: now))
        case .migrated:
            guard let after = rules.retireAfter, now - since >= after else { return nil }
            return move(to: .retired, at: now, .evidence, "migrated for \((now - since) / MigrationRules.day) days")
        default: return nil
        }
    }

    // MARK: What is asked for

    /// A configuration was handed out. Nothing changes for somebody who is further on.
    public mutating func invited(at now: UnixTime, by mover: Mover) -> PhaseChange? {
        invitedAt = now
        guard phase == .legacy else { return nil }
        return move(to: .invited, at: now, mover, "configuration handed out")
    }

    /// The invitation was withdrawn before it was used.
    public mutating func invitationWithdrawn(at now: UnixTime, by mover: Mover) -> PhaseChange? {
        invitedAt = nil
        guard phase == .invited else { return nil }
        return move(to: .legacy, at: now, mover, "invitation withdrawn")
    }

    /// PPTP is refused from now on. Whoever is not migrated can be retired only by name, not by a wave.
    public mutating func retire(at now: UnixTime, by mover: Mover, reason: String) -> PhaseChange? {
        guard phase != .retired else { return nil }
        if case .administrator = mover {
            isHeld = false
        } else if phase != .migrated || isHeld {
            return nil
        }
        return move(to: .retired, at: now, mover, reason)
    }

    /// An administrator knows better.
    public mutating func set(_ phase: Phase, at now: UnixTime, by administrator: String, reason: String) -> PhaseChange? {
        guard phase != self.phase else { return nil }
        if phase == .retired { isHeld = false }
        let change = move(to: phase, at: now, .administrator(administrator), reason)
        isSetByHand = true
        return change
    }

    /// One step back, with PPTP allowed, and held there: the same date must not refuse the user again a minute later. From `retired` to
    /// what was seen of them, from `migrated` to `dual`. nil: there is nothing to roll back.
    public mutating func rollBack(at now: UnixTime, by administrator: String, reason: String, _ rules: MigrationRules) -> PhaseChange? {
        guard phase.isDone else { return nil }
        let target = phase == .retired ? seen(at: now, rules) : .dual
        isHeld = true
        return move(to: target, at: now, .administrator(administrator), reason)
    }

    /// Waves and time may move the user on again.
    public mutating func release() { isHeld = false }

    // MARK: -

    /// The phase that the evidence alone gives; never `retired`.
    private func seen(at now: UnixTime, _ rules: MigrationRules) -> Phase {
        guard nativeAt != nil else { return invitedAt == nil ? .legacy : .invited }
        return isQuiet(at: now, rules) && wasNativeWithoutLegacy ? .migrated : .dual
    }

    private func isQuiet(at now: UnixTime, _ rules: MigrationRules) -> Bool {
        guard openLegacySessions == 0 else { return false }
        guard let legacyAt else { return true }
        return now - legacyAt >= rules.quiet
    }

    /// WireGuard worked after PPTP was seen last. Otherwise the user is just away, not migrated.
    private var wasNativeWithoutLegacy: Bool {
        guard let nativeAt else { return false }
        guard let legacyAt else { return true }
        return nativeAt > legacyAt
    }

    private mutating func move(to phase: Phase, at now: UnixTime, _ mover: Mover, _ reason: String) -> PhaseChange {
        let change = PhaseChange(from: self.phase, to: phase, at: now, mover: mover, reason: reason)
        self.phase = phase
        since = now
        self.mover = mover
        isSetByHand = false
        return change
    }

    private static func silence(_ legacyAt: UnixTime?, at now: UnixTime) -> String {
        guard let legacyAt else { return "PPTP never seen" }
        return "no PPTP for \((now - legacyAt) / MigrationRules.day) days"
    }
}
