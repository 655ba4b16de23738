import Addresses

/// Links each legacy session to its place on the modern side: an inner address, the prefixes behind it, and the tunnel that
/// alone carries its traffic. It knows neither PPTP nor netlink: log-ins go in, bindings or refusals come out.
public struct SessionMapper: Sendable {
    private var pools: [String: AddressPool]
    private var tunnels: Set<String>
    private var assignments: [UInt64: Assignment] = [:]
    private var sessionsOfUser: [String: Set<UInt64>] = [:]
    private var occupied = PrefixTable()
    /// Static addresses and prefixes of users who are not logged in: no one else may get them meanwhile.
    private var reserved: [IPPrefix: String] = [:]

    public init(pools: [AddressPool], tunnels: Set<String>, reservations: [Reservation] = []) {
        self.pools = Dictionary(pools.map { ($0.name, $0) }, uniquingKeysWith: { first, _ in first })
        self.tunnels = tunnels
        reserve(reservations)
    }

    /// Takes other pools. One that did not change keeps its memory of who had which address; open sessions keep theirs in any case.
    public mutating func replace(pools new: [AddressPool]) {
        pools = Dictionary(
            new.map { pool in
                let known = pools[pool.name]
                return (pool.name, known?.ranges == pool.ranges && known?.gateway == pool.gateway ? known! : pool)
            }, uniquingKeysWith: { first, _ in first })
    }

    /// Tells each pool who had which address last: so a user gets theirs again after a restart.
    public mutating func prime(_ addresses: [String: [String: IPAddress]]) {
        for (pool, addresses) in addresses { pools[pool]?.prime(addresses) }
    }

    /// The address of the pool that the user would get now, kept in mind for them; nil: there is none.
    public mutating func remember(_ user: String, in pool: String) -> IPAddress? {
        let occupied = occupied, reserved = reserved
        guard
            let address = pools[pool]?.take(
                for: user,
                where: { occupied.overlap(with: IPPrefix($0)) == nil && (reserved[IPPrefix($0)] ?? user) == user })
        else { return nil }
        pools[pool]?.give(address)
        return address
    }

    /// Replaces the static addresses and prefixes that belong to users. Open sessions keep what they have.
    public mutating func reserve(_ reservations: [Reservation]) {
        reserved = Dictionary(
            reservations.flatMap { entry in entry.prefixes.map { ($0, entry.user) } }, uniquingKeysWith: { first, _ in first })
    }

    /// After many sessions have ended: room that they took goes back.
    public mutating func trim() {
        assignments.shrinkIfSparse()
        sessionsOfUser.shrinkIfSparse()
        occupied.trim()
    }

    public var sessionCount: Int { assignments.count }
    public func assignment(of session: UInt64) -> Assignment? { assignments[session] }
    /// The user's open sessions, oldest first.
    public func sessions(of user: String) -> [UInt64] { (sessionsOfUser[user] ?? []).sorted() }
    public func freeAddresses(in pool: String) -> Int? { pools[pool]?.freeCount }

    /// Finds an address for a log-in and occupies it and the user's prefixes until `release`.
    public mutating func admit(_ login: Login, session: UInt64) -> Result<Assignment, Refusal> {
        precondition(assignments[session] == nil, "session \(session) was admitted before")
        guard let gateway = pools[login.pool]?.gateway else { return .failure(.unknownPool(login.pool)) }
        guard tunnels.contains(login.tunnel) else { return .failure(.unknownTunnel(login.tunnel)) }
        for prefix in login.prefixes {
            if let holder = occupied.overlap(with: prefix) { return .failure(.taken(prefix, by: holder)) }
        }
        let address: IPAddress
        if let fixed = login.staticAddress {
            if let holder = occupied.overlap(with: IPPrefix(fixed)) { return .failure(.taken(IPPrefix(fixed), by: holder)) }
            address = fixed
        } else {
            let occupied = occupied, reserved = reserved
            guard
                // In place: a copy of the pool would be as long as its list of addresses.
                let found = pools[login.pool]?.take(
                    for: login.user,
                    where: { candidate in
                        occupied.overlap(with: IPPrefix(candidate)) == nil
                            && !login.refused.contains(candidate)
                            && (login.allowed?.contains { $0.contains(candidate) } ?? true)
                            && !login.prefixes.contains { $0.contains(candidate) }
                            && (reserved[IPPrefix(candidate)] ?? login.user) == login.user
                    })
            else { return .failure(.poolExhausted(login.pool)) }
            address = found
        }
        let assignment = Assignment(
            user: login.user, address: address, gateway: gateway, prefixes: [IPPrefix(address)] + login.prefixes,
            tunnel: login.tunnel, pool: login.staticAddress == nil ? login.pool : nil)
        for prefix in assignment.prefixes { occupied.insert(prefix, holder: login.user) }
        assignments[session] = assignment
        sessionsOfUser[login.user, default: []].insert(session)
        return .success(assignment)
    }

    /// The session is over: its address is free for others.
    public mutating func release(_ session: UInt64) {
        guard let assignment = assignments.removeValue(forKey: session) else { return }
        for prefix in assignment.prefixes { occupied.remove(prefix) }
        sessionsOfUser[assignment.user]?.remove(session)
        if sessionsOfUser[assignment.user]?.isEmpty == true { sessionsOfUser[assignment.user] = nil }
        if let pool = assignment.pool { pools[pool]?.give(assignment.address) }
    }
}

/// Static addresses and prefixes of one user.
public struct Reservation: Sendable {
    public var user: String
    public var prefixes: [IPPrefix]
    public init(user: String, prefixes: [IPPrefix]) {
        self.user = user
        self.prefixes = prefixes
    }
}

/// An authenticated user who needs a place.
public struct Login: Sendable {
    public var user: String
    public var pool: String
    public var tunnel: String
    /// From the users file; nil: from the pool.
    public var staticAddress: IPAddress?
    /// Networks behind the user's router.
    public var prefixes: [IPPrefix]
    /// Only addresses of the pool in one of these; nil: any.
    public var allowed: [IPPrefix]?
    /// Addresses of the pool that turned out to be somebody else's.
    public var refused: Set<IPAddress> = []

    public init(user: String, pool: String, tunnel: String, staticAddress: IPAddress? = nil, prefixes: [IPPrefix] = []) {
        self.user = user
        self.pool = pool
        self.tunnel = tunnel
        self.staticAddress = staticAddress
        self.prefixes = prefixes
    }
}

public struct Assignment: Sendable, Equatable {
    public let user: String
    public let address: IPAddress
    /// Our end of the link.
    public let gateway: IPAddress
    /// The address first, then the networks behind it.
    public let prefixes: [IPPrefix]
    public let tunnel: String
    /// Where the address goes back to; nil for a static one.
    public let pool: String?
}

/// Why a log-in found no place.
public enum Refusal: Error, Sendable, Equatable, CustomStringConvertible {
    case unknownPool(String)
    case unknownTunnel(String)
    case poolExhausted(String)
    case taken(IPPrefix, by: String)

    public var description: String {
        switch self {
        case .unknownPool(let name): "pool \"\(name)\" is not in the configuration"
        case .unknownTunnel(let name): "tunnel \"\(name)\" is not in the configuration"
        case .poolExhausted(let name): "pool \"\(name)\" has no free address left: add a range to it"
        case .taken(let prefix, let holder): "\(prefix) is in use by user \"\(holder)\""
        }
    }
}
