import Addresses
import Authentication

// What the keys of tunnels and of the access listener mean together.
extension ConfigurationReader {
    func checkInterfaces() {
        var names = [configuration.dataPath.interface: "data-path.interface"]
        var tables = [configuration.dataPath.returnTable: "data-path.return-table"]
        for (index, tunnel) in configuration.tunnels.enumerated() {
            let path = "tunnel[\(index)]"
            if !tunnel.interface.isEmpty, let other = names.updateValue("\(path).interface", forKey: tunnel.interface) {
                report.refuse("\"\(tunnel.interface)\" is the interface of \(other) already", at: "\(path).interface")
            }
            if let other = tables.updateValue("\(path).table", forKey: tunnel.table) {
                report.refuse("\(tunnel.table) is the routing table of \(other) already", at: "\(path).table")
            }
        }
        if let access = configuration.access, let other = names.updateValue("access.interface", forKey: access.interface) {
            report.refuse("\"\(access.interface)\" is the interface of \(other) already", at: "access.interface")
        }
        for tunnel in configuration.tunnels where tunnel.mode != .shared && tunnel.backend != .embedded {
            for (name, path) in names.sorted(by: { $0.key < $1.key }) where name.hasPrefix(tunnel.interface + "-") {
                guard let number = Int(name.dropFirst(tunnel.interface.count + 1)), tunnel.interface(ofIdentity: number) == name else { continue }
                report.refuse("\"\(name)\" is the interface of an identity of tunnel \"\(tunnel.name)\"", at: path)
            }
        }
    }

    func checkTunnels() {
        var ports: [UInt16: String] = [:]
        for (index, tunnel) in configuration.tunnels.enumerated() {
            let path = "tunnel[\(index)]"
            if tunnel.listenPort != 0, let other = ports.updateValue(path, forKey: tunnel.listenPort) {
                report.refuse("port \(tunnel.listenPort) is the port of \(other) already", at: "\(path).listen-port")
            }
            checkPeers(of: tunnel, path)
        }
        if let access = configuration.access, let other = ports[access.listenPort] {
            report.refuse("port \(access.listenPort) is the port of \(other) already", at: "access.listen-port")
        }
    }

    private func checkPeers(of tunnel: CausewayConfiguration.Tunnel, _ path: String) {
        var keys: [String: String] = [:]
        var allowed: [IPPrefix: Int] = [:]
        for (position, peer) in tunnel.peers.enumerated() {
            let peerPath = "\(path).peer[\(position)]"
            for (number, hub) in peer.hubs.enumerated() {
                let name = number == 0 ? "peer[\(position)]" : "peer[\(position)].standby[\(number - 1)]"
                if let other = keys.updateValue(name, forKey: hub.publicKey) {
                    report.refuse(
                        "\(other) of this tunnel has the same key; one hub with several addresses has endpoints = [...]",
                        at: "\(path).\(name).public-key")
                }
                if Set(hub.endpoints).count < hub.endpoints.count {
                    report.refuse("the same endpoint is listed twice", at: "\(path).\(name).endpoints")
                }
                if hub.endpoints.isEmpty, peer.hubs.count > 1 {
                    report.expected(
                        "an endpoint, where there are stand-ins to choose from", found: "none", at: "\(path).\(name)")
                }
            }
            for prefix in peer.allowedIPs {
                // WireGuard gives a network to one peer; the last one to claim it would silently win.
                guard let other = allowed.updateValue(position, forKey: prefix), other != position else { continue }
                report.refuse(
                    "\(prefix) belongs to peer[\(other)] of this tunnel already; another way to the same network is a "
                        + "[[tunnel.peer.standby]]", at: "\(peerPath).allowed-ips")
            }
            if peer.hubs == [peer.primary], peer.primary.endpoints.isEmpty, tunnel.listenPort == 0 {
                report.warn(
                    "without an endpoint the peer has to speak first, but the tunnel has no fixed listen-port to find it at",
                    at: peerPath)
            }
        }
    }

    func checkAccess() {
        guard let access = configuration.access else { return }
        if let other = configuration.tunnels.firstIndex(where: { $0.privateKey == access.privateKey && !access.privateKey.isEmpty }) {
            report.refuse("tunnel[\(other)] has the same private key; make another with: wg genkey", at: "access.private-key-file")
        }
        var keys: [String: String] = [:]
        var users: [[UInt8]: String] = [:]
        for configured in accessPeers {
            let peer = configured.peer
            if let other = keys.updateValue(configured.path, forKey: peer.publicKey) {
                report.refuse("\(other) has the same key", at: KeyLocator.path(configured.path, "public-key"))
            }
            // One address is one session, and a user has one address.
            if let other = users.updateValue(configured.path, forKey: configured.name) {
                report.refuse("\(other) is user \"\(peer.user)\" already", at: KeyLocator.path(configured.path, "user"))
            }
            let hasIdentity = configuration.tunnel(named: peer.tunnel)?.mode == .perUser
            if peer.address == nil, !hasIdentity {
                report.expected(
                    "the user's inner address: user \"\(peer.user)\" has no static one, and only tunnels in mode \"per-user\" give one for good",
                    found: "no such key", at: KeyLocator.path(configured.path, "address"))
            }
        }
    }

    // ---- Identities ----

    /// Whether each user can have the identity that the tunnel's mode promises, and whether the backend can have so many.
    func checkIdentities() {
        for (index, tunnel) in configuration.tunnels.enumerated() where tunnel.mode != .shared {
            let path = "tunnel[\(index)]"
            let names = configuration.identityNames(of: tunnel)
            if tunnel.backend == .kernel, names.count > tunnel.mostIdentities {
                report.refuse(
                    "\(names.count) identities would be as many interfaces, and most-identities allows \(tunnel.mostIdentities); "
                        + "set backend = \"embedded\", which has no such limit", at: "\(path).backend")
            }
            if tunnel.backend != .embedded, tunnel.interface.utf8.count > Self.longestIdentityInterface {
                report.refuse(
                    "expected at most \(Self.longestIdentityInterface) characters in mode \"\(tunnel.mode.rawValue)\": the kernel's "
                        + "interfaces are called \"\(tunnel.interface)-1\" and so on", at: "\(path).interface")
            }
            if tunnel.mode == .perUser { checkUsers(ofPerUser: tunnel) } else { checkGroups(of: tunnel) }
        }
    }

    /// Of 15 characters, 5 are for "-9999".
    private static let longestIdentityInterface = 10

    private func checkUsers(ofPerUser tunnel: CausewayConfiguration.Tunnel) {
        var addresses: [[UInt8]: AddressPolicy] = [:]
        for entry in configuration.users(ofTunnel: tunnel.name) {
            guard let name = entry.name else {
                complain(
                    "user * cannot have an identity in tunnel \"\(tunnel.name)\", whose mode is \"per-user\": name every user", entry)
                continue
            }
            guard entry.attributes.address != .refused else { continue }
            let first = addresses[name] ?? entry.attributes.address
            addresses[name] = first
            if first != entry.attributes.address {
                complain(
                    "user \(entry.displayName) has other addresses in another line, but one identity in tunnel \"\(tunnel.name)\" "
                        + "(mode \"per-user\")", entry)
            }
        }
    }

    /// The hub tells the groups apart by their inner addresses. So addresses of a pool belong to one group.
    private func checkGroups(of tunnel: CausewayConfiguration.Tunnel) {
        var groups: [String: (group: String, user: String)] = [:]
        for entry in configuration.users(ofTunnel: tunnel.name) {
            let group = entry.attributes.group ?? tunnel.defaultGroup
            for pool in configuration.pools(drawnBy: entry.attributes, in: tunnel.name) {
                guard let first = groups[pool] else {
                    groups[pool] = (group, entry.displayName)
                    continue
                }
                guard first.group != group else { continue }
                complain(
                    "addresses of pool \"\(pool)\" belong to group \"\(first.group)\" (user \(first.user)); user "
                        + "\(entry.displayName) would use them in group \"\(group)\": it needs a pool of its own", entry)
            }
        }
    }
}
