import Migration
import Store

// The store away and back: what is written late, and what never is.
extension MigrationTracker {
    /// A store that is away is asked again at most once a second, and what waits is written first. In its turn only.
    func isWorthAsking() async -> Bool {
        guard trouble != nil || !backlog.isEmpty || !isLoaded else { return true }
        let now = clock()
        guard now > askedAt else { return false }
        askedAt = now
        await catchUp()
        return backlog.isEmpty && isLoaded
    }

    func away(_ error: StoreError) {
        askedAt = clock()
        answersSince = nil
        guard trouble == nil else { return }
        trouble = error.description
        logger.error("\(error): open sessions go on; new ones only at addresses that are the user's own; trying again")
        report(.storeAway(error.description))
    }

    func back() {
        if answersSince == nil { answersSince = clock() }
        guard trouble != nil, backlog.isEmpty else { return }
        trouble = nil
        logger.notice("the database can be used again")
        report(.storeBack(late: 0))
    }

    /// The store answers, and does not take it: asked again, it would not either. What comes after it is not held up.
    func putAside(_ what: String, _ error: StoreError) {
        setAside += 1
        logger.error("\(what) is not written down: \(error)")
    }

    /// Writes openings and closings that waited, in their order, as many as log-ins can wait for. In its turn only.
    func catchUp() async {
        guard !backlog.isEmpty else { return }
        var late = 0
        // Others append meanwhile; only we take away.
        while late < min(backlog.count, Self.mostAtOnce) {
            do throws(StoreError) { try await write(backlog[late]) } catch {
                backlog.removeFirst(late)
                return away(error)
            }
            late += 1
        }
        backlog.removeFirst(late)
        writtenLate += late
        if answersSince == nil { answersSince = clock() }
        guard backlog.isEmpty else {
            trouble = nil
            return
        }
        trouble = nil
        logger.notice("the database can be used again; \(writtenLate) openings and ends of sessions were written late")
        report(.storeBack(late: writtenLate))
        writtenLate = 0
    }

    private static let mostAtOnce = 1000

    private func write(_ late: Late) async throws(StoreError) {
        switch late {
        case .opening(let handle):
            // Ended meanwhile: its end writes both.
            guard case .waiting(let opening)? = sessions[handle] else { return }
            guard let opened = try await opened(opening) else {
                // It goes on unwritten, and so does its end.
                if case .waiting? = sessions[handle] { sessions[handle] = nil }
                return
            }
            if case .waiting? = sessions[handle] { return await remember(handle, opening, opened) }
            // It ended while it was written; its end waits behind us and needs the row.
            for index in backlog.indices {
                if case .closing(handle, let at, let cause, let total, .waiting) = backlog[index] {
                    backlog[index] = .closing(handle, at, cause, total, .stored(opened.id))
                }
            }
        case .closing(_, let at, let cause, let total, let entry):
            switch entry {
            case .stored(let id): try await end(id, at: at, cause, total)
            case .opening, .overBefore: break  // Never in the backlog: they are not written yet.
            case .waiting(let opening):
                guard let opened = try await opened(opening) else { return }
                try await end(opened.id, at: at, cause, total)
            }
        }
    }

    /// nil: it is not taken, because somebody else has the address by now or for another reason that stays.
    private func opened(_ opening: SessionOpening) async throws(StoreError) -> SessionOpened? {
        do throws(StoreError) { return try await store.openSession(opening, settings.rules) } catch {
            if error.isOutage { throw error }
            putAside("the session of user \"\(opening.user)\" at \(opening.address)", error)
            return nil
        }
    }

    /// Throws only where it has to be tried again.
    func end(_ id: SessionID, at now: UnixTime, _ cause: String, _ total: Traffic) async throws(StoreError) {
        do throws(StoreError) {
            moved(try await store.closeSessions([SessionClosing(id: id, at: now, cause: cause, total: total)], settings.rules))
        } catch {
            if error.isOutage {
                away(error)
                throw error
            }
            putAside("the end of session \(id)", error)
        }
    }

    func moved(_ changes: [String: PhaseChange]) {
        for (user, change) in changes.sorted(by: { $0.key < $1.key }) {
            var fact = facts[user] ?? LoginFacts(phase: .legacy)
            fact.phase = change.to
            facts[user] = fact
            report(.moved(user: user, change))
        }
    }
}
