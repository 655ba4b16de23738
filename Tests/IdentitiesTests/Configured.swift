import Authentication
import Settings

/// A configuration with two tunnels, each with a pool and a listener.
enum Configured {
    static let key = "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
    static let keys = ["xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=", "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0="]

    static func parse(mode: String, secrets: String, rest: String = "", hub: String = "") throws -> CausewayConfiguration {
        let text = """
            [[listen]]
            address = "192.0.2.1"
            tunnel = "hub"
            pool = "users"
            [[listen]]
            address = "192.0.2.2"
            tunnel = "aux"
            pool = "more"
            [[pool]]
            name = "users"
            gateway = "10.8.0.1"
            ranges = ["10.8.0.10-10.8.0.12"]
            [[pool]]
            name = "more"
            gateway = "10.9.0.1"
            ranges = ["10.9.0.8-10.9.0.15"]
            [[tunnel]]
            name = "aux"
            interface = "cw-aux"
            private-key-file = "/aux"
            [[tunnel.peer]]
            public-key = "\(keys[0])"
            endpoint = "192.0.2.8:1"
            allowed-ips = ["0.0.0.0/0"]
            [[tunnel]]
            name = "hub"
            interface = "cw-hub"
            mode = "\(mode)"
            \(mode == "shared" ? "private-key-file = \"/hub\"" : "")
            [[tunnel.peer]]
            public-key = "\(keys[0])"
            endpoint = "192.0.2.9:1"
            allowed-ips = ["0.0.0.0/0"]
            \(hub)
            \(rest)
            """
        let files = ["/aux": key, "/hub": key, "/access": keys[1], "/psk": keys[0], "/psk2": keys[1], "/etc/causeway/chap-secrets": secrets]
        return try CausewayConfiguration.parse(text, file: "causeway.toml") { path, _ throws(FileIssue) in
            guard let contents = files[path] else { throw FileIssue(file: path, message: "does not exist", kind: .missing) }
            return Secret(utf8: contents)
        }
    }

    static func user(_ name: String, _ lines: String) -> String { "[[user]]\nname = \"\(name)\"\ntunnel = \"hub\"\n\(lines)\n" }
    static func access(_ peer: String) -> String {
        "[access]\nprivate-key-file = \"/access\"\ntunnel = \"hub\"\n[[access.peer]]\npublic-key = \"\(keys[0])\"\n\(peer)\n"
    }
}
