/// A named group of users with a date. A value: commands and time come in, what is to be done comes out.
///
///     planned -> scheduled -> running -> done
///                    |           |
///                    +-> paused <+    rolled back: from running, paused or done
///
/// While a wave runs, its policy holds for its members. When its date and grace are over, members that are migrated are retired; those that
/// are not yet are refused by the policy's date and retired as soon as they are migrated.
public struct Wave: Sendable, Codable, Equatable {
    public enum State: String, Sendable, Codable, CaseIterable { case planned, scheduled, running, paused, done, rolledBack = "rolled-back" }

    public let name: String
    public private(set) var state: State
    /// When it starts by itself; needed for `scheduled`.
    public private(set) var startsAt: UnixTime?
    /// Holds for the members while the wave runs, and when it is done. Its `refuseAfter` is the wave's date.
    public var policy: Policy
    /// Members in `legacy` are to be invited when it starts.
    public var invitesOnStart: Bool
    /// Of a paused wave: what it goes on as.
    public private(set) var resumesAs: State?

    /// What the caller has to do.
    public enum Action: Sendable, Equatable {
        /// Hand out configurations to members that have none.
        case inviteMembers
        /// Retire the members that are migrated.
        case retireMigrated
        /// Put the members that the wave retired back.
        case rollBackMembers
        /// For the history.
        case record(from: State, to: State)
    }

    /// Why a command does not fit, in words for an administrator.
    public struct Problem: Error, Equatable, CustomStringConvertible { public var description: String }

    public init(name: String, policy: Policy = .allow, invitesOnStart: Bool = true) {
        self.name = name
        state = .planned
        self.policy = policy
        self.invitesOnStart = invitesOnStart
    }

    /// As it was kept.
    public init(name: String, state: State, startsAt: UnixTime?, policy: Policy, invitesOnStart: Bool, resumesAs: State?) {
        self.name = name
        self.state = state
        self.startsAt = startsAt
        self.policy = policy
        self.invitesOnStart = invitesOnStart
        self.resumesAs = resumesAs
    }

    /// The policy that its members have now; nil: none.
    public var activePolicy: Policy? { state == .running || state == .done ? policy : nil }

    /// When refusal begins; nil: this wave refuses nobody.
    public var refusesAt: UnixTime? { policy.refuseAfter.map { $0 + policy.grace } }

    public mutating func schedule(at start: UnixTime, now: UnixTime) throws(Problem) -> [Action] {
        guard state == .planned || state == .scheduled || state == .rolledBack else { throw unfit("be scheduled") }
        guard start > now else { throw Problem(description: "the start of wave \"\(name)\" is in the past: use start") }
        if let refusesAt, refusesAt <= start {
            throw Problem(description: "wave \"\(name)\" would refuse its members before it starts: set a later date first")
        }
        startsAt = start
        return move(to: .scheduled)
    }

    public mutating func start(now: UnixTime) throws(Problem) -> [Action] {
        switch state {
        case .planned, .scheduled, .rolledBack:
            if let refusesAt, refusesAt <= now {
                throw Problem(description: "the date of wave \"\(name)\" is over: all members would be refused at once; set a later date first")
            }
            startsAt = now
            return move(to: .running) + (invitesOnStart ? [.inviteMembers] : [])
        case .paused: return resume(now: now)
        case .running, .done: throw unfit("be started")
        }
    }

    /// Its policy does not hold any more and no date comes; members keep their phases.
    public mutating func pause() throws(Problem) -> [Action] {
        guard state == .running || state == .scheduled else { throw unfit("be paused") }
        resumesAs = state
        return move(to: .paused)
    }

    public mutating func rollBack() throws(Problem) -> [Action] {
        guard state == .running || state == .paused || state == .done else { throw unfit("be rolled back") }
        return move(to: .rolledBack) + [.rollBackMembers]
    }

    /// Time has passed.
    public mutating func tick(now: UnixTime) -> [Action] {
        var actions: [Action] = []
        if state == .scheduled, let startsAt, now >= startsAt {
            actions += move(to: .running) + (invitesOnStart ? [.inviteMembers] : [])
        }
        if state == .running, let refusesAt, now >= refusesAt { actions += move(to: .done) }
        // Again and again: members become migrated after the date, too.
        if state == .done { actions.append(.retireMigrated) }
        return actions
    }

    private mutating func resume(now: UnixTime) -> [Action] {
        let before = resumesAs ?? .running
        // What would have started meanwhile starts now.
        let starts = before == .scheduled && startsAt.map { now >= $0 } ?? true
        let invites = starts && before == .scheduled && invitesOnStart
        return move(to: starts ? .running : before) + (invites ? [.inviteMembers] : [])
    }

    private mutating func move(to next: State) -> [Action] {
        guard next != state else { return [] }
        defer { state = next }
        if next != .paused { resumesAs = nil }
        return [.record(from: state, to: next)]
    }

    private func unfit(_ what: String) -> Problem { Problem(description: "wave \"\(name)\" is \(state.rawValue) and cannot \(what)") }
}
