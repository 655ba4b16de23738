import Addresses
import Foundation
import Migration
import Store

// What the control API says about users and their migration. Field names are part of the API.

/// One page of a list; `next`, given as `after`, continues it. nil: it was the last one.
public struct PageView<Item: Codable & Sendable>: Codable, Sendable {
    public var items: [Item]
    public var next: String?
}

/// `GET /v1/users`.
public struct UserView: Codable, Sendable, Equatable {
    public var name: String
    /// `secrets`, `configuration`, `import`, `command`, `radius` or `sight`.
    public var origin: String
    /// `legacy`, `invited`, `dual`, `migrated` or `retired`.
    public var phase: String
    public var since: Date
    /// The phase was set by a person, and nothing seen has confirmed it.
    public var setByHand: Bool
    /// A roll-back holds the user: neither time nor a wave moves them on.
    public var held: Bool
    public var wave: String?
    public var invitedAt: Date?
    public var lastPPTP: Date?
    public var lastWireGuard: Date?
    public var openPPTPSessions: Int
    /// The best guess about what dialled last, and why.
    public var device: String?
    public var deviceEvidence: String?
    public var exemption: ExemptionView?
    public var note: String
    public var createdAt: Date
    public var removedAt: Date?
}

public struct ExemptionView: Codable, Sendable, Equatable {
    public var until: Date
    public var reason: String
    public var administrator: String
}

/// `GET /v1/users/{name}`.
public struct UserDetailView: Codable, Sendable, Equatable {
    public var user: UserView
    public var devices: [KnownDeviceView]
    /// The last ones, the newest first.
    public var sessions: [PastSessionView]
    public var peers: [LinkView]
    /// Every change of the phase, the oldest first.
    public var history: [PhaseChangeView]
}

public struct KnownDeviceView: Codable, Sendable, Equatable {
    public var kind: String
    public var evidence: String
    public var firstSeen: Date
    public var lastSeen: Date
    public var logins: Int
}

public struct PastSessionView: Codable, Sendable, Equatable {
    /// `pptp` or `native`.
    public var kind: String
    public var openedAt: Date
    public var closedAt: Date?
    public var cause: String?
    public var clientAddress: IPAddress?
    public var address: IPAddress
    public var tunnel: String
    public var device: String?
    public var bytesIn: Int64
    public var bytesOut: Int64
}

/// `GET /v1/peers`.
public struct LinkView: Codable, Sendable, Equatable {
    public var user: String
    public var publicKey: String
    public var tunnel: String
    public var allowedIPs: [IPPrefix]
    /// Who has the private key: `user` or `gateway`.
    public var holder: String
    public var createdAt: Date
    public var revokedAt: Date?
}

public struct PhaseChangeView: Codable, Sendable, Equatable {
    public var from: String
    public var to: String
    public var at: Date
    /// `evidence`, `wave NAME` or `administrator NAME`.
    public var by: String
    public var reason: String
}

/// `GET /v1/migration`.
public struct MigrationView: Codable, Sendable, Equatable {
    public var total: Int
    /// Users by phase; every phase is there.
    public var phases: [String: Int]
    public var waves: [WaveView]
    public var withoutWave: [String: Int]
    /// Users in each phase at the end of each day, the oldest first.
    public var trend: [TrendView]
    /// `done`, `ends`, `stalled` or `unknown`.
    public var forecast: String
    /// Where the forecast is `ends`.
    public var endsOn: Date?
    public var usersPerDay: Double?
    public var setByHand: Int
    public var exempt: Int
    /// Who still needs PPTP, the most traffic of the last 30 days first.
    public var blockers: [BlockerView]
    public var devices: [DeviceCountView]
    /// Why the database cannot be used now.
    public var problem: String?
}

public struct TrendView: Codable, Sendable, Equatable {
    public var day: Date
    public var phases: [String: Int]
}

public struct BlockerView: Codable, Sendable, Equatable {
    public var user: String
    public var phase: String
    public var device: String?
    public var lastPPTP: Date?
    public var bytes: Int64
}

public struct DeviceCountView: Codable, Sendable, Equatable {
    public var kind: String
    public var users: Int
}

/// `GET /v1/waves`.
public struct WaveView: Codable, Sendable, Equatable {
    public var name: String
    public var state: String
    public var startsAt: Date?
    public var invitesOnStart: Bool
    public var policy: PolicyView
    public var phases: [String: Int]
}

/// What PPTP log-ins are met with. Everything left out: they are let in.
public struct PolicyView: Codable, Sendable, Equatable {
    public var warn: Bool?
    /// kbit/s, each way.
    public var rate: UInt32?
    /// Such as `mon-fri 08:00-18:00`.
    public var hours: String?
    public var refuseAfter: Date?
    /// Seconds after that in which log-ins still pass, with a warning.
    public var grace: Int64?

    public init(warn: Bool? = nil, rate: UInt32? = nil, hours: String? = nil, refuseAfter: Date? = nil, grace: Int64? = nil) {
        self.warn = warn
        self.rate = rate
        self.hours = hours
        self.refuseAfter = refuseAfter
        self.grace = grace
    }
}

// MARK: From the store

extension Date {
    init(_ time: UnixTime) { self.init(timeIntervalSince1970: TimeInterval(time)) }
    var unixTime: UnixTime { UnixTime(timeIntervalSince1970) }
}

extension [Phase: Int] {
    var view: [String: Int] { Dictionary<String, Int>(uniqueKeysWithValues: Phase.allCases.map { ($0.rawValue, self[$0] ?? 0) }) }
}

extension UserView {
    init(_ user: StoredUser) {
        let migration = user.migration
        self.init(
            name: user.name, origin: user.origin.rawValue, phase: migration.phase.rawValue, since: Date(migration.since),
            setByHand: migration.isSetByHand, held: migration.isHeld, wave: user.wave, invitedAt: migration.invitedAt.map { Date($0) },
            lastPPTP: migration.legacyAt.map { Date($0) }, lastWireGuard: migration.nativeAt.map { Date($0) },
            openPPTPSessions: migration.openLegacySessions, device: user.lastDevice?.kind, deviceEvidence: user.lastDevice?.evidence,
            exemption: user.exemption.map { ExemptionView(until: Date($0.until), reason: $0.reason, administrator: $0.administrator) },
            note: user.note, createdAt: Date(user.createdAt), removedAt: user.removedAt.map { Date($0) })
    }
}

extension PhaseChangeView {
    init(_ change: PhaseChange) {
        let by = switch change.mover {
        case .evidence: "evidence"
        case .wave(let name): "wave \(name)"
        case .administrator(let name): "administrator \(name)"
        }
        self.init(from: change.from.rawValue, to: change.to.rawValue, at: Date(change.at), by: by, reason: change.reason)
    }
}

extension PastSessionView {
    init(_ session: StoredSession) {
        self.init(
            kind: session.kind.rawValue, openedAt: Date(session.openedAt), closedAt: session.closedAt.map { Date($0) }, cause: session.cause,
            clientAddress: session.clientAddress, address: session.address, tunnel: session.tunnel, device: session.device,
            bytesIn: session.traffic.bytesIn, bytesOut: session.traffic.bytesOut)
    }
}

extension LinkView {
    init(_ link: PeerLink) {
        self.init(
            user: link.user, publicKey: Data(link.publicKey).base64EncodedString(), tunnel: link.tunnel, allowedIPs: link.allowedIPs,
            holder: link.holder.rawValue, createdAt: Date(link.createdAt), revokedAt: link.revokedAt.map { Date($0) })
    }
}

extension PolicyView {
    init(_ policy: Policy) {
        self.init(
            warn: policy.warns ? true : nil, rate: policy.rate, hours: policy.hours?.description,
            refuseAfter: policy.refuseAfter.map { Date($0) }, grace: policy.grace > 0 ? policy.grace : nil)
    }

    /// Throws a WeeklyHours.Problem.
    func policy() throws -> Policy {
        Policy(
            warns: warn ?? false, rate: rate, hours: try hours.map { try WeeklyHours($0) }, refuseAfter: refuseAfter?.unixTime, grace: grace ?? 0)
    }
}

extension WaveView {
    init(_ wave: Wave, _ counts: [Phase: Int]) {
        self.init(
            name: wave.name, state: wave.state.rawValue, startsAt: wave.startsAt.map { Date($0) }, invitesOnStart: wave.invitesOnStart,
            policy: PolicyView(wave.policy), phases: counts.view)
    }
}

extension MigrationView {
    init(_ status: MigrationStatus, problem: String?) {
        let forecast = Forecast(trend: status.trend)
        let day = { (day: Int) in Date(UnixTime(day) * 86_400) }
        self.init(
            total: status.counts.values.reduce(0, +), phases: status.counts.view, waves: status.waves.map { WaveView($0.wave, $0.counts) },
            withoutWave: status.unassigned.view, trend: status.trend.map { TrendView(day: day($0.day), phases: $0.counts.view) }, forecast: "unknown",
            setByHand: status.setByHand, exempt: status.exempt,
            blockers: status.blockers.map {
                BlockerView(user: $0.user, phase: $0.phase.rawValue, device: $0.device, lastPPTP: $0.legacyAt.map { Date($0) }, bytes: $0.bytes)
            }, devices: status.devices.map { DeviceCountView(kind: $0.kind, users: $0.users) }, problem: problem)
        switch forecast {
        case .done: self.forecast = "done"
        case .stalled: self.forecast = "stalled"
        case .unknown: break
        case .ends(let last, let perDay):
            self.forecast = "ends"
            endsOn = day(last)
            usersPerDay = perDay
        }
    }
}
