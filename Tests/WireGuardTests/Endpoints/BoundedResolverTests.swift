import Addresses
import Testing

@testable import WireGuard

@Suite(.timeLimit(.minutes(1))) struct BoundedResolverTests {
    struct Known: EndpointResolver {
        func resolve(_ name: String, port: UInt16) throws -> [Endpoint] {
            guard name == "here" else { throw ResolutionError(name: name, reason: "no such name") }
            return [Endpoint("192.0.2.1:\(port)")!]
        }
    }
    /// Does not even notice that nobody wants to know any more.
    struct Deaf: EndpointResolver {
        func resolve(_ name: String, port: UInt16) async throws -> [Endpoint] {
            await withUnsafeContinuation { (_: UnsafeContinuation<Void, Never>) in }
            return []
        }
    }

    @Test func answersPassThrough() async throws {
        let resolver = BoundedResolver(Known(), limit: .seconds(50))
        #expect(try await resolver.resolve("here", port: 7) == [Endpoint("192.0.2.1:7")!])
        await #expect(throws: ResolutionError(name: "there", reason: "no such name")) { try await resolver.resolve("there", port: 7) }
    }

    @Test func thereIsAlwaysAnAnswer() async {
        await #expect(throws: ResolutionError.self) { try await BoundedResolver(Deaf(), limit: .milliseconds(20)).resolve("here", port: 7) }
    }

    @Test func aCancelledTaskDoesNotWait() async {
        let task = Task { try await BoundedResolver(Deaf(), limit: .seconds(3600)).resolve("here", port: 7) }
        task.cancel()
        await #expect(throws: CancellationError.self) { try await task.value }
    }
}
