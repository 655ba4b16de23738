import Addresses
import Authentication

// What keys mean together. Each rule is one function; they run after all keys were read, on whatever could be made of them.
extension ConfigurationReader {
    func check() {
        checkPresence()
        checkListeners()
        checkInterfaces()
        checkTunnels()
        checkAccess()
        checkPools()
        checkUsers()
        checkTunnelOfEverything()
        checkIdentities()
        checkTimes()
        checkFirewall()
    }

    private func checkFirewall() {
        for (index, name) in configuration.firewall.masquerade.enumerated() {
            let path = "firewall.masquerade[\(index)]"
            guard let tunnel = configuration.tunnel(named: name) else {
                let names = configuration.tunnels.map { "\"\($0.name)\"" }.joined(separator: ", ")
                report.expected("one of \(names)", found: "\"\(name)\"", at: path)
                continue
            }
            if tunnel.backend == .embedded {
                report.refuse("tunnel \"\(name)\" is our own engine's, whose packets the packet filter never sees; set backend = \"kernel\"", at: path)
            } else if !tunnel.addresses.contains(where: { $0.address.family == .v4 }) {
                report.refuse("tunnel \"\(name)\" has no IPv4 address to leave with; give it addresses", at: path)
            }
        }
    }

    private func checkPresence() {
        for (key, count) in [
            ("listen", configuration.listeners.count), ("tunnel", configuration.tunnels.count),
            ("pool", configuration.pools.count),
        ] where count == 0 && report.line(of: key) == nil {
            report.expected("at least one [[\(key)]]", found: "none", at: key)
        }
    }

    private func checkListeners() {
        let listeners = configuration.listeners
        for (index, listener) in listeners.enumerated() {
            for other in listeners[..<index] where other.port == listener.port && other.address.family == listener.address.family
            {
                guard other.address == listener.address || other.address.isUnspecified || listener.address.isUnspecified else {
                    continue
                }
                report.refuse(
                    "\(Endpoint(listener.address, listener.port)) is covered by \(Endpoint(other.address, other.port)) already",
                    at: "listen[\(index)].address")
            }
            if listener.address.isMulticast {
                report.expected("an address of this host", found: "\(listener.address)", at: "listen[\(index)].address")
            }
        }
    }

    private func checkPools() {
        let pools = configuration.pools
        var ranges: [(range: AddressRange, path: String)] = []
        for (index, pool) in pools.enumerated() {
            for (position, range) in pool.ranges.enumerated() {
                let path = "pool[\(index)].ranges[\(position)]"
                for other in ranges where other.range.overlaps(range) {
                    report.refuse("\(range) overlaps \(other.range) (\(other.path))", at: path)
                }
                ranges.append((range, path))
            }
        }
        for (index, pool) in pools.enumerated() {
            for (range, path) in ranges where range.contains(pool.gateway) {
                report.refuse(
                    "\(pool.gateway) lies in \(range) (\(path)) and would be given to a user", at: "pool[\(index)].gateway")
            }
        }
        for (address, key) in interfaceAddresses {
            for (range, path) in ranges where range.contains(address) {
                report.refuse("\(address) lies in \(range) (\(path)) and would be given to a user", at: key)
            }
        }
    }

    /// Our own addresses in the tunnels, with their keys.
    private var interfaceAddresses: [(IPAddress, String)] {
        configuration.tunnels.enumerated().flatMap { index, tunnel in
            tunnel.addresses.enumerated().map { ($1.address, "tunnel[\(index)].addresses[\($0)]") }
        }
    }

    /// What a user holds must be nobody else's: not another user's, not a pool's, not ours. A static address may lie in a pool,
    /// which then keeps it for its user; a network may not.
    private func checkUsers() {
        let gateways = configuration.pools.enumerated().map { ($1.gateway, "pool[\($0)].gateway") }
        let ours = gateways + interfaceAddresses
        let ranges = configuration.pools.flatMap(\.ranges)
        var held: [Holding] = []
        func hold(_ address: IPAddress?, _ prefixes: [IPPrefix], _ owner: Holder) {
            for prefix in prefixes + (address.map { [IPPrefix($0)] } ?? []) {
                held.append(Holding(prefix: prefix, owner: owner))
                for (address, path) in ours where prefix.contains(address) {
                    complain("\(prefix.shown) of user \(owner.displayName) holds our own address \(address) (\(path))", owner)
                }
            }
            for prefix in prefixes {
                for range in ranges where range.overlaps(prefix) {
                    complain("\(prefix) of user \(owner.displayName) overlaps the pool range \(range)", owner)
                }
            }
        }
        for peer in accessPeers { hold(peer.peer.address, peer.peer.prefixes, .peer(peer)) }
        for entry in configuration.users.entries {
            let attributes = entry.attributes
            hold(attributes.staticAddress, attributes.prefixes, .entry(entry))
            if case .within(let networks) = attributes.address,
                !networks.contains(where: { network in ranges.contains { $0.overlaps(network) } })
            {
                let listed = networks.map(\.description).joined(separator: ", ")
                complain("user \(entry.displayName) may only have an address in \(listed), and no pool has one there", entry)
            }
        }
        checkHoldings(held)
    }

    /// Whose something is, and where that was written.
    private enum Holder {
        case entry(UserDirectory.Entry)
        case peer(ConfiguredAccessPeer)

        var name: [UInt8]? {
            switch self {
            case .entry(let entry): entry.name
            case .peer(let peer): peer.name
            }
        }
        var displayName: String {
            switch self {
            case .entry(let entry): entry.displayName
            case .peer(let peer): peer.peer.user
            }
        }
        var origin: String {
            switch self {
            case .entry(let entry): entry.origin.description
            case .peer(let peer): peer.path
            }
        }
    }

    private struct Holding {
        var prefix: IPPrefix
        var owner: Holder
    }

    /// Sorted by address, a network comes directly before everything inside it, so one pass with the open networks on a stack is
    /// enough: secrets files may have very many users.
    private func checkHoldings(_ holdings: [Holding]) {
        var open: [Holding] = []
        for holding in holdings.sorted(by: { $0.prefix < $1.prefix }) {
            while let last = open.last, !last.prefix.contains(holding.prefix) { open.removeLast() }
            if let last = open.last, last.prefix == holding.prefix, last.owner.name == holding.owner.name { continue }
            // The same user may have several lines, for several servers.
            if let other = open.last(where: { $0.owner.name != holding.owner.name }) {
                let relation = other.prefix == holding.prefix ? "also belongs to" : "lies in \(other.prefix.shown) of"
                complain(
                    "\(holding.prefix.shown) of user \(holding.owner.displayName) \(relation) user \(other.owner.displayName) "
                        + "(\(other.owner.origin))", holding.owner)
            }
            open.append(holding)
        }
    }

    private func complain(_ message: String, _ holder: Holder) {
        switch holder {
        case .entry(let entry): complain(message, entry)
        case .peer(let peer): report.refuse(message, at: peer.path)
        }
    }

    func complain(_ message: String, _ entry: UserDirectory.Entry) {
        if entry.origin.file == report.file, let user = configuredUsers.first(where: { $0.name == entry.name }) {
            report.refuse(message, at: user.path)
        } else if let user = configuredUsers.first(where: { $0.name == entry.name }), !entry.attributes.prefixes.isEmpty {
            report.refuse(message, at: user.path)
        } else {
            report.refuse(FileIssue(file: entry.origin.file, line: entry.origin.line, message: message))
        }
    }

    private func checkTimes() {
        let pptp = configuration.pptp
        if pptp.negotiationTimeout < pptp.authenticationTimeout {
            report.expected(
                "at least authentication-timeout (\(text(pptp.authenticationTimeout))), which is a part of it",
                found: text(pptp.negotiationTimeout), at: "pptp.negotiation-timeout")
        }
        if !configuration.encryption.required {
            report.warn("users may connect without encryption", at: "encryption.required")
        }
        if configuration.encryption.strengths.contains(where: { $0 < 128 }) {
            report.warn("40 and 56 bit keys can be found by trying them all", at: "encryption.strengths")
        }
    }
}

extension ConfigurationReader {
    /// Gives every tunnel without a `table` one from 52000 to 52999 that depends on its name, so that a tunnel added in front
    /// does not move the others.
    mutating func assignTables() {
        var taken = Set(configuration.tunnels.map(\.table)).union([configuration.dataPath.returnTable])
        for index in configuration.tunnels.indices where configuration.tunnels[index].table == 0 {
            // FNV-1a, 32 bits.
            let hash = configuration.tunnels[index].name.utf8.reduce(UInt32(0x811C_9DC5)) { ($0 ^ UInt32($1)) &* 0x0100_0193 }
            guard let table = (0..<1000).lazy.map({ 52000 + (hash &+ $0) % 1000 }).first(where: { !taken.contains($0) }) else {
                report.refuse("no free routing table from 52000 to 52999; set table", at: "tunnel[\(index)]")
                continue
            }
            taken.insert(table)
            configuration.tunnels[index].table = table
        }
    }
}

extension IPPrefix {
    /// A single host without its length.
    fileprivate var shown: String { isHost ? address.description : description }
}
