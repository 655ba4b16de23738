import Addresses
import Testing

@testable import WireGuard

@Suite struct EndpointResolverTests {
    @Test func addressesAndTheLocalHostNeedNoNameServer() async throws {
        let endpoints = try await SystemResolver().resolve("localhost", port: 7)
        #expect(endpoints.contains(endpoint("127.0.0.1:7")) || endpoints.contains(endpoint("[::1]:7")))
        #expect(endpoints.allSatisfy { $0.port == 7 && $0.address.isLoopback })
    }

    @Test func aNameThatCannotBeIsAnError() async {
        // Longer than a DNS name can be: refused without asking anybody.
        let name = String(repeating: "a.", count: 200)
        await #expect(throws: ResolutionError.self) { try await SystemResolver().resolve(name, port: 7) }
    }
}
