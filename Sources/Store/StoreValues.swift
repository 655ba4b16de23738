import Addresses
import Migration

/// A row of the store, for as long as the store exists.
public struct RowID<Kind>: Sendable, Hashable, CustomStringConvertible {
    public let value: Int64
    public init(_ value: Int64) { self.value = value }
    public var description: String { "\(value)" }
}
public enum SessionRow {}
public typealias SessionID = RowID<SessionRow>
public enum LinkRow {}
public typealias LinkID = RowID<LinkRow>

/// How a user reaches us.
public enum AccessKind: String, Sendable, CaseIterable, Codable { case pptp, native }

/// Where a user was heard of first.
public enum UserOrigin: String, Sendable, CaseIterable, Codable { case secrets, configuration, imported = "import", command, radius, sight }

// MARK: Users

public struct StoredUser: Sendable, Equatable {
    public var name: String
    public var origin: UserOrigin
    public var createdAt: UnixTime
    /// Not in any users file any more; the history stays.
    public var removedAt: UnixTime?
    public var migration: UserMigration
    /// Name of the wave that the user is in.
    public var wave: String?
    public var exemption: Exemption?
    public var note: String
    public var lastDevice: DeviceGuess?
}

/// What decides about a log-in, small enough to be held for every user: the gateway judges by it while the store is away, too.
public struct LoginFacts: Sendable, Equatable {
    public var phase: Phase
    public var wave: String?
    public var exemption: Exemption?

    public init(phase: Phase, wave: String? = nil, exemption: Exemption? = nil) {
        self.phase = phase
        self.wave = wave
        self.exemption = exemption
    }
}

public struct UserFilter: Sendable {
    public var phase: Phase?
    public var wave: String?
    /// Names that begin so.
    public var prefix: String?
    public var includesRemoved = false
    public init(phase: Phase? = nil, wave: String? = nil, prefix: String? = nil, includesRemoved: Bool = false) {
        self.phase = phase
        self.wave = wave
        self.prefix = prefix
        self.includesRemoved = includesRemoved
    }
}

/// One page of a listing; `next` continues it, nil: it was the last one.
public struct Page<Element: Sendable, Key: Sendable>: Sendable {
    public var elements: [Element]
    public var next: Key?
}
extension Page: Equatable where Element: Equatable, Key: Equatable {}

// MARK: Devices

/// What a client's own words and habits say about it.
public struct DeviceGuess: Sendable, Equatable, Hashable {
    /// `Windows 10/11`, `MikroTik RouterOS`, `pptp-linux/pppd`, `embedded` …
    public var kind: String
    /// What it is told apart by; the same device says the same each time.
    public var fingerprint: String
    /// Why, in words for an administrator.
    public var evidence: String
    public init(kind: String, fingerprint: String, evidence: String) {
        self.kind = kind
        self.fingerprint = fingerprint
        self.evidence = evidence
    }
}

public struct StoredDevice: Sendable, Equatable {
    public var user: String
    public var guess: DeviceGuess
    public var firstSeen: UnixTime
    public var lastSeen: UnixTime
    public var logins: Int
}

// MARK: Sessions

/// A session that begins. Stored in one transaction with everything that follows from it.
public struct SessionOpening: Sendable {
    public var kind: AccessKind
    public var user: String
    public var at: UnixTime
    /// Outer address of the client; nil: not known yet.
    public var clientAddress: IPAddress?
    /// Inner address.
    public var address: IPAddress
    /// The pool that the address came from, whose lease it becomes; nil: the user's own for good.
    public var pool: String?
    public var tunnel: String
    /// The user may have no other session of this kind.
    public var isOnly: Bool
    public var device: DeviceGuess?
    /// For a user who was never heard of.
    public var origin: UserOrigin

    public init(
        kind: AccessKind, user: String, at: UnixTime, clientAddress: IPAddress?, address: IPAddress, pool: String?, tunnel: String,
        isOnly: Bool = false, device: DeviceGuess? = nil, origin: UserOrigin = .sight
    ) {
        self.kind = kind
        self.user = user
        self.at = at
        self.clientAddress = clientAddress
        self.address = address
        self.pool = pool
        self.tunnel = tunnel
        self.isOnly = isOnly
        self.device = device
        self.origin = origin
    }
}

public struct SessionOpened: Sendable, Equatable {
    public var id: SessionID
    public var change: PhaseChange?
    /// The user's first PPTP log-in ever.
    public var isFirstLegacyLogin: Bool
}

/// Inner packets and bytes; `in` is from the user.
public struct Traffic: Sendable, Equatable, Codable {
    public var packetsIn: Int64, packetsOut: Int64, bytesIn: Int64, bytesOut: Int64
    public init(packetsIn: Int64 = 0, packetsOut: Int64 = 0, bytesIn: Int64 = 0, bytesOut: Int64 = 0) {
        self.packetsIn = packetsIn
        self.packetsOut = packetsOut
        self.bytesIn = bytesIn
        self.bytesOut = bytesOut
    }
    /// Counters only grow; should one not have, nothing is taken away.
    public static func - (left: Traffic, right: Traffic) -> Traffic {
        Traffic(
            packetsIn: max(0, left.packetsIn - right.packetsIn), packetsOut: max(0, left.packetsOut - right.packetsOut),
            bytesIn: max(0, left.bytesIn - right.bytesIn), bytesOut: max(0, left.bytesOut - right.bytesOut))
    }
    public var isZero: Bool { packetsIn == 0 && packetsOut == 0 && bytesIn == 0 && bytesOut == 0 }
}

public struct SessionClosing: Sendable {
    public var id: SessionID
    public var at: UnixTime
    public var cause: String
    /// All that went through it.
    public var total: Traffic
    public init(id: SessionID, at: UnixTime, cause: String, total: Traffic = Traffic()) {
        self.id = id
        self.at = at
        self.cause = cause
        self.total = total
    }
}

public struct StoredSession: Sendable, Equatable {
    public var id: SessionID
    public var gateway: String
    public var kind: AccessKind
    public var user: String
    public var clientAddress: IPAddress?
    public var address: IPAddress
    public var tunnel: String
    public var device: String?
    public var openedAt: UnixTime
    public var closedAt: UnixTime?
    public var cause: String?
    public var traffic: Traffic
}

public struct SessionFilter: Sendable {
    public var user: String?
    public var openOnly: Bool
    public init(user: String? = nil, openOnly: Bool = false) {
        self.user = user
        self.openOnly = openOnly
    }
}

/// An address that stays with its user.
public struct Lease: Sendable, Equatable {
    public var address: IPAddress
    public var user: String
    public var pool: String
    public var gateway: String
    /// Grows with each new holder.
    public var generation: Int64
    public var usedAt: UnixTime
}

/// Days for which ended sessions, traffic and events are kept; nil: for ever.
public struct Retention: Sendable, Equatable {
    public var sessions: Int?
    public var traffic: Int?
    public var events: Int?
    public init(sessions: Int? = nil, traffic: Int? = nil, events: Int? = nil) {
        self.sessions = sessions
        self.traffic = traffic
        self.events = events
    }
}

// MARK: Links

/// The WireGuard peer that a user has, or will have.
public struct PeerLink: Sendable, Equatable {
    public enum Holder: String, Sendable, CaseIterable, Codable {
        /// We hold the private key, and speak for the user.
        case gateway
        /// The user's device holds it.
        case user
    }
    public var id: LinkID
    public var user: String
    /// 32 bytes.
    public var publicKey: [UInt8]
    public var tunnel: String
    public var allowedIPs: [IPPrefix]
    public var holder: Holder
    public var createdAt: UnixTime
    public var handedOverAt: UnixTime?
    public var revokedAt: UnixTime?
}

public struct NewPeerLink: Sendable, Equatable {
    public var user: String
    public var publicKey: [UInt8]
    public var tunnel: String
    public var allowedIPs: [IPPrefix]
    public var holder: PeerLink.Holder
    /// The key was the gateway's until now.
    public var isHandedOver: Bool
    public init(user: String, publicKey: [UInt8], tunnel: String, allowedIPs: [IPPrefix], holder: PeerLink.Holder, isHandedOver: Bool = false) {
        self.user = user
        self.publicKey = publicKey
        self.tunnel = tunnel
        self.allowedIPs = allowedIPs
        self.holder = holder
        self.isHandedOver = isHandedOver
    }
}

// MARK: Events

/// Who asks for a change.
public struct Actor: Sendable, Equatable {
    /// As known to the control API: a token's name, or the Unix user of the socket.
    public var name: String
    /// From where: an address, or `socket`.
    public var source: String
    public init(name: String, source: String) {
        self.name = name
        self.source = source
    }
    /// The gateway by itself.
    public static let gateway = Actor(name: "", source: "gateway")
}

public struct StoredEvent: Sendable, Equatable {
    public var id: Int64
    public var at: UnixTime
    public var gateway: String
    public var actor: Actor
    /// `phase`, `wave`, `policy`, `exemption`, `link`, `user`, `login-refused`, `first-legacy-login` …
    public var kind: String
    public var user: String?
    public var wave: String?
    public var text: String
}

public struct NewEvent: Sendable {
    public var at: UnixTime
    public var actor: Actor
    public var kind: String
    public var user: String?
    public var wave: String?
    public var text: String
    public init(at: UnixTime, actor: Actor = .gateway, kind: String, user: String? = nil, wave: String? = nil, text: String) {
        self.at = at
        self.actor = actor
        self.kind = kind
        self.user = user
        self.wave = wave
        self.text = text
    }
}

// MARK: Reports

public struct MigrationStatus: Sendable, Equatable {
    public var counts: [Phase: Int]
    /// Waves in the order of their names.
    public var waves: [WaveStatus]
    /// Users without a wave.
    public var unassigned: [Phase: Int]
    /// Of the last days, oldest first, today included.
    public var trend: [DayCount]
    /// Phases that a person set and nothing seen has confirmed.
    public var setByHand: Int
    public var exempt: Int
    /// Who still needs PPTP, the most traffic first.
    public var blockers: [Blocker]
    /// Kinds of devices of users who are not done, the most users first.
    public var devices: [DeviceCount]

    public struct WaveStatus: Sendable, Equatable {
        public var wave: Wave
        public var counts: [Phase: Int]
    }
    public struct Blocker: Sendable, Equatable {
        public var user: String
        public var phase: Phase
        public var device: String?
        public var legacyAt: UnixTime?
        /// Over PPTP, both ways, in the last 30 days.
        public var bytes: Int64
    }
    public struct DeviceCount: Sendable, Equatable {
        public var kind: String
        public var users: Int
    }
}
