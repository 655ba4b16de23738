/// What changed between two configurations, by key, and whether a running gateway can take it.
public struct ConfigurationDiff: Sendable, Equatable {
    /// Takes effect on a reload, without touching open sessions.
    public var live: [String] = []
    /// Keeps its old value until the next start.
    public var needsRestart: [String] = []

    public var isEmpty: Bool { live.isEmpty && needsRestart.isEmpty }
}

extension CausewayConfiguration {
    public static func diff(_ old: CausewayConfiguration, _ new: CausewayConfiguration) -> ConfigurationDiff {
        var diff = Differences(old: old, new: new)
        diff.restart("instance", \.instance)
        diff.restart("run-as", \.user)
        diff.live("log-level", \.logLevel)
        diff.restart("log-format", \.logFormat)
        diff.restart("control.socket", \.controlSocket)
        diff.api()
        diff.restart("state-directory", \.stateDirectory)
        diff.restart("store.enabled", \.store.enabled)
        diff.restart("store.path", \.store.path)
        diff.live("store.retain-sessions", \.store.retainSessions)
        diff.live("store.retain-traffic", \.store.retainTraffic)
        diff.live("store.retain-events", \.store.retainEvents)
        diff.live("migration.quiet-days", \.migration.quietDays)
        diff.live("migration.retire-after-days", \.migration.retireAfterDays)
        diff.live("migration.while-native", \.migration.whileNative)
        diff.live("firewall", \.firewall)
        diff.live("webhook", \.webhooks)
        // Which tunnel and pool a listener stands for counts at the next log-in; its sockets are opened before privileges go.
        let endpoints = { (configuration: CausewayConfiguration) in configuration.listeners.map { "\($0.address) \($0.port)" } }
        diff.compare("listen", endpoints(old), endpoints(new), live: false)
        diff.compare("listen.tunnel", old.listeners.map(\.tunnel), new.listeners.map(\.tunnel), live: true)
        diff.compare("listen.pool", old.listeners.map(\.pool), new.listeners.map(\.pool), live: true)
        diff.pptp()
        diff.ppp()
        diff.live("encryption.required", \.encryption.required)
        diff.live("encryption.strengths", \.encryption.strengths)
        diff.live("encryption.stateful", \.encryption.stateful)
        diff.live("authentication.secrets", \.authentication.secrets)
        diff.live("authentication.server-name", \.authentication.serverName)
        diff.live("authentication.max-retries", \.authentication.maxRetries)
        diff.live("authentication.when-connected", \.authentication.whenConnected)
        diff.live("authentication.lockout-failures", \.authentication.lockoutFailures)
        diff.live("authentication.lockout-time", \.authentication.lockoutTime)
        diff.live("user", \.users)
        diff.live("pool", \.pools)
        diff.tunnels()
        diff.access()
        diff.dataPath()
        return diff.result
    }
}

private struct Differences {
    let old: CausewayConfiguration
    let new: CausewayConfiguration
    var result = ConfigurationDiff()

    mutating func compare<Value: Equatable>(_ key: String, _ old: Value, _ new: Value, live: Bool) {
        guard old != new else { return }
        if live { result.live.append(key) } else { result.needsRestart.append(key) }
    }
    mutating func live<Value: Equatable>(_ key: String, _ path: KeyPath<CausewayConfiguration, Value>) {
        compare(key, old[keyPath: path], new[keyPath: path], live: true)
    }
    mutating func restart<Value: Equatable>(_ key: String, _ path: KeyPath<CausewayConfiguration, Value>) {
        compare(key, old[keyPath: path], new[keyPath: path], live: false)
    }

    mutating func pptp() {
        live("pptp.host-name", \.pptp.hostName)
        live("pptp.max-connections", \.pptp.maxConnections)
        live("pptp.max-connections-per-source", \.pptp.maxConnectionsPerSource)
        live("pptp.max-half-open", \.pptp.maxHalfOpen)
        live("pptp.max-half-open-per-source", \.pptp.maxHalfOpenPerSource)
        live("pptp.connects-per-second-per-source", \.pptp.connectsPerSecondPerSource)
        live("pptp.max-calls-per-connection", \.pptp.maxCallsPerConnection)
        live("pptp.max-unauthenticated", \.pptp.maxUnauthenticated)
        live("pptp.max-unauthenticated-per-source", \.pptp.maxUnauthenticatedPerSource)
        live("pptp.start-timeout", \.pptp.startTimeout)
        live("pptp.authentication-timeout", \.pptp.authenticationTimeout)
        live("pptp.negotiation-timeout", \.pptp.negotiationTimeout)
        live("pptp.echo-interval", \.pptp.echoInterval)
        live("pptp.echo-timeout", \.pptp.echoTimeout)
        live("pptp.idle-connection-timeout", \.pptp.idleConnectionTimeout)
        live("pptp.stop-timeout", \.pptp.stopTimeout)
        live("pptp.allowed-sources", \.pptp.allowedSources)
        live("pptp.blocked-sources", \.pptp.blockedSources)
    }

    mutating func ppp() {
        live("ppp.mru", \.ppp.mru)
        live("ppp.mtu", \.ppp.mtu)
        live("ppp.echo-interval", \.ppp.echoInterval)
        live("ppp.echo-failures", \.ppp.echoFailures)
        live("ppp.dns", \.ppp.dns)
        live("ppp.nbns", \.ppp.nbns)
        live("ppp.rechallenge-interval", \.ppp.rechallengeInterval)
    }

    /// A tunnel is the same tunnel while its name is. New ones and gone ones are a matter of the start: the core numbers them
    /// then.
    mutating func tunnels() {
        compare("tunnel", old.tunnels.map(\.name), new.tunnels.map(\.name), live: false)
        for after in new.tunnels {
            guard let before = old.tunnel(named: after.name) else { continue }
            let key = "tunnel \"\(after.name)\""
            compare("\(key).interface", before.interface, after.interface, live: false)
            compare("\(key).backend", before.backend, after.backend, live: false)
            compare("\(key).table", before.table, after.table, live: false)
            compare("\(key).mode", before.mode, after.mode, live: false)
            compare("\(key).default-group", before.defaultGroup, after.defaultGroup, live: false)
            compare("\(key).most-identities", before.mostIdentities, after.mostIdentities, live: true)
            compare("\(key).linger", before.linger, after.linger, live: true)
            compare("\(key).failover-after", before.failoverAfter, after.failoverAfter, live: true)
            compare("\(key).return-after", before.returnAfter, after.returnAfter, live: true)
            compare("\(key).hub-hook", before.hubHook, after.hubHook, live: true)
            compare("\(key).private-key-file", before.privateKey, after.privateKey, live: true)
            compare("\(key).listen-port", before.listenPort, after.listenPort, live: true)
            compare("\(key).fwmark", before.fwmark, after.fwmark, live: true)
            compare("\(key).mtu", before.mtu, after.mtu, live: true)
            compare("\(key).addresses", before.addresses, after.addresses, live: true)
            compare("\(key).peer", before.peers, after.peers, live: true)
        }
    }

    /// Whether there is a listener, and under which name, is decided at the start.
    mutating func access() {
        compare("access", old.access == nil, new.access == nil, live: false)
        guard let before = old.access, let after = new.access else { return }
        compare("access.interface", before.interface, after.interface, live: false)
        compare("access.listen-port", before.listenPort, after.listenPort, live: true)
        compare("access.private-key-file", before.privateKey, after.privateKey, live: true)
        compare("access.fwmark", before.fwmark, after.fwmark, live: true)
        compare("access.mtu", before.mtu, after.mtu, live: true)
        compare("access.tunnel", before.tunnel, after.tunnel, live: true)
        compare("access.endpoint", before.endpoint, after.endpoint, live: true)
        compare("access.client-networks", before.clientNetworks, after.clientNetworks, live: true)
        compare("access.peer", before.peers, after.peers, live: true)
    }

    /// Whether and where it listens is decided at the start; certificates are renewed every few weeks.
    mutating func api() {
        compare("api", old.api == nil, new.api == nil, live: false)
        guard let before = old.api, let after = new.api else { return }
        compare("api.listen", before.listen, after.listen, live: false)
        compare("api.certificate-file", before.certificateFile, after.certificateFile, live: true)
        compare("api.private-key-file", before.privateKey, after.privateKey, live: true)
    }

    mutating func dataPath() {
        restart("data-path.interface", \.dataPath.interface)
        restart("data-path.return-table", \.dataPath.returnTable)
        restart("data-path.rule-priority", \.dataPath.rulePriority)
        restart("data-path.workers", \.dataPath.workers)
        restart("data-path.pin", \.dataPath.pin)
        restart("data-path.poll-microseconds", \.dataPath.pollMicroseconds)
        restart("data-path.batch", \.dataPath.batch)
        restart("data-path.gre", \.dataPath.gre)
        restart("data-path.reorder-packets", \.dataPath.reorderPackets)
        restart("data-path.reorder-time", \.dataPath.reorderTime)
        restart("data-path.ack-delay", \.dataPath.ackDelay)
        restart("data-path.max-sessions", \.dataPath.maxSessions)
        restart("data-path.allow-user-to-user", \.dataPath.allowUserToUser)
        restart("data-path.allow-gateway", \.dataPath.allowGateway)
        live("data-path.allow-address-change", \.dataPath.allowAddressChange)
    }
}
