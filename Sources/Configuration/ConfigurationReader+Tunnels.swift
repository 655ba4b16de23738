import Addresses
import Authentication

// [[tunnel]], its peers and their stand-ins.
extension ConfigurationReader {
    static let endpointRule = "a host and a port, such as \"hub.example.org:51820\" or \"[2001:db8::1]:51820\""

    mutating func tunnel(_ table: TableReader) {
        var table = table
        let name = table.required("name", Self.nameRule, Self.name)
        let interface = table.required("interface", Self.interfaceRule, Self.interfaceName)
        var tunnel = CausewayConfiguration.Tunnel(name: name ?? "", interface: interface ?? "", table: 0)
        readBackend(&tunnel, &table)
        readIdentities(&tunnel, &table)
        table.read(&tunnel.listenPort, "listen-port", 0...UInt16.max)
        table.read(&tunnel.fwmark, "fwmark", 0...UInt32.max)
        table.read(&tunnel.mtu, "mtu", 576...9000)
        table.read(&tunnel.addresses, "addresses", of: Self.interfaceAddressRule, Self.interfaceAddress)
        table.read(&tunnel.table, "table", Self.routingTableRule, Self.routingTable)
        // Two attempts of a handshake, 5 seconds apart, and the time for an answer (WireGuard paper, section 6.4).
        table.read(&tunnel.failoverAfter, "failover-after", .seconds(10) ... .seconds(600))
        table.read(&tunnel.returnAfter, "return-after", "0, or a time from 30s to 24h") { node in
            node.duration.flatMap { $0 == .zero || (.seconds(30) ... .seconds(86400)).contains($0) ? $0 : nil }
        }
        tunnel.hubHook = table.optional("hub-hook", "the absolute path of a program", Self.absolutePath)
        if let hook = tunnel.hubHook, let problem = Self.problem(ofProgram: hook) {
            report.refuse("\(hook) \(problem)", at: table.path(of: "hub-hook"))
        }
        for peer in table.tables("peer", header: "tunnel.peer") {
            if let peer = self.peer(peer) { tunnel.peers.append(peer) }
        }
        table.finish()
        if tunnel.peers.isEmpty, !table.has("peer") {
            report.expected("at least one [[tunnel.peer]]", found: "none", at: table.path)
        }
        // A tunnel with something wrong in it stays, so that what names it is not reported as well.
        guard let name else { return }
        if configuration.tunnels.contains(where: { $0.name == name }) {
            report.refuse("another tunnel is called \"\(name)\" already", at: table.path(of: "name"))
        }
        configuration.tunnels.append(tunnel)
    }

    private func readBackend(_ tunnel: inout CausewayConfiguration.Tunnel, _ table: inout TableReader) {
        guard !table.is("backend", "userspace") else {
            report.refuse(
                "\"userspace\" (wireguard-go) is gone; Causeway's own engine took its place: backend = \"embedded\"",
                at: table.path(of: "backend"))
            return table.declare("backend")
        }
        table.read(&tunnel.backend, "backend")
    }

    /// Who the hub sees, and with which keys.
    private func readIdentities(_ tunnel: inout CausewayConfiguration.Tunnel, _ table: inout TableReader) {
        table.read(&tunnel.mode, "mode")
        table.read(&tunnel.defaultGroup, "default-group", Self.nameRule, Self.name)
        table.read(&tunnel.mostIdentities, "most-identities", 1...9999)
        table.read(&tunnel.linger, "linger", .zero ... .seconds(86400))
        refuseKey("private-key", &table)
        let file = "private-key-file"
        let rule = "the absolute path of a file with the tunnel's private key"
        if tunnel.mode == .shared {
            tunnel.privateKeyFile = table.required(file, rule, Self.absolutePath)
            tunnel.privateKey = tunnel.privateKeyFile.flatMap { key($0, at: table.path(of: file)) }
        } else if table.optional(file, rule, Self.absolutePath) != nil {
            report.warn(
                "is not used in mode \"\(tunnel.mode.rawValue)\": every identity has a key of its own in state-directory",
                at: table.path(of: file))
        }
        for (key, needed) in [("default-group", tunnel.mode == .group), ("most-identities", tunnel.mode != .shared), ("linger", tunnel.mode != .shared)]
        where table.has(key) && !needed {
            report.warn("means nothing in mode \"\(tunnel.mode.rawValue)\"", at: table.path(of: key))
        }
    }

    private func peer(_ table: TableReader) -> CausewayConfiguration.Peer? {
        var table = table
        let primary = hub(&table)
        if !table.has("allowed-ips") {
            report.expected("an array of networks", found: "no such key", at: table.path(of: "allowed-ips"))
        }
        let allowedIPs = table.list("allowed-ips", of: Self.prefixRule, \.prefix)
        var keepalive: UInt16 = 25
        table.read(&keepalive, "persistent-keepalive", 0...UInt16.max)
        var hubs: [CausewayConfiguration.Hub] = []
        for var standby in table.tables("standby", header: "tunnel.peer.standby") {
            if let hub = hub(&standby) { hubs.append(hub) }
            standby.finish()
        }
        table.finish()
        guard let primary, let allowedIPs else { return nil }
        return .init(hubs: [primary] + hubs, allowedIPs: allowedIPs, persistentKeepalive: keepalive)
    }

    /// The keys that a peer and its stand-ins have in common.
    private func hub(_ table: inout TableReader) -> CausewayConfiguration.Hub? {
        let publicKey = table.required("public-key", Self.publicKeyRule, Self.publicKey)
        let one = table.optional("endpoint", Self.endpointRule) { $0.string.flatMap(HostAndPort.init) }
        let several = table.list("endpoints", of: Self.endpointRule) { $0.string.flatMap(HostAndPort.init) }
        if table.has("endpoint"), table.has("endpoints") {
            report.refuse("give either endpoint or endpoints, not both", at: table.path(of: "endpoints"))
        }
        let (file, presharedKey) = presharedKey(&table)
        guard let publicKey else { return nil }
        return .init(
            publicKey: publicKey, endpoints: several ?? one.map { [$0] } ?? [], presharedKeyFile: file, presharedKey: presharedKey)
    }

    // ---- Keys ----

    static let publicKeyRule = "a WireGuard key: 44 characters of base64"
    static func publicKey(_ node: TOMLNode) -> String? { node.string.flatMap(WireGuardKey.canonical) }

    static let interfaceAddressRule = "an address with its length, such as \"10.9.0.2/24\""
    static func interfaceAddress(_ node: TOMLNode) -> InterfaceAddress? { node.string.flatMap(InterfaceAddress.init) }

    func presharedKey(_ table: inout TableReader) -> (file: String?, key: Secret?) {
        refuseKey("preshared-key", &table)
        let file = table.optional(
            "preshared-key-file", "the absolute path of a file with the preshared key", Self.absolutePath)
        return (file, file.flatMap { key($0, at: table.path(of: "preshared-key-file")) })
    }

    func refuseKey(_ key: String, _ table: inout TableReader) {
        guard table.has(key) else { return }
        table.declare(key)
        report.refuse(
            "keys do not belong in this file; put it into a file of its own and name that in \(key)-file", at: table.path(of: key))
    }

    /// The 32 bytes in a key file: base64 on its first line, as `wg genkey` writes it.
    func key(_ path: String, at key: String) -> Secret? {
        let contents: Secret
        do throws(FileIssue) {
            contents = try readFile(path, WireGuardKey.maxFileSize)
        } catch {
            report.refuse("\(error)", at: key)
            return nil
        }
        guard let secret = contents.withUnsafeBytes(WireGuardKey.decode) else {
            report.refuse("\(path): expected a WireGuard key (44 characters of base64, as wg genkey prints it)", at: key)
            return nil
        }
        return secret
    }
}
