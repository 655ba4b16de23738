import Addresses
import Authentication
import Settings
import Testing
import WireGuard

@testable import Identities

@Suite struct ProvisioningTests {
    static func id(_ name: String, _ kind: Identity.Kind = .user) -> Identity.ID { .init(tunnel: "hub", kind: kind, name: name) }

    private var identities: [Identity.ID: Identity] = [:]

    private mutating func carryOut(_ needs: [IdentityPlan.Need], reserved: [IPAddress: String] = [:], now: Int64 = 1) throws -> IdentityChange {
        let plan = IdentityPlan(needs: needs, pools: ["users": [AddressRange("10.8.0.10-10.8.0.12")!]], reserved: reserved)
        return try Provisioning.carryOut(plan, on: &identities, now: now, makeKey: KeyPair.init)
    }

    private static func lease(_ name: String, within: [IPPrefix]? = nil) -> IdentityPlan.Need { .init(id(name), .pools(["users"], within: within)) }
    private static func fixed(_ name: String, _ address: String) -> IdentityPlan.Need { .init(id(name), .fixed(IPAddress(address)!)) }
    private func address(_ name: String) -> String? { identities[Self.id(name)]?.addresses.map(\.description).joined(separator: ",") }

    @Test mutating func leasesAreForGood() throws {
        let needs = [Self.lease("ann"), Self.lease("bob")]
        #expect(try carryOut(needs).created == [Self.id("ann"), Self.id("bob")])
        #expect(address("ann") == "10.8.0.10" && address("bob") == "10.8.0.11")
        let before = identities
        #expect(try carryOut(needs.reversed()).isEmpty)
        #expect(identities == before)
        #expect(before.values.allSatisfy { $0.keysMatch && $0.generation == 1 && $0.createdAt == 1 })
    }

    @Test mutating func staticAddressesAndGroups() throws {
        _ = try carryOut([Self.fixed("ann", "10.1.1.1"), .init(Self.id("tills", .group), .none)])
        #expect(address("ann") == "10.1.1.1")
        #expect(identities[Self.id("tills", .group)]?.addresses == [])
        #expect(try carryOut([Self.fixed("ann", "10.1.1.1"), .init(Self.id("tills", .group), .none)]).isEmpty)
    }

    @Test mutating func nobodyIsLeasedWhatSomebodyElseIsPromised() throws {
        // In this plan, whatever the order; and elsewhere in the configuration.
        _ = try carryOut(
            [Self.lease("ann"), Self.fixed("bob", "10.8.0.10")], reserved: [IPAddress("10.8.0.10")!: "bob", IPAddress("10.8.0.11")!: "carl"])
        #expect(address("ann") == "10.8.0.12" && address("bob") == "10.8.0.10")
    }

    @Test mutating func anExhaustedPoolNamesTheUserAndThePool() throws {
        _ = try carryOut([Self.lease("ann")])
        let before = identities
        #expect(throws: IdentityError("pool \"users\" has no free address left for user \"dan\" of tunnel \"hub\" and 1 more: add a range to it")) {
            _ = try carryOut(["ann", "bob", "carl", "dan", "eve"].map { Self.lease($0) })
        }
        #expect(identities == before)
        #expect(throws: IdentityError("user \"ann\" of tunnel \"hub\": there is no pool to take an address from; set an address, or pool in a [[user]]")) {
            identities = [:]
            _ = try carryOut([.init(Self.id("ann"), .pools([], within: nil))])
        }
    }

    @Test mutating func leasesWithinNetworks() throws {
        _ = try carryOut([Self.lease("ann", within: [IPPrefix("10.8.0.12/30")!]), Self.lease("bob", within: [IPPrefix("10.8.0.0/16")!]), Self.lease("carl")])
        #expect(address("ann") == "10.8.0.12" && address("bob") == "10.8.0.10" && address("carl") == "10.8.0.11")
        #expect(throws: IdentityError.self) { _ = try carryOut([Self.lease("dan", within: [IPPrefix("10.9.0.0/16")!])]) }
    }

    // ---- Changes ----

    @Test mutating func whoIsNotNeededRetiresWithEverything() throws {
        _ = try carryOut([Self.lease("ann"), Self.lease("bob")])
        #expect(try carryOut([Self.lease("bob")], now: 5).retired == [Self.id("ann")])
        #expect(identities[Self.id("ann")]?.retiredAt == 5)
        #expect(try carryOut([Self.lease("bob")], now: 6).isEmpty)
        #expect(identities[Self.id("ann")]?.retiredAt == 5)
        // The address of a retired one is not given away.
        _ = try carryOut([Self.lease("bob"), Self.lease("carl")], now: 7)
        #expect(address("carl") == "10.8.0.12")
        let key = identities[Self.id("ann")]?.publicKey
        #expect(try carryOut([Self.lease("bob"), Self.lease("carl"), Self.lease("ann")], now: 8).revived == [Self.id("ann")])
        #expect(address("ann") == "10.8.0.10" && identities[Self.id("ann")]?.publicKey == key)
        #expect(identities[Self.id("ann")]?.retiredAt == nil && identities[Self.id("ann")]?.generation == 1)
    }

    @Test mutating func anotherStaticAddress() throws {
        _ = try carryOut([Self.lease("ann")])
        #expect(try carryOut([Self.fixed("ann", "10.1.1.1")]).readdressed == [Self.id("ann")])
        #expect(address("ann") == "10.1.1.1" && identities[Self.id("ann")]?.generation == 2)
        // Its old one is free again.
        _ = try carryOut([Self.fixed("ann", "10.1.1.1"), Self.lease("bob")])
        #expect(address("bob") == "10.8.0.10")
    }

    @Test mutating func twoSwapTheirAddresses() throws {
        _ = try carryOut([Self.fixed("ann", "10.1.1.1"), Self.fixed("bob", "10.1.1.2")])
        #expect(try carryOut([Self.fixed("ann", "10.1.1.2"), Self.fixed("bob", "10.1.1.1")]).readdressed == [Self.id("ann"), Self.id("bob")])
        #expect(address("ann") == "10.1.1.2" && address("bob") == "10.1.1.1")
    }

    @Test mutating func aLeaseThatLeftThePoolIsReplaced() throws {
        identities[Self.id("ann")] = IdentityFileTests.identity("ann", addresses: ["10.7.0.1"])
        #expect(try carryOut([Self.lease("ann")]).readdressed == [Self.id("ann")])
        #expect(address("ann") == "10.8.0.10")
    }

    /// Of a user who was given it for good: an error, never a silent change.
    @Test mutating func aStaticAddressThatIsLeased() throws {
        _ = try carryOut([Self.lease("ann")])
        let both = [Self.lease("ann"), Self.fixed("bob", "10.8.0.10")]
        #expect(
            throws: IdentityError(
                "10.8.0.10 of user \"bob\" of tunnel \"hub\" belongs to user \"ann\" of tunnel \"hub\" for good; choose another address")
        ) { _ = try carryOut(both) }
        #expect(throws: IdentityError.self) { _ = try carryOut([Self.fixed("bob", "10.8.0.10")]) }
        _ = try carryOut([], now: 3)
        #expect(
            throws: IdentityError(
                "10.8.0.10 of user \"bob\" of tunnel \"hub\" belongs to user \"ann\" of tunnel \"hub\" for good, which is not in the configuration any more; run: causeway hub prune"
            )
        ) { _ = try carryOut([Self.fixed("bob", "10.8.0.10")]) }
        #expect(identities.count == 1)
    }

    @Test mutating func aReservationTakesALeaseFromNobodyButItsUser() throws {
        _ = try carryOut([Self.lease("ann")])
        // The address became somebody's static one in another tunnel: the lease has to go.
        #expect(try carryOut([Self.lease("ann")], reserved: [IPAddress("10.8.0.10")!: "zed"]).readdressed == [Self.id("ann")])
        #expect(address("ann") == "10.8.0.11")
    }

    @Test func theEndOfTheAddressSpace() throws {
        var identities: [Identity.ID: Identity] = [:]
        let plan = IdentityPlan(needs: [Self.lease("ann"), Self.lease("bob")], pools: ["users": [AddressRange("255.255.255.254-255.255.255.255")!]])
        _ = try Provisioning.carryOut(plan, on: &identities, now: 1, makeKey: KeyPair.init)
        #expect(identities[Self.id("bob")]?.addresses.map(\.description) == ["255.255.255.255"])
    }

    @Test func manyUsers() throws {
        let count = 20_000
        let plan = IdentityPlan(
            needs: (0..<count).map { Self.lease("u\($0)") }, pools: ["users": [AddressRange("10.0.0.0/15")!]])
        let key = KeyPair()
        var identities: [Identity.ID: Identity] = [:]
        let clock = ContinuousClock()
        let first = try clock.measure { _ = try Provisioning.carryOut(plan, on: &identities, now: 1) { key } }
        var change = IdentityChange()
        let second = try clock.measure { change = try Provisioning.carryOut(plan, on: &identities, now: 1) { key } }
        #expect(change.isEmpty)
        #expect(Set(identities.values.flatMap(\.addresses)).count == count)
        #expect(first < .seconds(20) && second < .seconds(20))
    }
}
