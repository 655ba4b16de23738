import Addresses
import Authentication
import Foundation
import Migration
import MigrationTracker
import SessionMapper
import Store

// What the controller asks the book of sessions, and writes into it. Ends are written in their order, and before any later beginning: the
// address of the one is the address of the other.
extension SessionController {
    static var unixTime: UnixTime { UnixTime(Date().timeIntervalSince1970) }

    // MARK: Log-in

    /// What becomes of a right password under the policies of the migration.
    func judged(by book: any SessionBook, _ user: AcceptedUser, from source: IPAddress) async -> AuthenticationResult {
        switch await book.verdict(of: user.name) {
        case .refuse(let refusal):
            let code: Rejection.Code = refusal == .outsideHours ? .restrictedLogonHours : .noDialInPermission
            let reason = Self.text(of: refusal)
            bulletin.tell(.loginRefused(user: user.name, source: source, reason: reason))
            return .reject(Rejection(code: code, retry: false, message: refusal.message, reason: .policy(reason)))
        case .admit(let rate, let warnings):
            for warning in warnings {
                logger.warning("log-in of user \"\(user.name)\" from \(source): \(Self.text(of: warning))")
            }
            var user = user
            if let rate { user.attributes.rate = min(user.attributes.rate ?? .max, Int(rate)) }
            return .accept(user)
        }
    }

    private static func text(of refusal: LoginRefusal) -> String {
        switch refusal {
        case .retired: "the user is retired: PPTP is switched off for them"
        case .dateIsOver(let since): "PPTP is refused since \(date(since)) by the policy of the user's phase or wave"
        case .outsideHours: "outside the hours that the policy of the user's phase or wave allows"
        }
    }

    private static func text(of warning: LoginWarning) -> String {
        switch warning {
        case .policy: "still dials PPTP"
        case .grace(let until): "the date is over; PPTP is refused from \(date(until)) on"
        case .exempt(let until): "let in by an exception that ends \(date(until))"
        }
    }

    private static func date(_ time: UnixTime) -> String { Date(timeIntervalSince1970: Double(time)).formatted(.iso8601) }

    func write(refusalOf user: String?, _ reason: String, _ session: LegacySession) {
        guard let book else { return }
        let refusal = RefusedLogIn(user: user, reason: reason, source: session.clientAddress)
        Task { await book.refused(refusal) }
    }

    // MARK: PPTP sessions

    /// Writes the session down. Where the address turns out to be somebody else's, the mapper finds another one.
    /// nil: there is no place, and the log says why.
    func enter(_ id: UInt64, _ request: UplinkRequest, fixed: IPAddress?, in book: any SessionBook) async -> Assignment? {
        // Asked for again while the first answer is still being waited for.
        if let entry = sessions[id]?.entry { return await entry.value }
        let entry = Task { await write(id, request, fixed: fixed, in: book) }
        sessions[id]?.entry = entry
        return await entry.value
    }

    private func write(_ id: UInt64, _ request: UplinkRequest, fixed: IPAddress?, in book: any SessionBook) async -> Assignment? {
        for _ in 0..<Self.addressAttempts {
            await endsWritten?.value
            guard let session = live(id), let assignment = session.assignment else { return nil }
            let opening = SessionOpening(
                kind: .pptp, user: assignment.user, at: Self.unixTime, clientAddress: session.clientAddress, address: assignment.address,
                pool: assignment.pool, tunnel: assignment.tunnel, isOnly: configuration.authentication.whenConnected == .refuse,
                device: DeviceGuess(session.fingerprint))
            let admission = await book.open(id, opening)
            guard live(id) != nil else {
                // Its end may have been written before its beginning.
                await book.close(id, cause: "ended while it began", total: Traffic())
                return nil
            }
            switch admission {
            case .admitted: return assignment
            case .addressTaken:
                logger.notice("\(session.label): \(assignment.address) belongs to another live session")
                mapper.release(id)
                session.assignment = nil
                session.refusedAddresses.insert(assignment.address)
                guard assignment.pool != nil, place(id, request, fixed: fixed) != nil else { return nil }
            case .alreadyConnected:
                logger.notice("\(session.label): refused, connected already")
                return nil
            case .storeAway(let text):
                logger.error("\(session.label): refused, no address of the user's own is known, and a new one cannot be written down: \(text)")
                return nil
            }
        }
        return nil
    }

    private static let addressAttempts = 8

    private func live(_ id: UInt64) -> LegacySession? { sessions[id].flatMap { $0.phase == .ending ? nil : $0 } }

    /// The session has ended, and its address may be somebody else's the next moment.
    func leave(_ session: LegacySession, because cause: String) {
        guard session.entry != nil else { return }
        writeEnd(of: session.id, cause, Traffic(engine?.counters(of: [session.id]).first ?? nil))
    }

    private func writeEnd(of handle: UInt64, _ cause: String, _ total: Traffic) {
        guard let book else { return }
        let before = endsWritten
        endsWritten = Task {
            await before?.value
            await book.close(handle, cause: cause, total: total)
        }
    }

    // MARK: Native sessions

    /// A native session is one from the first handshake until there is none any more. Nobody is kept out because it cannot be written.
    func enterNative(_ id: UInt64) {
        guard let book, let native = natives[id], native.isLive, native.entry == nil, let assignment = native.assignment else { return }
        // The session in the data path stays while its peer comes and goes.
        let handle = nextSession
        nextSession += 1
        natives[id]?.entry = NativeSession.Entry(handle: handle, before: traffic(of: id))
        let opening = SessionOpening(
            kind: .native, user: native.user.name, at: Self.unixTime, clientAddress: native.peer?.endpoint?.address,
            address: assignment.address, pool: nil, tunnel: assignment.tunnel)
        Task {
            await endsWritten?.value
            let admission = await book.open(handle, opening)
            if case .admitted = admission {} else { logger.error("\(native.label): cannot be written down: \(admission)") }
            if natives[id]?.entry?.handle != handle { await book.close(handle, cause: "ended while it began", total: Traffic()) }
        }
    }

    func leaveNative(_ id: UInt64, because cause: String) {
        guard let entry = natives[id]?.entry else { return }
        natives[id]?.entry = nil
        writeEnd(of: entry.handle, cause, traffic(of: id) - entry.before)
    }

    private func traffic(of id: UInt64) -> Traffic { Traffic(engine?.counters(of: [id]).first ?? nil) }

    // MARK: For the book

    /// All that went through the sessions that are written down.
    func traffic() -> [MigrationTracker.Handle: Traffic] {
        let legacy = sessions.values.filter { $0.entry != nil && $0.phase != .ending }.map(\.id)
        let entered = natives.compactMap { id, native in native.entry.map { (id, $0) } }
        var totals = Dictionary(
            uniqueKeysWithValues: zip(legacy, engine?.counters(of: legacy) ?? []).map { ($0, Traffic($1)) })
        for ((_, entry), counters) in zip(entered, engine?.counters(of: entered.map(\.0)) ?? []) {
            totals[entry.handle] = Traffic(counters) - entry.before
        }
        return totals
    }

    /// Users whose native peers are there and written down.
    func liveNatives() -> [String] { natives.values.filter { $0.isLive && $0.entry != nil }.map(\.user.name) }

    /// Addresses that users had in an earlier life, by pool and user.
    func prime(_ leases: [String: [String: IPAddress]]) { mapper.prime(leases) }

    /// PPTP is over for these users, and so are their calls.
    func endLegacySessions(of user: String, because cause: String) {
        for id in (sessionsOfUser[user] ?? []).sorted() {
            logger.notice("\(sessions[id]?.label ?? ""): \(cause)")
            end(id, because: cause)
        }
    }
}
