import NIOCore
import PPTP
import Timers

/// One session's place in the client, to which alone it belongs.
final class Session {
    var status: SessionStatus
    let account: LegacyAccount
    var line: Int?
    /// Once the call is there, until it is over.
    var call: LegacyCall?
    /// Known to the data path.
    var isOpen = false
    /// Counted in `beingSetUp`.
    var isBeingSetUp = false
    var startedAt: ContinuousClock.Instant?
    var setupDeadline: ContinuousClock.Instant?
    var timer: ClientTimer?

    var number: Int { status.number }
    var isOver: Bool { status.phase == .closed || status.phase == .failed }

    init(number: Int, account: LegacyAccount) {
        self.account = account
        status = SessionStatus(number: number, user: account.user, phase: .waiting)
    }

    var deadline: ContinuousClock.Instant? { [call?.deadline, setupDeadline].compactMap { $0 }.min() }
}

/// One TCP control connection.
struct ControlLine {
    var connection: ClientConnection
    /// Session numbers by our call IDs, for calls that have not ended.
    var calls: [UInt16: Int] = [:]
    /// All that it ever had.
    var callCount = 0
    var channel: LineChannel?
    var timer: ClientTimer?

    init(profile: ClientProfile) { connection = ClientConnection(profile: profile) }
}

/// Whose deadline a timer is, by number.
enum ClientTimerOwner: Sendable {
    case session(Int)
    case line(Int)
}

/// A timer that runs, and when it comes.
struct ClientTimer {
    let at: ContinuousClock.Instant
    let token: TimerWheel<ClientTimerOwner>.Token
}

extension TimeAmount {
    init(until instant: ContinuousClock.Instant, now: ContinuousClock.Instant) {
        self = max(.zero, TimeAmount(instant - now))
    }
}
