import Foundation
import NIOSSL
import Settings
import Synchronization

/// What the control API shows of itself over TLS. A renewed one is taken by the next connection; those that are open stay.
public final class APICertificate: Sendable {
    /// A chain with its key, read and fit for use.
    struct Shown: Sendable {
        let context: NIOSSLContext
        fileprivate let chain: [NIOSSLCertificate]
    }

    private let current: Mutex<Shown>

    public init(_ api: CausewayConfiguration.API) throws(GatewayError) { current = Mutex(try Self.read(api)) }

    var context: NIOSSLContext { current.withLock { $0.context } }

    /// Whether it is another one than before.
    @discardableResult
    func show(_ new: Shown) -> Bool {
        current.withLock { current in
            let before = current.chain
            current = new
            return before != new.chain
        }
    }

    static func read(_ api: CausewayConfiguration.API) throws(GatewayError) -> Shown {
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
        // Who does not answer our good-bye does not hold up the gateway's end.
        configuration.shutdownTimeout = .seconds(1)
        do { return Shown(context: try NIOSSLContext(configuration: configuration), chain: chain) } catch {
            throw GatewayError("api: \(api.certificateFile) and \(api.privateKeyFile) do not belong together: \(error)")
        }
    }
}
