import Addresses
import Authentication

// [api]: the control API over TLS.
extension ConfigurationReader {
    mutating func api(_ table: TableReader) {
        var table = table
        // Ports below 1024 are root's, and the gateway is not root by then.
        let listen = table.required("listen", "an address and a port from 1024, such as \"0.0.0.0:8443\" or \"[::]:8443\"") { node in
            node.string.flatMap { Endpoint($0) }.flatMap { $0.port >= 1024 && !$0.address.isMulticast ? $0 : nil }
        }
        let certificate = table.required("certificate-file", "the absolute path of a file with the certificates in PEM", Self.absolutePath)
        refuseKey("private-key", &table)
        let key = table.required("private-key-file", "the absolute path of a file with the private key in PEM", Self.absolutePath)
        table.finish()
        guard let listen, let certificate, let key, let privateKey = pem(key, at: table.path(of: "private-key-file")) else { return }
        configuration.api = .init(listen: listen, certificateFile: certificate, privateKeyFile: key, privateKey: privateKey)
    }

    /// What is in it is judged by whoever uses it.
    private func pem(_ path: String, at key: String) -> Secret? {
        do throws(FileIssue) { return try readFile(path, 64 << 10) } catch {
            report.refuse("\(error)", at: key)
            return nil
        }
    }
}
