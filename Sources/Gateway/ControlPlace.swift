import Addresses
import NIOSSL

/// Where a gateway is asked.
public enum ControlPlace: Sendable, Equatable {
    /// A Unix socket on this host: who may open it may do everything.
    case socket(String)
    /// Over TLS, for who has a token.
    case network(Network)

    public struct Network: Sendable, Equatable {
        public var host: String
        public var port: UInt16
        public var token: String
        /// PEM: authorities to trust instead of the host's own.
        public var authorities: String?

        /// As in an address.
        var authority: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
    }

    /// `https://gw.example.org:8443`; nil: it is none.
    public static func network(_ url: String, token: String, authorities: String? = nil) -> ControlPlace? {
        guard url.hasPrefix("https://") else { return nil }
        var rest = url.dropFirst("https://".count)
        if rest.hasSuffix("/") { rest = rest.dropLast() }
        guard !rest.isEmpty, rest.utf8.allSatisfy({ (0x21...0x7E).contains($0) }), !rest.contains(where: { "/?#@".contains($0) }) else { return nil }
        var host = rest
        var port: UInt16 = 443
        if let colon = rest.lastIndex(of: ":"), rest.last != "]" {
            guard let number = UInt16(rest[rest.index(after: colon)...]), number > 0 else { return nil }
            (host, port) = (rest[..<colon], number)
        }
        if host.hasPrefix("["), host.hasSuffix("]") { host = host.dropFirst().dropLast() }
        guard !host.isEmpty, !host.contains(":") || IPAddress(String(host)) != nil else { return nil }
        return .network(Network(host: String(host), port: port, token: token, authorities: authorities))
    }

    var token: String? { if case .network(let network) = self { network.token } else { nil } }
    var authority: String { if case .network(let network) = self { network.authority } else { "causeway" } }
    /// What the certificate has to be for. An address is compared with the connection's own (RFC 6066 section 3 keeps it out of the greeting).
    var serverName: String? {
        guard case .network(let network) = self, IPAddress(network.host) == nil else { return nil }
        return network.host
    }

    func tls() throws -> NIOSSLContext? {
        guard case .network(let network) = self else { return nil }
        var configuration = TLSConfiguration.makeClientConfiguration()
        configuration.minimumTLSVersion = .tlsv12
        if let authorities = network.authorities { configuration.trustRoots = .file(authorities) }
        do { return try NIOSSLContext(configuration: configuration) } catch {
            throw ControlError.failed("\(network.authorities ?? "the host's certificates") cannot be used: \(error)")
        }
    }
}
