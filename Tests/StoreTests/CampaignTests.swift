import GRDB
import Migration
import Testing

@testable import Store

/// A migration of 400 users in 6 waves over 90 days, hour by hour where it matters: what every user does is thrown with dice, what has to
/// follow is worked out beside the store, and compared every day.
@Suite struct CampaignTests {
    /// Wave w starts on day 8 w + 1, its date is 25 days later with two days of grace. Three of the six have a policy more.
    private static func start(_ wave: Int) -> UnixTime { UnixTime(8 * wave + 1) * day }
    private static func policy(_ wave: Int) throws -> Policy {
        Policy(
            warns: wave == 1, rate: wave == 2 ? 64 : nil, hours: wave == 3 ? try WeeklyHours("mon-sun 00:00-08:00") : nil,
            refuseAfter: start(wave) + 25 * day, grace: 2 * day)
    }
    /// Of the users of wave 4 who never switch.
    private static let exemption = Exemption(until: 75 * day, reason: "a lathe", administrator: "ann")

    /// What a PPTP log-in has to meet, said again from the calendar.
    private func expected(_ phase: Phase, wave: Int, isExempt: Bool, isRolledBack: Bool, at now: UnixTime) -> LoginVerdict {
        let start = Self.start(wave), date = start + 25 * day, end = date + 2 * day
        let plain: LoginVerdict =
            if phase == .retired {
                .refuse(.retired)
            } else if now < start || isRolledBack {
                .admit(rate: nil, warnings: [])
            } else if now >= end {
                .refuse(.dateIsOver(since: end))
            } else if wave == 3, now % day >= 8 * 3600 {
                .refuse(.outsideHours)
            } else {
                .admit(rate: wave == 2 ? 64 : nil, warnings: (wave == 1 ? [.policy] : []) + (now >= date ? [.grace(until: end)] : []))
            }
        guard isExempt, now < Self.exemption.until, case .refuse = plain else { return plain }
        return .admit(rate: nil, warnings: [.exempt(until: Self.exemption.until)])
    }

    private func verdict(_ fact: LoginFacts, _ policies: [Policy], at now: UnixTime) -> LoginVerdict {
        .of(fact.phase, policies: policies, exemption: fact.exemption, at: now) { WeekMinute(at: $0, offset: 0) }
    }

    @Test(arguments: [1, 2] as [UInt64]) func aWholeMigration(_ seed: UInt64) async throws {
        let temporary = try TemporaryStore(), store = temporary.store
        var dice = Dice(seed: seed)
        let names = (0..<400).map { "user\($0)" }
        _ = try await store.addUsers(names, origin: .secrets, at: 0, by: ann)
        for wave in 0..<6 {
            let start = Self.start(wave)
            try await store.createWave(Wave(name: "wave\(wave)", policy: try Self.policy(wave)), at: 0, by: ann)
            try await store.assign(names.enumerated().filter { $0.offset % 6 == wave }.map(\.element), to: "wave\(wave)", at: 0, by: ann)
            _ = try await store.change(wave: "wave\(wave)", at: 0, by: ann, rules) { wave throws(Wave.Problem) in try wave.schedule(at: start, now: 0) }
        }
        // Each user switches some days after the invitation; one in ten never does; one in twenty goes back to PPTP once.
        var switchesAt: [String: UnixTime] = [:], goesBack: Set<String> = [], shadow: [String: UserMigration] = [:]
        for name in names {
            shadow[name] = UserMigration(since: 0)
            if Int.random(in: 0..<20, using: &dice) == 0 { goesBack.insert(name) }
        }
        let stubborn = Set(names.filter { _ in Int.random(in: 0..<10, using: &dice) == 0 })
        let exempt = stubborn.filter { Int($0.dropFirst(4))! % 6 == 4 }
        for name in exempt { try await store.setExemption(Self.exemption, of: name, at: 0, by: ann) }
        var verdicts: [String: Int] = [:]
        var refused = 0, admitted = 0, wentBack = 0, retired = 0, rolledBack = false

        for today in 0..<90 {
            let now = UnixTime(today) * day
            let outcome = try await store.tickWaves(at: now, rules)
            for name in outcome.toInvite {
                shadow[name] = try await step(store, name, shadow[name]!) { $0.invited(at: now, by: .administrator("ann")) }
                if !stubborn.contains(name) { switchesAt[name] = now + UnixTime.random(in: 0..<20, using: &dice) * day }
            }
            for (name, change) in outcome.changes {
                let mirrored = shadow[name]!.retire(at: now, by: change.mover, reason: change.reason)
                #expect(mirrored == change, "\(name)")
                retired += 1
            }
            // Roll-back of the first wave, once, some days after its date: everybody it retired may dial again.
            if today == 40, !rolledBack {
                rolledBack = true
                let back = try await store.change(wave: "wave0", at: now, by: ann, rules) { wave throws(Wave.Problem) in try wave.rollBack() }
                #expect(!back.changes.isEmpty)
                for (name, change) in back.changes {
                    #expect(change.from == .retired && change.to < .retired)
                    #expect(shadow[name]!.rollBack(at: now, by: "ann", reason: change.reason, rules) == change)
                }
            }
            var closings: [SessionClosing] = [], native: [String] = []
            let waves = try await store.waves(), facts = try await store.loginFacts()
            for (number, name) in names.enumerated() {
                let policies = waves.first { $0.name == "wave\(number % 6)" }?.activePolicy.map { [$0] } ?? []
                let fact = facts[name] ?? LoginFacts(phase: .legacy)
                for moment in [now, now + 12 * 3600] {
                    let found = verdict(fact, policies, at: moment)
                    let wanted = expected(shadow[name]!.phase, wave: number % 6, isExempt: exempt.contains(name), isRolledBack: rolledBack && number % 6 == 0, at: moment)
                    #expect(found == wanted, "\(name) at \(moment)")
                    switch found {
                    case .admit(let rate, let warnings): verdicts["\(rate as Any) \(warnings.map { "\($0)".prefix { $0 != "(" } })", default: 0] += 1
                    case .refuse(let refusal): verdicts["\("\(refusal)".prefix { $0 != "(" })", default: 0] += 1
                    }
                }
                let hasSwitched = switchesAt[name].map { now >= $0 } ?? false
                let returns = goesBack.contains(name) && hasSwitched && shadow[name]!.phase == .migrated
                if !hasSwitched || returns {
                    guard case .admit = verdict(fact, policies, at: now) else {
                        refused += 1
                        continue
                    }
                    admitted += 1
                    if returns {
                        wentBack += 1
                        goesBack.remove(name)
                    }
                    let id = try await store.openSession(opening(name, number, at: now + 60), rules).id
                    _ = shadow[name]!.legacyOpened(at: now + 60, rules)
                    closings.append(SessionClosing(id: id, at: now + 7200, cause: "hung up", total: Traffic(bytesIn: 1000)))
                    _ = shadow[name]!.legacyClosed(at: now + 7200, rules)
                }
                if hasSwitched {
                    native.append(name)
                    _ = shadow[name]!.nativeSeen(at: now + 9000, by: "gw1", rules)
                }
            }
            _ = try await store.closeSessions(closings, rules)
            _ = try await store.nativeSeen(native, by: "gw1", at: now + 9000, rules)
            let settled = try await store.settle(at: now + 80_000, rules)
            for (name, change) in settled { #expect(shadow[name]!.settle(at: now + 80_000, rules) == change) }
            try await compare(store, shadow, today)
        }

        // Each kind of verdict was met: nothing above is compared with nothing.
        #expect(!exempt.isEmpty && verdicts.count == 10, "\(verdicts)")

        // Whoever switched is done, whoever did not is refused.
        let status = try await store.status(at: 90 * day, days: 30, blockers: 1000)
        #expect(status.counts.values.reduce(0, +) == 400)
        #expect(wentBack > 0 && retired > 150 && admitted > 5000)
        #expect(refused > stubborn.count, "the stubborn are refused day after day")
        #expect(status.blockers.allSatisfy { stubborn.contains($0.user) || status.waves[0].counts[.dual] != nil })
        let forecast = Forecast(trend: status.trend)
        guard case .ends(let end, let pace) = forecast else {
            Issue.record("no forecast: \(forecast)")
            return
        }
        let first = try #require(status.trend.first), last = try #require(status.trend.last)
        #expect(abs(pace - Double(last.done - first.done) / 30) < 0.001 && end >= 90)
    }

    private func step(
        _ store: SQLiteStore, _ name: String, _ before: UserMigration, _ body: @Sendable @escaping (inout UserMigration) -> PhaseChange?
    ) async throws -> UserMigration {
        var after = before
        let expected = body(&after)
        #expect(try await store.change(name, by: ann, body) == expected)
        return after
    }

    /// Each user is in exactly one phase, the one that the values say, and the history leads there.
    private func compare(_ store: SQLiteStore, _ shadow: [String: UserMigration], _ today: Int) async throws {
        var after: String?
        var seen = 0
        repeat {
            let page = try await store.users(UserFilter(), after: after, limit: 150)
            for user in page.elements { #expect(user.migration == shadow[user.name], "\(user.name) on day \(today)") }
            seen += page.elements.count
            after = page.next
        } while after != nil
        #expect(seen == shadow.count)
        let broken = try await store.read { db in
            try Int.fetchOne(
                db,
                sql: """
                    SELECT count(*) FROM users u WHERE u.phase <> coalesce((SELECT new FROM phase_changes c WHERE c.user = u.id ORDER BY id DESC LIMIT 1), 'legacy')
                    """)
        }
        #expect(broken == 0)
    }
}
