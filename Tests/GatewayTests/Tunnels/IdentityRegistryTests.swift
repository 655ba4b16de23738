import Addresses
import Foundation
import Identities
import Logging
import SessionMapper
import Testing

@testable import Gateway
@testable import Settings

/// From the file to the tunnels and back.
@Suite struct IdentityRegistryTests {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("causeway-identities-\(UUID().uuidString)").path

    func registry() -> (IdentityRegistry, FileIdentityStore) {
        let store = FileIdentityStore(directory: directory)
        var logger = Logger(label: "identities")
        logger.logLevel = .critical
        return (IdentityRegistry(store: store, logger: logger), store)
    }

    func configuration(_ mode: String, users: [String] = ["ann", "bob"]) throws -> CausewayConfiguration {
        try sample(
            """
            [[listen]]
            address = "127.0.0.2"
            [[pool]]
            name = "users"
            gateway = "10.8.0.1"
            ranges = ["10.8.0.10-10.8.0.19"]
            [[tunnel]]
            name = "hub"
            interface = "cw-hub"
            \(mode == "shared" ? "private-key-file = \"/key\"" : "mode = \"\(mode)\"")
            [[tunnel.peer]]
            public-key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
            allowed-ips = ["0.0.0.0/0"]

            """, secrets: users.map { "\($0) * pw *\n" }.joined())
    }

    @Test func sharedTunnelsNeverOpenTheStore() async throws {
        let known = try await registry().0.prepare(try configuration("shared"))
        #expect(known.identities.isEmpty && known.reservations.isEmpty)
        #expect(!FileManager.default.fileExists(atPath: directory))
    }

    @Test func eachUserHasAKeyAndAnAddressForGood() async throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let known = try await registry().0.prepare(try configuration("per-user"))
        let own = try #require(known.identities["hub"])
        #expect(own.keys.sorted() == ["ann", "bob"])
        #expect(Set(own.values.map(\.publicKey)).count == 2)
        #expect(Set(own.values.compactMap(\.address)).count == 2)
        for identity in own.values { #expect(try identity.privateKey().publicKey == identity.publicKey) }
        #expect(Set(known.reservations.map(\.user)) == ["ann", "bob"])
        #expect(known.reservations.first { $0.user == "ann" }?.prefixes == [IPPrefix(own["ann"]!.address!)])
        // The same the next time, by another process.
        let again = try await registry().0.prepare(try configuration("per-user"))
        #expect(again.identities == known.identities)
    }

    /// Nobody is given the address of somebody who left until that one is pruned; a key that is retired is not used.
    @Test func whoLeftKeepsTheAddress() async throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let before = try await registry().0.prepare(try configuration("per-user"))
        let after = try await registry().0.prepare(try configuration("per-user", users: ["ann"]))
        #expect(after.identities["hub"]?.keys.sorted() == ["ann"])
        #expect(Set(after.reservations.map(\.user)) == ["ann", "bob"])
        #expect(after.identities["hub"]?["ann"] == before.identities["hub"]?["ann"])
    }

    @Test func aGroupHasNoAddress() async throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let known = try await registry().0.prepare(try configuration("group"))
        #expect(known.identities["hub"]?.keys.sorted() == ["default"])
        #expect(known.identities["hub"]?["default"]?.address == nil)
        #expect(known.reservations.isEmpty)
    }

    @Test func handshakesComeBackFromTheStore() async throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let configuration = try configuration("per-user")
        let (registry, _) = registry()
        _ = try await registry.prepare(configuration)
        let date = Date(timeIntervalSince1970: 1_700_000_000)
        await registry.record(["hub": ["ann": date], "gone": ["ann": date]], configuration)
        let views = try await self.registry().0.views([:])
        #expect(views.map(\.name) == ["ann", "bob"])
        #expect(views.map(\.lastHandshake) == [date, nil])
        #expect(views.map(\.neverCompleted) == [false, true])
        #expect(views.allSatisfy { $0.up == false && $0.sessions == 0 })
    }

    /// The running tunnels know more than the file.
    @Test func theNewestIsShown() async throws {
        defer { try? FileManager.default.removeItem(atPath: directory) }
        let configuration = try configuration("per-user")
        let (registry, _) = registry()
        _ = try await registry.prepare(configuration)
        await registry.record(["hub": ["ann": Date(timeIntervalSince1970: 1_700_000_000)]], configuration)
        let newer = Date(timeIntervalSince1970: 1_700_000_060.7)
        let views = try await registry.views(["hub": ["ann": RunningIdentity(isUp: true, sessions: 2, handshake: newer)]])
        #expect(views[0].lastHandshake == Date(timeIntervalSince1970: 1_700_000_060))
        #expect(views[0].up == true && views[0].sessions == 2)
        let older = try await registry.views(["hub": ["ann": RunningIdentity(isUp: false, sessions: 0, handshake: nil)]])
        #expect(older[0].lastHandshake == Date(timeIntervalSince1970: 1_700_000_000))
    }
}
