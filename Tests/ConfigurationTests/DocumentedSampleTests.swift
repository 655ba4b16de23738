import Authentication
import Testing

@testable import Settings

/// Config/causeway.toml says what the code does.
@Suite struct DocumentedSampleTests {
    private let files = [
        "/etc/causeway/hub.key": Sample.key, "/etc/causeway/hub.psk": Sample.key, "/etc/causeway/hub2.psk": Sample.key,
        "/etc/causeway/access.key": Sample.otherPublicKey, "/etc/causeway/branch-8.psk": Sample.key,
        "/etc/causeway/chap-secrets": "ann * pw *\n", "/etc/causeway/api.key": "a key in PEM\n", "/etc/causeway/webhook.secret": "0123456789abcdef\n",
    ]
    /// Never uncommented here: one stands for a program of the reader's own, the other for the line above it.
    private let alternatives = ["hub-hook", "endpoints"]

    /// Every key that is shown, commented out or not: without these comments the line is TOML. A section whose header is commented
    /// out comes only with `sections`.
    private func uncommented(_ text: String, sections: Bool = true, except: [String] = []) -> String {
        var isOff = false
        return text.split(separator: "\n", omittingEmptySubsequences: false).map { line in
            if line.hasPrefix("[") || line.hasPrefix("#[") { isOff = line.hasPrefix("#") && !sections }
            guard line.hasPrefix("#"), !isOff, let next = line.dropFirst().first, next.isLowercase || next == "[" else {
                return String(line)
            }
            return (except + alternatives).contains { line.dropFirst().hasPrefix($0) } ? String(line) : String(line.dropFirst())
        }.joined(separator: "\n")
    }

    @Test func itIsRight() throws {
        let configuration = try Sample.parse(documentedSample(), files: files)
        #expect(configuration.warnings.isEmpty)
        #expect(configuration.listeners.count == 1 && configuration.tunnels.count == 1 && configuration.pools.count == 1)
    }

    @Test func whatIsCommentedOutIsTheDefault() throws {
        let text = documentedSample()
        let except = ["mtu = 1400", "table = ", "preshared-key-file", "tunnel = \"hub\"", "pool = \"users\""]
        let shown = try Sample.parse(uncommented(text, sections: false, except: except), files: files)
        var plain = try Sample.parse(text, files: files)
        plain.warnings = shown.warnings
        #expect(shown == plain)
        #expect(uncommented(text, sections: false, except: except) != text)
    }

    @Test func everyShownKeyExists() throws {
        let configuration = try Sample.parse(uncommented(documentedSample()), files: files)
        #expect(configuration.users.entries.count == 2)
        #expect(configuration.ppp.mtu == 1400)
        #expect(configuration.api?.listen.description == "0.0.0.0:8443")
        #expect(configuration.webhooks.map(\.receiver.url) == ["https://hooks.example.org/causeway"])
        let hubs = configuration.tunnels[0].peers[0].hubs
        #expect(hubs.map { $0.presharedKey != nil } == [true, true])
        #expect(configuration.access?.peers.map(\.address?.description) == ["10.8.0.8"])
    }

    /// Asks the reader itself which keys each table has.
    @Test(arguments: [
        "", "control", "listen", "pool", "tunnel", "tunnel.peer", "tunnel.peer.standby", "access", "access.peer", "store", "migration", "firewall", "webhook", "api",
        "authentication", "user", "pptp", "ppp", "encryption", "data-path",
    ])
    func everyKeyIsShown(section: String) throws {
        let unknown = "qqqqqqqqqqqqqqqqqqqq"
        var lines: [String] = []
        var keysOfSection: Set<String> = []
        var current = ""
        if section.isEmpty { lines.append("\(unknown) = 1") }
        for line in uncommented(documentedSample()).split(separator: "\n", omittingEmptySubsequences: false).map(String.init) {
            lines.append(line)
            if line.hasPrefix("[") {
                current = line.split(separator: " ")[0].filter { $0 != "[" && $0 != "]" }
                if current.split(separator: ".").count == 1 { keysOfSection.formUnion(section.isEmpty ? [current] : []) }
                // The tables in this one.
                let parts = current.split(separator: ".")
                if parts.count > 1, parts.dropLast().joined(separator: ".") == section { keysOfSection.insert(String(parts.last!)) }
                if current == section { lines.append("\(unknown) = 1") }
            } else if current == section, let key = line.firstMatch(of: /^#?([a-z-]+) *=/) {
                keysOfSection.insert(String(key.1))
            }
        }
        var message = ""
        do throws(ConfigurationError) {
            _ = try Sample.parse(lines.joined(separator: "\n"), files: files)
        } catch {
            message = error.issues.first?.message ?? ""
        }
        let list = try #require(message.split(separator: "expected one of ").last)
        let known = Set(list.split(separator: ", ").map(String.init))
        // One or the other; the sample can only show one. The refused ones are not worth showing.
        let hidden: Set<String> = section == "user" ? ["nt-hash"] : []
        #expect(known.count > 0)
        #expect(known.subtracting(hidden) == keysOfSection)
    }
}
