import Addresses
import Authentication

// The sections that are arrays of tables.
extension ConfigurationReader {
    static let prefixRule = "a network with its length and no host bits, such as \"10.1.0.0/16\""
    /// The core takes 32 inner prefixes for each session, one of which is the user's own address.
    static let maxUserPrefixes = 31

    mutating func listener(_ table: TableReader) {
        var table = table
        // GRE is carried over IPv4 only: a call that came in over IPv6 could never pass a packet.
        let address = table.required("address", "an IPv4 address") { node in node.address.flatMap { $0.family == .v4 ? $0 : nil } }
        var port: UInt16 = 1723
        table.read(&port, "port", 1...UInt16.max)
        let tunnel = reference(&table, "tunnel", to: configuration.tunnels.map(\.name))
        let pool = reference(&table, "pool", to: configuration.pools.map(\.name))
        table.finish()
        guard let address, let tunnel, let pool else { return }
        configuration.listeners.append(.init(address: address, port: port, tunnel: tunnel, pool: pool))
    }

    /// A name that may be left out where only one thing has one.
    private func reference(_ table: inout TableReader, _ key: String, to names: [String]) -> String? {
        let expected = names.isEmpty ? "the name of a configured \(key) (there is none)" : "one of \(Self.listed(names))"
        let lookUp = { (node: TOMLNode) in node.string.flatMap { names.contains($0) ? $0 : nil } }
        if table.has(key) || names.count != 1 { return table.required(key, expected, lookUp) }
        _ = table.optional(key, expected, lookUp)
        return names[0]
    }

    mutating func pool(_ table: TableReader) {
        var table = table
        let name = table.required("name", Self.nameRule, Self.name)
        let gateway = table.required("gateway", "an IPv4 address", Self.unicastV4)
        if !table.has("ranges") { report.expected("an array of ranges", found: "no such key", at: table.path(of: "ranges")) }
        let ranges = table.list("ranges", of: "an IPv4 range such as \"10.8.0.10-10.8.0.250\" or \"10.9.0.0/24\"") { node in
            node.string.flatMap(AddressRange.init).flatMap { $0.first.family == .v4 ? $0 : nil }
        }
        table.finish()
        guard let name, let gateway, let ranges else { return }
        if configuration.pools.contains(where: { $0.name == name }) {
            report.refuse("another pool is called \"\(name)\" already", at: table.path(of: "name"))
        }
        configuration.pools.append(.init(name: name, gateway: gateway, ranges: ranges))
    }

    static func unicastV4(_ node: TOMLNode) -> IPAddress? {
        node.address.flatMap { address in
            let bad =
                address.family != .v4 || address.isUnspecified || address.isLoopback || address.isMulticast || address.isLinkLocal
            return bad || address.v4! >> 28 == 0xF ? nil : address
        }
    }

    static func userName(_ node: TOMLNode) -> String? {
        node.string.flatMap { (1...255).contains($0.utf8.count) ? $0 : nil }
    }
    /// A network behind a user; never everything.
    static func userPrefix(_ node: TOMLNode) -> IPPrefix? { node.prefix.flatMap { $0.length == 0 ? nil : $0 } }
    static func listed(_ names: [String]) -> String { names.map { "\"\($0)\"" }.joined(separator: ", ") }

    mutating func user(_ table: TableReader) {
        var table = table
        let name = table.required("name", "a user name of 1 to 255 bytes", Self.userName)
        let password = table.optional("password", "a password of 1 to 1024 bytes", secret: true) { node in
            node.string.flatMap { (1...1024).contains($0.utf8.count) ? Secret(utf8: $0) : nil }
        }
        let hash = table.optional("nt-hash", "32 hexadecimal digits", secret: true) {
            $0.string.flatMap { parseNTHash(Array($0.utf8)) }
        }
        if table.has("password"), table.has("nt-hash") {
            report.refuse("give either a password or an nt-hash, not both", at: table.path(of: "nt-hash"))
        }
        let address = table.optional("address", "an IPv4 address", Self.unicastV4)
        var attributes = UserAttributes()
        table.read(&attributes.prefixes, "prefixes", of: Self.prefixRule, Self.userPrefix)
        if attributes.prefixes.count > Self.maxUserPrefixes {
            report.expected(
                "at most \(Self.maxUserPrefixes) networks", found: "\(attributes.prefixes.count)", at: table.path(of: "prefixes"))
        }
        for (key, target, names) in [
            ("pool", \UserAttributes.pool, configuration.pools.map(\.name)),
            ("tunnel", \.tunnel, configuration.tunnels.map(\.name)),
        ] {
            attributes[keyPath: target] = table.optional(key, "one of \(Self.listed(names))") { node in
                node.string.flatMap { names.contains($0) ? $0 : nil }
            }
        }
        attributes.group = table.optional("group", Self.nameRule, Self.name)
        attributes.rate = table.optional("rate", "kbit/s as a whole number from 8 to 100000000") {
            $0.number(in: 8...100_000_000)
        }
        table.finish()
        guard let name else { return }
        if !configuredNames.insert(Array(name.utf8)).inserted {
            report.refuse("another user is called \"\(name)\" already", at: table.path(of: "name"))
        }
        if let address { attributes.address = .fixed(address) }
        let credential = password.map(UserDirectory.Credential.password) ?? hash.map(UserDirectory.Credential.ntHash)
        // A password that was refused above is no reason to look for this user in the secrets files.
        guard credential != nil || !(table.has("password") || table.has("nt-hash")) else { return }
        configuredUsers.append(
            .init(name: Array(name.utf8), credential: credential, address: address, attributes: attributes, path: table.path))
    }
}
