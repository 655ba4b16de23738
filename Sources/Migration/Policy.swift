/// What an administrator wants of PPTP log-ins, for a phase or for a wave. An empty policy allows everything.
public struct Policy: Sendable, Codable, Equatable {
    /// Each log-in is worth a line in the log and a webhook.
    public var warns: Bool
    /// Of a session, each way, in kbit/s; nil: as before.
    public var rate: UInt32?
    /// Only then; nil: always.
    public var hours: WeeklyHours?
    /// Refused from then on; nil: never.
    public var refuseAfter: UnixTime?
    /// Seconds after `refuseAfter` in which log-ins still pass, with a warning.
    public var grace: UnixTime

    public init(warns: Bool = false, rate: UInt32? = nil, hours: WeeklyHours? = nil, refuseAfter: UnixTime? = nil, grace: UnixTime = 0) {
        self.warns = warns
        self.rate = rate
        self.hours = hours
        self.refuseAfter = refuseAfter
        self.grace = grace
    }

    public static let allow = Policy()
}

/// An exception for one user: no policy and no retirement refuses or slows them until it expires.
public struct Exemption: Sendable, Codable, Equatable {
    public var until: UnixTime
    public var reason: String
    public var administrator: String

    public init(until: UnixTime, reason: String, administrator: String) {
        self.until = until
        self.reason = reason
        self.administrator = administrator
    }
}

/// What becomes of a PPTP log-in that has shown the right password.
public enum LoginVerdict: Sendable, Equatable {
    /// `rate` in kbit/s; nil: whatever the user has otherwise.
    case admit(rate: UInt32?, warnings: [LoginWarning])
    case refuse(LoginRefusal)
}

public enum LoginWarning: Sendable, Equatable {
    /// The policy of a phase or wave warns.
    case policy
    /// The date is over; log-ins are refused from then on.
    case grace(until: UnixTime)
    /// Would have been refused, or slowed down, but for an exception.
    case exempt(until: UnixTime)
}

public enum LoginRefusal: Sendable, Equatable {
    case retired
    case dateIsOver(since: UnixTime)
    case outsideHours

    /// For the CHAP failure message (RFC 2759 section 6): what the person in front of the old device reads, if it shows anything.
    public var message: String {
        switch self {
        case .retired, .dateIsOver: "PPTP is switched off for this account: use your WireGuard connection"
        case .outsideHours: "PPTP is not allowed at this hour: use your WireGuard connection"
        }
    }
}

extension LoginVerdict {
    /// The verdict of a user's phase and of all policies that apply to them: of the phase, of the waves. The strictest of each kind holds.
    public static func of(
        _ phase: Phase, policies: [Policy], exemption: Exemption?, at now: UnixTime, zone: (UnixTime) -> WeekMinute
    ) -> LoginVerdict {
        let plain = plain(phase, policies, at: now, zone)
        guard let exemption, now < exemption.until else { return plain }
        switch plain {
        case .refuse: return .admit(rate: nil, warnings: [.exempt(until: exemption.until)])
        case .admit(let rate, let warnings):
            return .admit(rate: nil, warnings: rate == nil ? warnings : warnings + [.exempt(until: exemption.until)])
        }
    }

    private static func plain(_ phase: Phase, _ policies: [Policy], at now: UnixTime, _ zone: (UnixTime) -> WeekMinute) -> LoginVerdict {
        guard phase != .retired else { return .refuse(.retired) }
        var rate: UInt32?, warnings: [LoginWarning] = [], graceEnds: UnixTime?
        for policy in policies {
            if let date = policy.refuseAfter, now >= date {
                let end = date + policy.grace
                guard now < end else { return .refuse(.dateIsOver(since: end)) }
                graceEnds = min(graceEnds ?? end, end)
            }
            if let limit = policy.rate { rate = min(rate ?? limit, limit) }
            if policy.warns, !warnings.contains(.policy) { warnings.append(.policy) }
        }
        let minute = zone(now)
        guard policies.allSatisfy({ $0.hours?.contains(minute) ?? true }) else { return .refuse(.outsideHours) }
        if let graceEnds { warnings.append(.grace(until: graceEnds)) }
        return .admit(rate: rate, warnings: warnings)
    }
}
