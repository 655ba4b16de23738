import Addresses
import Authentication

// [access]: users who have WireGuard themselves.
extension ConfigurationReader {
    mutating func access(_ table: TableReader) {
        var table = table
        refuseKey("private-key", &table)
        let keyFile = table.required(
            "private-key-file", "the absolute path of a file with the listener's private key", Self.absolutePath)
        let names = configuration.tunnels.map(\.name)
        let tunnel = table.optional("tunnel", "one of \(Self.listed(names))") { node in
            node.string.flatMap { names.contains($0) ? $0 : nil }
        }
        var access = CausewayConfiguration.Access(
            privateKeyFile: keyFile ?? "",
            privateKey: keyFile.flatMap { key($0, at: table.path(of: "private-key-file")) } ?? Secret([]),
            tunnel: tunnel ?? configuration.listeners.first?.tunnel ?? names.first ?? "")
        table.read(&access.interface, "interface", Self.interfaceRule, Self.interfaceName)
        table.read(&access.listenPort, "listen-port", 1...UInt16.max)
        table.read(&access.fwmark, "fwmark", 0...UInt32.max)
        table.read(&access.mtu, "mtu", 576...2032) // the longest packet that the data path's own WireGuard takes
        access.endpoint = table.optional("endpoint", "an address or name with a port, such as \"gw.example.org:51820\"") { $0.string.flatMap(HostAndPort.init) }
        table.read(&access.clientNetworks, "client-networks", of: "a network such as \"10.0.0.0/8\"", \.prefix)
        for peer in table.tables("peer", header: "access.peer") { accessPeer(peer, of: access.tunnel) }
        table.finish()
        if !table.has("peer"), !configuration.store.enabled {
            report.warn("there is no [[access.peer]], and without a store nobody can be invited: nobody can connect", at: table.path)
        }
        configuration.access = access
    }

    private mutating func accessPeer(_ table: TableReader, of tunnel: String) {
        var table = table
        let user = table.required("user", "a user name of 1 to 255 bytes", Self.userName)
        let publicKey = table.required("public-key", Self.publicKeyRule, Self.publicKey)
        let (file, presharedKey) = presharedKey(&table)
        let address = table.optional("address", "an IPv4 address", Self.unicastV4)
        let prefixes = table.list("prefixes", of: Self.prefixRule, Self.userPrefix)
        if let prefixes, prefixes.count > Self.maxUserPrefixes {
            report.expected("at most \(Self.maxUserPrefixes) networks", found: "\(prefixes.count)", at: table.path(of: "prefixes"))
        }
        table.finish()
        guard let user, let publicKey else { return }
        accessPeers.append(
            .init(
                name: Array(user.utf8), prefixes: prefixes,
                peer: .init(
                    user: user, publicKey: publicKey, presharedKeyFile: file, presharedKey: presharedKey, address: address,
                    prefixes: prefixes ?? [], tunnel: tunnel),
                path: table.path))
    }

    /// Who is a user of the directory takes what is not written here from there, and gives the address to that entry: a user has
    /// one, whichever way the user comes in.
    mutating func mergeAccessPeers() {
        guard configuration.access != nil, !accessPeers.isEmpty else { return }
        var entries = configuration.users.entries
        let indexesByName = Dictionary(grouping: entries.indices, by: { entries[$0].name })
        for (position, configured) in accessPeers.enumerated() {
            var peer = configured.peer
            let indexes = indexesByName[configured.name] ?? []
            if let first = indexes.first {
                let attributes = entries[first].attributes
                peer.user = entries[first].displayName
                peer.tunnel = attributes.tunnel ?? peer.tunnel
                peer.group = attributes.group
                if configured.prefixes == nil { peer.prefixes = attributes.prefixes }
                peer.address = peer.address ?? attributes.staticAddress
            }
            for index in indexes {
                guard let address = peer.address else { continue }
                switch entries[index].attributes.address {
                case .refused: break
                case let policy where policy.permits(address): entries[index].attributes.address = .fixed(address)
                case .any, .within, .fixed:
                    report.refuse(
                        "\(address) is not an address of user \(peer.user) by \(entries[index].origin)",
                        at: KeyLocator.path(configured.path, "address"))
                }
            }
            accessPeers[position].peer = peer
            configuration.access?.peers.append(peer)
        }
        configuration.users = UserDirectory(entries)
    }
}
