import Addresses
import Authentication
import DataPath
import Foundation
import PPP
import PPTP
import SessionMapper
import Settings

// What the configuration's words mean to each part.

extension CausewayConfiguration {
    /// One worker for each processor unless the configuration says how many.
    var workerCount: Int { dataPath.workers > 0 ? dataPath.workers : max(1, min(64, ProcessInfo.processInfo.activeProcessorCount)) }

    var admission: AdmissionLimits.Configuration {
        var limits = AdmissionLimits.Configuration()
        limits.connections = pptp.maxConnections
        limits.connectionsPerSource = pptp.maxConnectionsPerSource
        limits.halfOpen = pptp.maxHalfOpen
        limits.halfOpenPerSource = pptp.maxHalfOpenPerSource
        limits.calls = dataPath.maxSessions
        limits.callsPerConnection = pptp.maxCallsPerConnection
        limits.callsPerSource = dataPath.maxSessions
        limits.unauthenticated = pptp.maxUnauthenticated
        limits.unauthenticatedPerSource = pptp.maxUnauthenticatedPerSource
        limits.attemptsPerSecondPerSource = Double(pptp.connectsPerSecondPerSource)
        limits.attemptBurstPerSource = Double(pptp.connectsPerSecondPerSource) * 2
        limits.callsPerSecondPerSource = Double(pptp.connectsPerSecondPerSource) * 2
        limits.callBurstPerSource = max(64, limits.callsPerSecondPerSource * 2)
        return limits
    }

    var control: ServerConnection.Configuration {
        var control = ServerConnection.Configuration()
        control.hostName = pptp.hostName
        control.maximumCalls = pptp.maxCallsPerConnection
        control.startTimeout = pptp.startTimeout
        control.echoInterval = pptp.echoInterval
        control.echoTimeout = pptp.echoTimeout
        control.idleTimeout = pptp.idleConnectionTimeout
        control.stopTimeout = pptp.stopTimeout
        return control
    }

    var link: PPPConfiguration {
        var link = PPPConfiguration(role: .server)
        link.lcp.mru = UInt16(ppp.mru)
        link.challengeName = authentication.serverName
        link.authenticationAttempts = authentication.maxRetries + 1
        link.rechallengeInterval = ppp.rechallengeInterval > .zero ? ppp.rechallengeInterval : nil
        link.echoInterval = ppp.echoInterval > .zero ? ppp.echoInterval : nil
        link.echoFailures = ppp.echoFailures
        link.authenticationTimeout = pptp.authenticationTimeout
        link.negotiationTimeout = pptp.negotiationTimeout
        var strengths = MPPEStrengths()
        for bits in encryption.strengths {
            strengths.insert(bits == 128 ? .bits128 : bits == 56 ? .bits56 : .bits40)
        }
        link.encryption = EncryptionPolicy(
            mode: encryption.required ? .required : .optional, strengths: strengths, allowsStateful: encryption.stateful)
        return link
    }

    /// Only tunnels of the kernel's need the TUN; our own engine carries the others, and native users.
    func engine(_ kinds: [String: BackendKind]) -> EngineConfiguration {
        // Users are invited while the gateway runs: as many as could dial. What nobody uses of these tables is no memory.
        let natives = access.map { dataPath.maxSessions + $0.peers.count } ?? 0
        var engine = EngineConfiguration(role: .gateway, interface: kinds.values.contains(.kernel) ? dataPath.interface : nil)
        if kinds.values.contains(.embedded) || access != nil {
            var wireGuard = WireGuardConfiguration()
            let hubs = tunnels.map { tunnel in tunnel.peers.reduce(0) { $0 + $1.hubs.count } }.max() ?? 1
            // An identity for each session, those that linger, and the tunnels' own.
            wireGuard.identityCapacity = min(65_535, 2 * dataPath.maxSessions + 256)
            wireGuard.peerCapacity = min(262_144, wireGuard.identityCapacity * hubs + natives + 256)
            engine.wireGuard = wireGuard
        }
        engine.workers = workerCount
        // A session that ends keeps its place until the workers have confirmed it.
        engine.sessionCapacity = min(65_535, dataPath.maxSessions + natives + 256)
        engine.batchSize = dataPath.batch
        engine.reorderPackets = dataPath.reorderPackets
        engine.reorderMicroseconds = dataPath.reorderTime.microseconds
        engine.acknowledgeMicroseconds = dataPath.ackDelay.microseconds
        engine.pinWorkers = dataPath.pin
        engine.pollMicroseconds = dataPath.pollMicroseconds
        engine.allowUserToUser = dataPath.allowUserToUser
        engine.allowLocalDestinations = dataPath.allowGateway
        return engine
    }

    var addressPools: [AddressPool] {
        pools.map { pool in
            AddressPool(name: pool.name, gateway: pool.gateway, ranges: pool.ranges.map { $0.first...$0.last })
        }
    }

    /// Static addresses and prefixes of users: nobody else gets them while their user is away.
    var reservations: [Reservation] {
        let users = users.entries.map { Reservation(user: $0.displayName, prefixes: $0.attributes.ownPrefixes) }
        let peers = (access?.peers ?? []).map { Reservation(user: $0.user, prefixes: $0.ownPrefixes) }
        return (users + peers).filter { !$0.prefixes.isEmpty }
    }
}

extension Duration {
    var microseconds: Int {
        let (seconds, attoseconds) = components
        return Int(seconds) * 1_000_000 + Int(attoseconds / 1_000_000_000_000)
    }
    var seconds: Double {
        let (seconds, attoseconds) = components
        return Double(seconds) + Double(attoseconds) / 1e18
    }
}
