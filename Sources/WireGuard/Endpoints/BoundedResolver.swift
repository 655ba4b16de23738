import Addresses

/// An answer in time, also from a resolver that does not return: what comes later is thrown away. Ends at once when its task is cancelled.
public struct BoundedResolver: EndpointResolver {
    private let resolver: any EndpointResolver
    private let limit: Duration

    public init(_ resolver: any EndpointResolver, limit: Duration) {
        self.resolver = resolver
        self.limit = limit
    }

    public func resolve(_ name: String, port: UInt16) async throws -> [Endpoint] {
        let (answers, answer) = AsyncStream.makeStream(of: Result<[Endpoint], any Error>.self)
        let lookup = Task { [resolver] in
            do { answer.yield(.success(try await resolver.resolve(name, port: port))) } catch { answer.yield(.failure(error)) }
        }
        let timer = Task { [limit] in
            try await Task.sleep(for: limit)
            answer.yield(.failure(ResolutionError(name: name, reason: "no answer within \(limit.components.seconds) s")))
        }
        defer {
            lookup.cancel()
            timer.cancel()
        }
        for await first in answers { return try first.get() }
        throw CancellationError()
    }
}
