import Authentication
import Glibc

@testable import Settings

/// A configuration that is right, in lines that a test can change, and the files that it names.
struct Sample {
    static let key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
    static let publicKey = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
    static let otherPublicKey = "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="

    static let standby = "[[tunnel.peer.standby]]\npublic-key = \"\(otherPublicKey)\"\nendpoint = \"hub2.example.org:51820\"\n"
    static let access = """
        [access]
        private-key-file = "/access"
        [[access.peer]]
        user = "eve"
        public-key = "\(publicKey)"
        address = "10.8.1.7"

        """

    var top = ""
    var listen = "[[listen]]\naddress = \"192.0.2.1\"\n"
    var pool = "[[pool]]\nname = \"users\"\ngateway = \"10.8.0.1\"\nranges = [\"10.8.0.10-10.8.0.250\"]\n"
    var tunnel = """
        [[tunnel]]
        name = "hub"
        interface = "cw-hub"
        private-key-file = "/key"

        """
    var peer =
        "[[tunnel.peer]]\npublic-key = \"\(publicKey)\"\nendpoint = \"hub.example.org:51820\"\nallowed-ips = [\"0.0.0.0/0\"]\n"
    var rest = ""
    var files = ["/key": key + "\n", "/access": otherPublicKey + "\n", "/tls": "a key in PEM\n", "/hook": "0123456789abcdef\n", "/etc/causeway/chap-secrets": "ann * pw *\n"]
    var exposure: FileIssue?

    static func with(_ change: (inout Sample) -> Void) -> Sample {
        var sample = Sample()
        change(&sample)
        return sample
    }

    var text: String { top + listen + pool + tunnel + peer + rest }

    func parse() throws(ConfigurationError) -> CausewayConfiguration { try Self.parse(text, files: files, exposure: exposure) }

    /// The complaints, without those that are not there.
    var issues: [ConfigurationIssue] {
        do throws(ConfigurationError) {
            _ = try parse()
            return []
        } catch {
            return error.issues
        }
    }
    var messages: [String] { issues.map(\.description) }

    static func parse(_ text: String, files: [String: String], exposure: FileIssue? = nil) throws(ConfigurationError)
        -> CausewayConfiguration
    {
        try CausewayConfiguration.parse(text, file: "causeway.toml", exposure: exposure) { path, limit throws(FileIssue) in
            guard let contents = files[path] else { throw FileIssue(file: path, message: "does not exist", kind: .missing) }
            return Secret(utf8: contents)
        }
    }
}

/// The sample that administrators start from.
func documentedSample() -> String {
    guard let folder = realpath(String(#filePath.prefix(through: #filePath.lastIndex(of: "/")!)), nil) else { return "" }
    defer { free(folder) }
    guard let file = fopen(String(cString: folder) + "/../../Config/causeway.toml", "r") else { return "" }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var byte = fgetc(file)
    while byte != EOF {
        bytes.append(UInt8(byte))
        byte = fgetc(file)
    }
    return String(decoding: bytes, as: UTF8.self)
}
