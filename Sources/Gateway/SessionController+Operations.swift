import Addresses
import Authentication
import CLinux
import DataPath
import Foundation
import PPTP
import SessionMapper
import Settings

extension SessionController {
    /// All sessions, oldest first, with the counters of this moment.
    public func list() -> [SessionView] {
        let all = sessions.values.sorted { $0.id < $1.id }
        let counters = engine?.counters(of: all.map(\.id)) ?? []
        return (zip(all, counters).map { view(of: $0, $1 ?? Counters()) } + nativeViews()).sorted { $0.id < $1.id }
    }

    private func view(of session: LegacySession, _ counters: Counters) -> SessionView {
        SessionView(
            id: session.id, kind: "pptp", user: session.user, state: session.phase.rawValue, clientAddress: session.clientAddress,
            gatewayAddress: session.localAddress, callID: session.callID, peerCallID: session.peerCallID,
            innerAddress: session.assignment?.address, prefixes: Array(session.assignment?.prefixes.dropFirst() ?? []),
            tunnel: session.assignment?.tunnel, encryption: session.encryption, mtu: session.mtu, startedAt: session.startedAt,
            uptimeSeconds: Int(session.started.duration(to: .now).seconds), clientHostName: session.fingerprint.start?.hostName,
            clientVendor: session.fingerprint.start?.vendor, clientFirmware: session.fingerprint.start?.firmware,
            device: session.device.map(DeviceView.init), packetsIn: counters.packetsIn,
            bytesIn: counters.bytesIn, packetsOut: counters.packetsOut, bytesOut: counters.bytesOut, reordered: counters.reordered,
            lost: counters.lost, drops: counters.drops)
    }

    /// Everything but the tunnels, which the caller adds.
    func status(version: String, tunnels: [TunnelView], wireGuard: WireGuardView? = nil, access: AccessView? = nil) -> StatusView {
        StatusView(
            version: version, instance: configuration.instance, startedAt: startedAt, workers: configuration.workerCount,
            instructionSet: engine?.instructionSet ?? "", gre: greView, controlConnections: connections.count, sessions: sessions.count,
            openSessions: sessions.values.count { $0.phase == .open }, endedSessions: endedSessions, failedLogins: failedLogins,
            control: Dictionary(uniqueKeysWithValues: controlCounts.map { ($0.rawValue, $1) }),
            refused: refusedByLimit, drops: engine?.totals().drops ?? [:],
            tunnels: tunnels, wireGuard: wireGuard, access: access)
    }

    private var greView: GREView? {
        guard let reception = engine?.gre.description, let sent = engine?.departures() else { return nil }
        return GREView(reception: reception, sentAtInterface: sent.atInterface, sentThroughStack: sent.throughStack)
    }

    /// Ends one session in order. False if there is none. A native one comes back with the user's next packet unless its peer is removed.
    public func disconnect(session id: UInt64) -> Bool {
        guard let session = sessions[id], session.phase != .ending else { return false }
        end(id, because: "disconnected by the administrator")
        return true
    }

    /// Ends all sessions of a user in order. Returns their ids.
    public func disconnect(user: String) -> [UInt64] {
        let ids = (sessionsOfUser[user] ?? []).sorted()
        for id in ids { end(id, because: "disconnected by the administrator") }
        return ids
    }

    /// Ends sessions that cannot go on with a new configuration. A native user comes back with the next packet.
    func end(_ endings: [UInt64: String]) {
        for (id, reason) in endings.sorted(by: { $0.key < $1.key }) {
            if let native = natives[id] {
                logger.notice("\(native.label): \(reason)")
                unbindNative(id)
            } else if let session = sessions[id], session.phase != .ending {
                logger.notice("\(session.label): ended by the reload: \(reason)")
                end(id, because: reason)
            }
        }
    }

    /// The inner prefixes of open sessions, by tunnel: they stay routed whatever a reload has changed.
    public func livePrefixes() -> [String: [IPPrefix]] {
        sessions.values.reduce(into: [:]) { live, session in
            guard let assignment = session.assignment, session.phase != .ending else { return }
            live[assignment.tunnel, default: []] += assignment.prefixes
        }.merging(nativePrefixes()) { $0 + $1 }
    }

    // MARK: From the tunnel side

    public func setTunnel(_ index: UInt32, mtu: UInt16, up: Bool) {
        submit(Command(0, .tunnel(index: index, mtu: mtu, up: up)))
    }

    public func setLocalAddresses(_ addresses: [IPAddress]) {
        submit(Command(0, .localAddresses(addresses)))
    }

    /// Takes what can change while sessions live. Deadlines and limits hold for new connections, PPP options for new calls.
    func adopt(_ new: CausewayConfiguration, identityReservations: [Reservation] = []) {
        configuration = new
        self.identityReservations = identityReservations
        limits.configuration = new.admission
        mapper.replace(pools: new.addressPools)
        reserve()
        setSources()
        endBlockedSessions()
    }

    /// Users who hold their identity themselves, by tunnel: there is nothing that they could leave through.
    func setHandedOver(_ users: [String: Set<String>]) { handedOver = users }

    /// After many sessions have ended, their memory goes back to the system: malloc keeps it otherwise.
    func giveBackMemory() {
        engine?.trim()
        // Once they have stopped ending: in the middle of it, most would still be to come. And once more with the next look: what the
        // store still had to write of them, and their tasks, are gone by then.
        defer { endedAtLastLook = endedSessions }
        guard endedSessions == endedAtLastLook, endedSessions - trimmedAt >= 64 || trimsAgain else { return }
        trimsAgain = endedSessions != trimmedAt
        trimmedAt = endedSessions
        sessions.shrinkIfSparse()
        connections.shrinkIfSparse()
        sessionsOfUser.shrinkIfSparse()
        timers.trim()
        mapper.trim()
        limits.trim()
        clinux_give_back_memory()
    }

    // MARK: Shutdown

    /// Clears every call in order (LCP Terminate, Call-Disconnect-Notify, Stop-Control-Connection-Request), then closes what is left
    /// after `pptp.stop-timeout`.
    public func shutdown() async {
        isShuttingDown = true
        let deadline = ContinuousClock.now + configuration.pptp.stopTimeout
        logger.info("shutting down: \(sessions.count) sessions, \(connections.count) control connections")
        endNatives()
        for id in sessions.keys.sorted() { end(id, because: "the gateway is shutting down") }
        await wait(until: deadline) { sessions.values.allSatisfy { $0.phase == .ending } }
        for id in sessions.keys.sorted() { finish(id, because: "the gateway is shutting down") }
        for id in connections.keys { perform(id) { $0.shutdown(now: .now) } }
        await wait(until: ContinuousClock.now + configuration.pptp.stopTimeout) { connections.isEmpty && sessions.isEmpty }
        for connection in connections.values {
            if let timer = connection.timer { timers.cancel(timer.token) }
            connection.channel.close(mode: .all, promise: nil)
        }
        connections = [:]
        await endsWritten?.value
    }

    private func wait(until deadline: ContinuousClock.Instant, _ done: () -> Bool) async {
        while !done(), ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(20)) }
    }
}
