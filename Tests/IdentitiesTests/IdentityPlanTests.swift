import Addresses
import Settings
import Testing

@testable import Identities

@Suite struct IdentityPlanTests {
    private func need(_ name: String, _ source: IdentityPlan.Source, kind: Identity.Kind = .user) -> IdentityPlan.Need {
        .init(.init(tunnel: "hub", kind: kind, name: name), source)
    }

    @Test func aSharedTunnelNeedsNone() throws {
        #expect(try IdentityPlan(Configured.parse(mode: "shared", secrets: "ann * p *\n")).needs.isEmpty)
    }

    @Test func oneForEachUser() throws {
        let secrets = "ann * p *\nbob one p 10.8.0.12\nbob two p 10.8.0.12\ncarl * p 10.8.0.8/30\nzed * p -\n"
        let users = ["ann", "bob", "carl", "zed"].map { Configured.user($0, "pool = \"users\"") }.joined()
        let plan = try IdentityPlan(Configured.parse(mode: "per-user", secrets: secrets, rest: users))
        #expect(
            plan.needs == [
                need("ann", .pools(["users"], within: nil)), need("bob", .fixed(IPAddress("10.8.0.12")!)),
                need("carl", .pools(["users"], within: [IPPrefix("10.8.0.8/30")!])),
            ])
        #expect(plan.pools["users"]?.map(\.description) == ["10.8.0.10-10.8.0.12"])
        #expect(plan.reserved == [IPAddress("10.8.0.12")!: "bob"])
    }

    /// Without a tunnel of their own users may come in for either: in each of them that wants it they have an identity.
    @Test func fromTheListenersPool() throws {
        let plan = try IdentityPlan(Configured.parse(mode: "per-user", secrets: "ann * p *\n"))
        #expect(plan.needs == [need("ann", .pools(["users"], within: nil))])
    }

    @Test func namesAsInLogs() throws {
        let plan = try IdentityPlan(Configured.parse(mode: "per-user", secrets: "\"a\\001b\" * p *\n"))
        let shown = try Configured.parse(mode: "per-user", secrets: "\"a\\001b\" * p *\n").users.entries[0].displayName
        #expect(plan.needs.map(\.id.name) == [shown] && !shown.contains("\u{1}"))
    }

    @Test func whoOnlyConnects() throws {
        let leased = try IdentityPlan(Configured.parse(mode: "per-user", secrets: "ann * p *\n", rest: Configured.access("user = \"eve\"")))
        #expect(leased.needs == [need("ann", .pools(["users"], within: nil)), need("eve", .pools(["users"], within: nil))])
        let fixed = try IdentityPlan(
            Configured.parse(mode: "per-user", secrets: "ann * p *\n", rest: Configured.access("user = \"eve\"\naddress = \"10.8.0.12\"")))
        #expect(fixed.needs.last == need("eve", .fixed(IPAddress("10.8.0.12")!)))
        #expect(fixed.reserved == [IPAddress("10.8.0.12")!: "eve"])
    }

    @Test func whoDialsInAndConnectsHasOne() throws {
        let rest = Configured.user("ann", "") .replacing("tunnel", with: "pool = \"users\"\ntunnel") + Configured.access("user = \"ann\"")
        #expect(try IdentityPlan(Configured.parse(mode: "per-user", secrets: "ann * p *\n", rest: rest)).needs.map(\.id.name) == ["ann"])
    }

    @Test func groups() throws {
        let rest = Configured.user("bob", "group = \"tills\"\naddress = \"10.8.0.12\"") + Configured.access("user = \"eve\"\naddress = \"10.7.0.1\"")
        let plan = try IdentityPlan(Configured.parse(mode: "group", secrets: "ann * p *\nbob * p *\n* * p *\n", rest: rest))
        #expect(plan.needs == [need("default", .none, kind: .group), need("tills", .none, kind: .group)])
    }

    @Test func preview() throws {
        let plan = try IdentityPlan(Configured.parse(mode: "per-user", secrets: "ann * p *\nbob * p *\n"))
        let known = IdentityFileTests.identity("ann")
        let change = try plan.preview(on: [known, IdentityFileTests.identity("gone", addresses: ["10.8.0.12"])])
        #expect(change.summary == "1 created, 1 retired")
        // Both of the pool's other addresses are somebody's.
        let others = ["x", "y"].enumerated().map { IdentityFileTests.identity($1, addresses: ["10.8.0.1\($0 + 1)"]) }
        #expect(throws: IdentityError.self) { _ = try plan.preview(on: [known] + others) }
    }
}
