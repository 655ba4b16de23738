import Addresses
import DataPath
import PPP
import SessionMapper
import Settings

// Where a session's packets go: the tunnel's one uplink, or in the modes `group` and `per-user` an identity that comes up for it.
extension SessionController {
    func allocateAddress(_ session: LegacySession) {
        guard let user = session.user else { return step(session.id) { $0.refuseAddress(now: .now) } }
        let request = UplinkRequest(
            tunnel: session.attributes.tunnel ?? session.listener.tunnel, user: user, group: session.attributes.group)
        guard let way = ways[request.tunnel], !way.isShared else {
            session.identity = ways[request.tunnel]?.identity
            let id = session.id, assignment = place(id, request, fixed: nil)
            guard let book, assignment != nil else { return assign(assignment, to: id) }
            Task { assign(await enter(id, request, fixed: nil, in: book), to: id) }
            return
        }
        let id = session.id
        Task { await allocateIdentity(request, for: id) }
    }

    private func allocateIdentity(_ request: UplinkRequest, for id: UInt64) async {
        do {
            let grant = try await uplinks.acquire(request, for: id)
            // It may have ended meanwhile, and then there is nobody else who would let go.
            guard let session = sessions[id], session.phase != .ending else { return await uplinks.release(request, by: id) }
            session.uplink = request
            session.identity = grant.identity
            var assignment = place(id, request, fixed: grant.address)
            if let book, assignment != nil { assignment = await enter(id, request, fixed: grant.address, in: book) }
            if let assignment { try await uplinks.confine(assignment.prefixes, of: id, to: request) }
            assign(assignment, to: id)
        } catch {
            logger.error("\(sessions[id]?.label ?? "session \(id)"): no way out: \(error)")
            assign(nil, to: id)
        }
    }

    /// Occupies an address and the user's networks; nil if there is no place.
    func place(_ id: UInt64, _ request: UplinkRequest, fixed: IPAddress?) -> Assignment? {
        guard let session = sessions[id] else { return nil }
        if let assignment = session.assignment { return assignment }
        let attributes = session.attributes
        var login = Login(
            user: request.user, pool: attributes.pool ?? session.listener.pool, tunnel: request.tunnel,
            staticAddress: fixed ?? attributes.staticAddress ?? nativeAddress(of: request), prefixes: attributes.prefixes)
        if case .within(let allowed) = attributes.address { login.allowed = allowed }
        if session.takesSecondAddress {
            login.staticAddress = nil
            login.prefixes = []
        }
        login.refused = session.refusedAddresses
        unbindSilentNatives(overlapping: login)
        switch mapper.admit(login, session: id) {
        case .failure(let refusal):
            logger.error("\(session.label): no address: \(refusal)")
            return nil
        case .success(let assignment):
            session.assignment = assignment
            return assignment
        }
    }

    private func assign(_ assignment: Assignment?, to id: UInt64) {
        guard let assignment else { return step(id) { $0.refuseAddress(now: .now) } }
        let answer = AddressAssignment(
            local: assignment.gateway, peer: assignment.address, dns: configuration.ppp.dns, nbns: configuration.ppp.nbns)
        step(id) { $0.assign(answer, now: .now) }
    }

    /// The session has ended: its identity stays up for a while and then goes.
    func letGo(of session: LegacySession) {
        guard let request = session.uplink else { return }
        let id = session.id
        let uplinks = uplinks
        Task { await uplinks.release(request, by: id) }
    }
}
