import Foundation
import NIOSSL
import Settings
import Synchronization

/// What the control API shows of itself over TLS. A renewed one is taken by the next connection; those that are open stay.
public final class APICertificate: Sendable {
    private let current: Mutex<NIOSSLContext>

    public init(_ api: CausewayConfiguration.API) throws(GatewayError) { current = Mutex(try Self.context(api)) }

    var context: NIOSSLContext { current.withLock { $0 } }

    func renew(_ api: CausewayConfiguration.API) throws(GatewayError) {
        let new = try Self.context(api)
        current.withLock { $0 = new }
    }

    private static func context(_ api: CausewayConfiguration.API) throws(GatewayError) -> NIOSSLContext {
        let chain: [NIOSSLCertificate]
        do { chain = try NIOSSLCertificate.fromPEMFile(api.certificateFile) } catch {
            throw GatewayError("api.certificate-file: \(api.certificateFile) has no certificate in PEM that can be read: \(error)")
        }
        guard !chain.isEmpty else { throw GatewayError("api.certificate-file: \(api.certificateFile) has no certificate in PEM") }
        let key: NIOSSLPrivateKey
        do { key = try api.privateKey.withUnsafeBytes { try NIOSSLPrivateKey(bytes: Array($0), format: .pem) } } catch {
            throw GatewayError("api.private-key-file: \(api.privateKeyFile) has no private key in PEM that can be read")
        }
        var configuration = TLSConfiguration.makeServerConfiguration(
            certificateChain: chain.map { .certificate($0) }, privateKey: .privateKey(key))
        configuration.minimumTLSVersion = .tlsv12
        configuration.applicationProtocols = ["http/1.1"]
        do { return try NIOSSLContext(configuration: configuration) } catch {
            throw GatewayError("api: \(api.certificateFile) and \(api.privateKeyFile) do not belong together: \(error)")
        }
    }
}
