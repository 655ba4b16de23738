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
}
