import Addresses
import Logging
#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// A tunnel in service: a backend, its configuration, and the names of its peers followed over time.
public actor Tunnel {
    public nonisolated let interfaceName: String
    private let backend: any TunnelBackend
    private let resolver: any EndpointResolver
    private let logger: Logger
    private var configuration: TunnelConfiguration
    private var tracker: EndpointTracker

    /// How often the sessions are looked at; the tracker decides what follows.
    private static let tick = Duration.seconds(5)
    /// A start does not wait longer than this for name servers; what is not known by then is set when it is.
    private static let startResolution = Duration.seconds(5)

    public init(
        backend: any TunnelBackend, configuration: TunnelConfiguration, resolver: any EndpointResolver = SystemResolver(), logger: Logger
    ) {
        interfaceName = backend.interfaceName
        self.backend = backend
        self.configuration = configuration
        self.resolver = resolver
        self.logger = logger
        tracker = EndpointTracker(configuration.peers)
    }

    /// Creates and configures the interface. Returns its number.
    public func start() async throws -> UInt32 {
        try configuration.validate()
        let index = try await backend.create()
        do {
            await resolveAtStart()
            _ = try await backend.apply(configuration, endpoints: tracker.endpoints)
        } catch {
            try? await backend.remove()
            throw error
        }
        return index
    }

    /// Changes what differs, without touching the sessions of unchanged peers.
    public func apply(_ configuration: TunnelConfiguration) async throws -> TunnelChange {
        try configuration.validate()
        self.configuration = configuration
        tracker.update(configuration.peers)
        await resolveAtStart()
        return try await backend.apply(configuration, endpoints: tracker.endpoints)
    }

    public func status() async throws -> TunnelStatus { try await backend.status() }

    /// Makes the interface again after somebody deleted it. It has another number then: policy routing must be applied again.
    public func recover() async throws -> UInt32 {
        try await backend.remove()
        return try await start()
    }

    /// Follows the peers' names until the task is cancelled.
    public func run() async {
        while (try? await Task.sleep(for: Self.tick)) != nil {
            if let status = try? await backend.status() { tracker.observe(status, wallClock: Self.wallClock()) }
            for query in tracker.due(.now) { await refresh(query) }
        }
    }

    public func stop() async throws { try await backend.remove() }

    private func refresh(_ query: EndpointTracker.Query) async {
        let addresses: [Endpoint]
        do {
            addresses = try await resolver.resolve(query.name, port: query.port)
        } catch {
            logger.warning("a peer's name cannot be looked up", metadata: ["tunnel": "\(interfaceName)", "reason": "\(error)"])
            return
        }
        for (peer, endpoint) in tracker.resolved(query, addresses) {
            logger.info(
                "a peer's address changed",
                metadata: ["tunnel": "\(interfaceName)", "peer": "\(peer)", "name": "\(query.name)", "address": "\(endpoint)"])
            do {
                try await backend.setEndpoint(endpoint, of: peer)
            } catch {
                logger.warning("a peer's address cannot be set", metadata: ["tunnel": "\(interfaceName)", "peer": "\(peer)", "reason": "\(error)"])
            }
        }
    }

    private func resolveAtStart() async {
        let queries = tracker.due(.now)
        guard !queries.isEmpty else { return }
        let (resolver, logger, name) = (resolver, logger, interfaceName)
        let answers = AsyncStream<(EndpointTracker.Query, [Endpoint])> { continuation in
            // A look-up cannot be cancelled; one that comes too late is repeated by `run`.
            let work = Task {
                await withTaskGroup { group in
                    for query in queries {
                        group.addTask {
                            do {
                                continuation.yield((query, try await resolver.resolve(query.name, port: query.port)))
                            } catch {
                                logger.warning("a peer's name cannot be looked up", metadata: ["tunnel": "\(name)", "reason": "\(error)"])
                            }
                        }
                    }
                }
                continuation.finish()
            }
            Task {
                try? await Task.sleep(for: Self.startResolution)
                continuation.finish()
                work.cancel()
            }
        }
        for await (query, addresses) in answers { _ = tracker.resolved(query, addresses) }
    }

    private static func wallClock() -> Duration {
        var now = timespec()
        clock_gettime(CLOCK_REALTIME, &now)
        return .seconds(now.tv_sec) + .nanoseconds(now.tv_nsec)
    }
}
