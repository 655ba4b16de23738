import Addresses
import DataPath
import Foundation
import SessionMapper
import Settings
import WireGuard

// Users who connect over WireGuard. See NativeSession for who has an address that both a PPTP session and a native peer claim.
extension SessionController {
    /// Takes the configured users; those who are unchanged keep their sessions.
    /// - Parameter identity: that their devices connect to.
    func setNatives(_ users: [NativeUser], on identity: WireGuardEngine.Identity) {
        accessIdentity = identity
        setNatives(users)
    }

    /// After a reload, on the same listener.
    func setNatives(_ users: [NativeUser]) {
        guard let identity = accessIdentity else { return }
        nativeReservations = users.map { Reservation(user: $0.name, prefixes: $0.allPrefixes) }
        reserve()
        let wanted = Set(users)
        for (id, native) in natives where !native.isEnding && !wanted.contains(native.user) { closeNative(id) }
        let known = Set(natives.values.filter { !$0.isEnding }.map(\.user))
        for user in users where !known.contains(user) {
            let id = nextSession
            nextSession += 1
            natives[id] = NativeSession(id: id, user: user)
            nativesOfUser[user.name, default: []].insert(id)
            submit(Command(id, .openNative(NativeParameters(identity: identity, peer: user.publicKey.bytes))))
        }
        bindWaitingNatives()
    }

    /// What belongs to somebody is given to nobody else, while they are away, too.
    func reserve() { mapper.reserve(configuration.reservations + identityReservations + nativeReservations) }

    /// Once a second: what the access listener's device says about its peers.
    func observeNatives(_ peers: [PublicKey: PeerStatus], wallClock: Duration, now: ContinuousClock.Instant = .now) {
        for id in natives.keys.sorted() {
            guard let native = natives[id], !native.isEnding else { continue }
            let tunnel = configuration.tunnel(named: native.user.tunnel)
            let step = natives[id]!.observed(
                peers[native.user.publicKey], isShared: ways[native.user.tunnel]?.isShared ?? true, linger: tunnel?.linger ?? .zero,
                wallClock: wallClock, now: now)
            switch step {
            case .none: break
            case .bind: takeOver(id)
            case .letGo: unbindNative(id)
            }
            if natives[id]?.isLive == true { enterNative(id) } else { leaveNative(id, because: "no sign of life for three minutes") }
            announceNative(id, because: "no sign of life for three minutes")
        }
    }

    // MARK: Who has the address

    /// The native peer's first handshake: a PPTP session that has the address ends.
    private func takeOver(_ id: UInt64) {
        guard let native = natives[id], !yields(native) else { return }
        for session in sessions.values.sorted(by: { $0.id < $1.id }) where session.phase != .ending {
            guard let theirs = session.assignment?.prefixes, theirs.overlap(native.user.allPrefixes) else { continue }
            logger.notice("\(session.label): ended, because \(native.label) has connected")
            end(session.id, because: "the user has connected over WireGuard")
            finish(session.id, because: "the user has connected over WireGuard")
        }
        // `finish` binds whoever waits; this one does not have to wait for a shared uplink then.
        if natives[id]?.assignment == nil { bindNative(id) }
    }

    /// A PPTP log-in gets the address of a native peer that is silent.
    func unbindSilentNatives(overlapping login: Login) {
        guard let address = login.staticAddress else { return }
        let wanted = [IPPrefix(address)] + login.prefixes
        for (id, native) in natives where native.assignment != nil && !native.isLive && native.user.allPrefixes.overlap(wanted) {
            logger.info("\(native.label): silent; the address goes to a PPTP session")
            unbindNative(id)
        }
    }

    // MARK: PPTP while it lives

    enum Encounter: Equatable {
        case admitted
        case refused(String)
    }

    /// A log-in of a user whose own peer is connected, by `migration.while-native`.
    func meetNative(_ user: String, _ session: LegacySession) -> Encounter {
        let live = (nativesOfUser[user] ?? []).sorted().filter { natives[$0].map { $0.isLive && $0.assignment != nil } ?? false }
        guard session.user == nil, let native = live.first.flatMap({ natives[$0] }) else { return .admitted }
        switch configuration.migration.whileNative {
        case .refuse: return .refused("the user's WireGuard peer is connected")
        case .replace:
            for id in live {
                logger.notice("\(natives[id]?.label ?? ""): waits while a PPTP session from \(session.clientAddress) has the address (while-native = \"replace\")")
                natives[id]?.yieldsTo = session.id
                unbindNative(id, because: "replaced by a PPTP session")
            }
        case .secondAddress:
            guard configuration.tunnel(named: native.user.tunnel)?.mode != .perUser else {
                return .refused("the user's WireGuard peer is connected, and in mode \"per-user\" there is no second address")
            }
            session.takesSecondAddress = true
        }
        return .admitted
    }

    private func yields(_ native: NativeSession) -> Bool {
        native.yieldsTo.flatMap { sessions[$0] }.map { $0.phase != .ending } ?? false
    }

    /// A user has one address, whichever way the user comes in.
    func nativeAddress(of request: UplinkRequest) -> IPAddress? {
        (nativesOfUser[request.user] ?? []).sorted().lazy.compactMap { self.natives[$0] }
            .first { !$0.isEnding && $0.user.tunnel == request.tunnel }?.user.address
    }

    /// Native users have their address from the start where the uplink is shared, and again when PPTP gives it up.
    func bindWaitingNatives() {
        guard !isShuttingDown else { return }
        for (id, native) in natives where native.assignment == nil && !native.isBinding && !native.isEnding {
            guard native.isLive || ways[native.user.tunnel]?.isShared ?? false else { continue }
            bindNative(id)
        }
    }

    private func bindNative(_ id: UInt64) {
        guard let native = natives[id], native.assignment == nil, !native.isBinding, !native.isEnding, !yields(native),
            let way = ways[native.user.tunnel]
        else { return }
        guard !way.isShared else { return bindNative(id, to: way.identity) }
        natives[id]?.isBinding = true
        let request = UplinkRequest(tunnel: native.user.tunnel, user: native.user.name, group: native.user.group)
        Task { await bindNative(id, through: request) }
    }

    private func bindNative(_ id: UInt64, through request: UplinkRequest) async {
        do {
            let grant = try await uplinks.acquire(request, for: id)
            guard let native = natives[id], !native.isEnding else { return await uplinks.release(request, by: id) }
            natives[id]?.uplink = request
            try await uplinks.confine(native.user.allPrefixes, of: id, to: request)
            natives[id]?.isBinding = false
            bindNative(id, to: grant.identity)
            if natives[id]?.assignment == nil { letGo(ofNative: id) }
        } catch {
            natives[id]?.isBinding = false
            letGo(ofNative: id)
            logger.error("\(natives[id]?.label ?? "native session \(id)"): no way out: \(error)")
        }
    }

    private func bindNative(_ id: UInt64, to identity: WireGuardEngine.Identity?) {
        guard let native = natives[id], !native.isEnding, let way = ways[native.user.tunnel],
            let pool = configuration.pools.first(where: { $0.ranges.contains { $0.contains(native.user.address) } }) ?? configuration.pools.first
        else { return }
        let login = Login(
            user: native.user.name, pool: pool.name, tunnel: native.user.tunnel, staticAddress: native.user.address,
            prefixes: native.user.prefixes)
        // Taken: a PPTP session has it, and keeps it until the native peer has completed a handshake.
        guard case .success(let assignment) = mapper.admit(login, session: id) else { return }
        natives[id]?.assignment = assignment
        natives[id]?.identity = identity
        let mtu = UInt16(clamping: configuration.access?.mtu ?? 1420)
        let binding = Binding(
            gatewayAddress: assignment.gateway, tunnel: way.index, mtu: mtu, prefixes: assignment.prefixes, identity: identity)
        submit(
            Command(id, .bind(binding)), Command(id, .update(SessionUpdate(rateBitsPerSecond: UInt64(native.user.rate ?? 0) * 1000))))
        if native.isLive { logger.info("\(native.label): connected, \(assignment.address) through tunnel \"\(assignment.tunnel)\"") }
    }

    func unbindNative(_ id: UInt64, because reason: String? = nil) {
        guard let native = natives[id], native.assignment != nil else { return }
        let reason = reason ?? (native.isLive ? "its peer was taken away" : "no sign of life for three minutes")
        leaveNative(id, because: reason)
        mapper.release(id)
        natives[id]?.assignment = nil
        natives[id]?.identity = nil
        announceNative(id, because: reason)
        submit(Command(id, .unbind))
        letGo(ofNative: id)
    }

    /// - Parameter reason: why it is over, if it is.
    private func announceNative(_ id: UInt64, because reason: String) {
        guard let native = natives[id] else { return }
        let isOpen = native.isLive && native.assignment != nil
        guard isOpen != native.isAnnounced else { return }
        natives[id]?.isAnnounced = isOpen
        bulletin.tell(isOpen ? .sessionOpened(native.announcement) : .sessionClosed(native.announcement, reason: reason))
    }

    private func letGo(ofNative id: UInt64) {
        guard let request = natives[id]?.uplink else { return }
        natives[id]?.uplink = nil
        let uplinks = uplinks
        Task { await uplinks.release(request, by: id) }
    }

    private func closeNative(_ id: UInt64) {
        unbindNative(id)
        natives[id]?.isEnding = true
        submit(Command(id, .close))
    }

    func endNatives() {
        for id in natives.keys.sorted() where natives[id]?.isEnding == false { closeNative(id) }
    }

    /// The data path does not have the session: the next handshake tries again.
    func nativeRefused(_ id: UInt64) {
        guard let native = natives[id] else { return }
        guard !native.isEnding else { return forgetNative(id) }
        unbindNative(id)
    }

    func forgetNative(_ id: UInt64) {
        guard let native = natives.removeValue(forKey: id) else { return }
        nativesOfUser[native.user.name]?.remove(id)
        if nativesOfUser[native.user.name]?.isEmpty == true { nativesOfUser[native.user.name] = nil }
    }

    // MARK: Views

    func nativePrefixes() -> [String: [IPPrefix]] {
        natives.values.reduce(into: [:]) { live, native in
            guard let assignment = native.assignment else { return }
            live[assignment.tunnel, default: []] += assignment.prefixes
        }
    }

    func nativeViews() -> [SessionView] {
        let all = natives.values.filter { !$0.isEnding }.sorted { $0.id < $1.id }
        let counters = engine?.counters(of: all.map(\.id)) ?? []
        let wallClock = Date().timeIntervalSince1970
        return zip(all, counters).map { native, counters in
            let counters = counters ?? Counters()
            return SessionView(
                id: native.id, kind: "wireguard", user: native.user.name,
                state: native.assignment == nil ? "waiting" : native.isLive ? "open" : "silent",
                clientAddress: native.peer?.endpoint?.address, publicKey: "\(native.user.publicKey)",
                lastHandshakeSeconds: native.peer?.latestHandshake.map { max(0, Int(wallClock - $0.seconds)) },
                innerAddress: native.user.address, prefixes: native.user.prefixes, tunnel: native.user.tunnel, encryption: "WireGuard",
                mtu: configuration.access.map { UInt16(clamping: $0.mtu) }, startedAt: native.startedAt,
                uptimeSeconds: Int(native.started.duration(to: .now).seconds), packetsIn: counters.packetsIn,
                bytesIn: counters.bytesIn, packetsOut: counters.packetsOut, bytesOut: counters.bytesOut, reordered: 0, lost: 0, drops: counters.drops)
        }
    }
}

extension [IPPrefix] {
    fileprivate func overlap(_ others: [IPPrefix]) -> Bool { contains { prefix in others.contains { $0.overlaps(prefix) } } }
}
