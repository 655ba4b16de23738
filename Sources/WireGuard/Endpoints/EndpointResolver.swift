import Addresses
import Dispatch

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// Looks up host names of peers.
public protocol EndpointResolver: Sendable {
    /// All addresses of the name, in the order of preference; throws if there are none.
    func resolve(_ name: String, port: UInt16) async throws -> [Endpoint]
}

public struct ResolutionError: Error, Equatable, CustomStringConvertible {
    public var name: String
    public var reason: String
    public var description: String { "cannot look up \(name): \(reason)" }
}

/// getaddrinfo(3), which blocks for seconds when name servers do not answer: on a thread of its own.
public struct SystemResolver: EndpointResolver {
    public init() {}

    public func resolve(_ name: String, port: UInt16) async throws -> [Endpoint] {
        try await withCheckedThrowingContinuation { continuation in
            DispatchQueue.global(qos: .utility).async {
                continuation.resume(with: Result { try Self.look(up: name, port: port) })
            }
        }
    }

    private static func look(up name: String, port: UInt16) throws -> [Endpoint] {
        var hints = addrinfo()
        hints.ai_socktype = Int32(SOCK_DGRAM.rawValue)
        hints.ai_flags = AI_ADDRCONFIG
        var list: UnsafeMutablePointer<addrinfo>?
        let code = getaddrinfo(name, nil, &hints, &list)
        guard code == 0 else { throw ResolutionError(name: name, reason: String(cString: gai_strerror(code))) }
        defer { freeaddrinfo(list) }
        let endpoints = sequence(first: list, next: { $0?.pointee.ai_next }).prefix { $0 != nil }.compactMap {
            entry -> Endpoint? in
            guard let address = entry?.pointee.ai_addr else { return nil }
            switch Int32(address.pointee.sa_family) {
            case AF_INET:
                return address.withMemoryRebound(to: sockaddr_in.self, capacity: 1) {
                    Endpoint(IPAddress(v4: UInt32(bigEndian: $0.pointee.sin_addr.s_addr)), port)
                }
            case AF_INET6:
                return address.withMemoryRebound(to: sockaddr_in6.self, capacity: 1) { pointer in
                    withUnsafeBytes(of: pointer.pointee.sin6_addr) { IPAddress(bytes: $0) }.map { Endpoint($0, port) }
                }
            default: return nil
            }
        }
        guard !endpoints.isEmpty else { throw ResolutionError(name: name, reason: "no IPv4 or IPv6 address") }
        return endpoints
    }
}
