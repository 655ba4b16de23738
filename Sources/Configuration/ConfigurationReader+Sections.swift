import Addresses
import Glibc

// The sections that are single tables.
extension ConfigurationReader {
    static func instanceName(_ node: TOMLNode) -> String? {
        node.string.flatMap { text in
            let valid = text.utf8.allSatisfy { byte in (isAlphanumeric(byte) && byte | 0x20 == byte) || byte == UInt8(ascii: "-")
            }
            return (1...16).contains(text.utf8.count) && valid ? text : nil
        }
    }

    /// What useradd(8) takes.
    static func accountName(_ node: TOMLNode) -> String? {
        node.string.flatMap { text in
            let valid = text.utf8.allSatisfy { isAlphanumeric($0) || "_-.".utf8.contains($0) }
            return (1...32).contains(text.utf8.count) && valid && text.first != "-" ? text : nil
        }
    }

    /// A name that other tables refer to, or that goes on the wire.
    static func name(_ node: TOMLNode) -> String? {
        node.string.flatMap { (1...64).contains($0.utf8.count) && $0.utf8.allSatisfy { (0x21...0x7E).contains($0) } ? $0 : nil }
    }
    static let nameRule = "1 to 64 printable ASCII characters without spaces"

    /// What the kernel takes as the name of an interface (IFNAMSIZ is 16, with the NUL).
    static func interfaceName(_ node: TOMLNode) -> String? {
        node.string.flatMap { text in
            let valid = text.utf8.allSatisfy { isAlphanumeric($0) || "_-.".utf8.contains($0) }
            return (1...15).contains(text.utf8.count) && valid && text != "." && text != ".." ? text : nil
        }
    }
    static let interfaceRule = "an interface name of 1 to 15 of A-Z, a-z, 0-9, '-', '_' and '.'"

    static func absolutePath(_ node: TOMLNode) -> String? {
        node.string.flatMap { $0.hasPrefix("/") && $0.utf8.count < 4096 && !$0.utf8.contains(0) ? $0 : nil }
    }

    /// Tables 253...255 are the kernel's (default, main, local), 0 is "unspecified".
    static func routingTable(_ node: TOMLNode) -> UInt32? {
        node.number(in: 1...UInt32(Int32.max)).flatMap { (253...255).contains($0) ? nil : $0 }
    }
    static let routingTableRule = "a routing table from 1 to 2147483647 other than 253, 254 and 255"

    /// What stands in the way of running a program, with the gateway's rights and with keys on its standard input.
    static func problem(ofProgram path: String) -> String? {
        var status = stat()
        guard stat(path, &status) == 0 else { return errno == ENOENT ? "does not exist" : "cannot be examined: \(String(cString: strerror(errno)))" }
        if status.st_mode & S_IFMT != S_IFREG { return "is not a program" }
        if status.st_mode & 0o111 == 0 { return "is not executable; run: chmod 755 \(path)" }
        if status.st_mode & 0o002 != 0 { return "can be changed by every user of this host; run: chmod 755 \(path)" }
        return nil
    }

    mutating func control(_ table: TableReader) {
        var table = table
        table.read(&configuration.controlSocket, "socket", "an absolute path of at most 107 bytes") { node in
            Self.absolutePath(node).flatMap { $0.utf8.count <= 107 ? $0 : nil }
        }
        table.finish()
    }

    mutating func store(_ table: TableReader) {
        var table = table
        table.read(&configuration.store.enabled, "enabled")
        let path = table.optional("path", "an absolute path", Self.absolutePath)
        table.read(&configuration.store.retainSessions, "retain-sessions", 0...36500)
        table.read(&configuration.store.retainTraffic, "retain-traffic", 0...36500)
        table.read(&configuration.store.retainEvents, "retain-events", 0...36500)
        // Whoever writes the default down says nothing new.
        if path != configuration.storePath { configuration.store.path = path }
        table.finish()
    }

    mutating func migration(_ table: TableReader) {
        var table = table
        table.read(&configuration.migration.quietDays, "quiet-days", 0...365)
        table.read(&configuration.migration.retireAfterDays, "retire-after-days", 0...3650)
        table.read(&configuration.migration.whileNative, "while-native")
        table.finish()
    }

    mutating func firewall(_ table: TableReader) {
        var table = table
        table.read(&configuration.firewall.connectsPerMinute, "connects-per-minute", 0...100_000)
        table.read(&configuration.firewall.pptpHelper, "pptp-helper")
        table.read(&configuration.firewall.masquerade, "masquerade", of: "the name of a tunnel", Self.name)
        table.finish()
    }

    mutating func pptp(_ table: TableReader) {
        var table = table
        var pptp = configuration.pptp
        table.read(&pptp.hostName, "host-name", Self.nameRule, Self.name)
        table.read(&pptp.maxConnections, "max-connections", 1...65535)
        table.read(&pptp.maxConnectionsPerSource, "max-connections-per-source", 1...65535)
        table.read(&pptp.maxHalfOpen, "max-half-open", 1...65535)
        table.read(&pptp.maxHalfOpenPerSource, "max-half-open-per-source", 1...65535)
        table.read(&pptp.connectsPerSecondPerSource, "connects-per-second-per-source", 1...100_000)
        table.read(&pptp.maxCallsPerConnection, "max-calls-per-connection", 1...65535)
        table.read(&pptp.maxUnauthenticated, "max-unauthenticated", 1...65535)
        table.read(&pptp.maxUnauthenticatedPerSource, "max-unauthenticated-per-source", 1...65535)
        table.read(&pptp.startTimeout, "start-timeout", .seconds(1) ... .seconds(600))
        table.read(&pptp.authenticationTimeout, "authentication-timeout", .seconds(1) ... .seconds(600))
        table.read(&pptp.negotiationTimeout, "negotiation-timeout", .seconds(1) ... .seconds(600))
        table.read(&pptp.echoInterval, "echo-interval", .seconds(1) ... .seconds(3600))
        table.read(&pptp.echoTimeout, "echo-timeout", .seconds(1) ... .seconds(3600))
        table.read(&pptp.idleConnectionTimeout, "idle-connection-timeout", .zero ... .seconds(86400))
        table.read(&pptp.stopTimeout, "stop-timeout", .zero ... .seconds(60))
        for (key, target) in [("allowed-sources", \CausewayConfiguration.PPTP.allowedSources), ("blocked-sources", \.blockedSources)] {
            table.read(&pptp[keyPath: target], key, of: "an IPv4 network such as \"192.0.2.0/24\"") {
                $0.prefix.flatMap { $0.family == .v4 ? $0 : nil }
            }
        }
        let sources = pptp.allowedSources.count + pptp.blockedSources.count
        if sources > CausewayConfiguration.PPTP.mostSources {
            report.expected(
                "at most \(CausewayConfiguration.PPTP.mostSources) networks in both lists", found: "\(sources)",
                at: table.path(of: pptp.blockedSources.isEmpty ? "allowed-sources" : "blocked-sources"))
        }
        table.finish()
        configuration.pptp = pptp
    }

    mutating func ppp(_ table: TableReader) {
        var table = table
        var ppp = configuration.ppp
        // Above 1456, a datagram of that size no longer fits an Ethernet path together with its 44 bytes of GRE and IP.
        table.read(&ppp.mru, "mru", 576...1456)
        ppp.mtu = table.optional("mtu", "a whole number from 576 to 1456") { $0.number(in: 576...1456) }
        table.read(&ppp.echoInterval, "echo-interval", .zero ... .seconds(3600))
        table.read(&ppp.echoFailures, "echo-failures", 1...100)
        for (key, target) in [("dns", \CausewayConfiguration.PPP.dns), ("nbns", \.nbns)] {
            table.read(&ppp[keyPath: target], key, of: "an IPv4 address") { $0.address.flatMap { $0.family == .v4 ? $0 : nil } }
            if ppp[keyPath: target].count > 2 {
                report.expected("at most two addresses", found: "\(ppp[keyPath: target].count)", at: table.path(of: key))
            }
        }
        table.read(&ppp.rechallengeInterval, "rechallenge-interval", .zero ... .seconds(86400))
        table.finish()
        configuration.ppp = ppp
    }

    mutating func encryption(_ table: TableReader) {
        var table = table
        var encryption = configuration.encryption
        table.read(&encryption.required, "required")
        table.read(&encryption.strengths, "strengths", of: "128, 56 or 40") { node in
            node.number(in: 40...128).flatMap { [128, 56, 40].contains($0) ? $0 : nil }
        }
        encryption.strengths = Set(encryption.strengths).sorted(by: >)
        if encryption.strengths.isEmpty, table.has("strengths") {
            report.expected("at least one of 128, 56 and 40", found: "none", at: table.path(of: "strengths"))
        }
        table.read(&encryption.stateful, "stateful")
        table.finish()
        configuration.encryption = encryption
    }

    mutating func authentication(_ table: TableReader) {
        var table = table
        var authentication = configuration.authentication
        namesSecrets = table.has("secrets")
        table.read(&authentication.secrets, "secrets", of: "the absolute path of a chap-secrets file", Self.absolutePath)
        table.read(&authentication.serverName, "server-name", Self.nameRule, Self.name)
        table.read(&authentication.maxRetries, "max-retries", 0...20)
        table.read(&authentication.whenConnected, "when-connected")
        table.read(&authentication.lockoutFailures, "lockout-failures", 0...1000)
        table.read(&authentication.lockoutTime, "lockout-time", .seconds(1) ... .seconds(86400))
        table.finish()
        configuration.authentication = authentication
    }

    mutating func dataPath(_ table: TableReader) {
        var table = table
        var dataPath = configuration.dataPath
        table.read(&dataPath.interface, "interface", Self.interfaceRule, Self.interfaceName)
        table.read(&dataPath.returnTable, "return-table", Self.routingTableRule, Self.routingTable)
        // The rules have to come before `main` at 32766, and leave room behind them.
        table.read(&dataPath.rulePriority, "rule-priority", 1...30000)
        table.read(&dataPath.workers, "workers", 0...64)
        table.read(&dataPath.pin, "pin")
        table.read(&dataPath.pollMicroseconds, "poll-microseconds", 0...1000)
        table.read(&dataPath.batch, "batch", 1...256)
        table.read(&dataPath.gre, "gre")
        table.read(&dataPath.reorderPackets, "reorder-packets", 0...256)
        table.read(&dataPath.reorderTime, "reorder-time", .zero ... .seconds(1))
        table.read(&dataPath.ackDelay, "ack-delay", .milliseconds(1) ... .seconds(1))
        table.read(&dataPath.maxSessions, "max-sessions", 1...65535)
        table.read(&dataPath.allowUserToUser, "allow-user-to-user")
        table.read(&dataPath.allowGateway, "allow-gateway")
        table.read(&dataPath.allowAddressChange, "allow-address-change")
        table.finish()
        configuration.dataPath = dataPath
    }
}
