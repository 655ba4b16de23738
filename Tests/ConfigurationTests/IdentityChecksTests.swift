import Addresses
import Authentication
import Testing

@testable import Settings

/// Whether everybody can have the identity that a tunnel's mode promises.
@Suite struct IdentityChecksTests {
    private func sample(_ mode: String, secrets: String, users: String = "", tunnel: String = "") -> Sample {
        Sample.with {
            $0.tunnel = $0.tunnel.replacing("private-key-file = \"/key\"\n", with: "") + "mode = \"\(mode)\"\n\(tunnel)"
            $0.files["/etc/causeway/chap-secrets"] = secrets
            $0.rest = users
        }
    }

    private static let secondPool = "[[pool]]\nname = \"more\"\ngateway = \"10.9.0.1\"\nranges = [\"10.9.1.0/24\"]\n"

    @Test func theKernelHasALimit() throws {
        let three = "a * p *\nb * p *\nc * p *\n"
        let over = sample("per-user", secrets: three, tunnel: "backend = \"kernel\"\nmost-identities = 2\n")
        #expect(over.issues.map(\.key) == ["tunnel[0].backend"])
        #expect(over.messages[0].contains("3 identities") && over.messages[0].contains("backend = \"embedded\""))
        for fine in ["backend = \"kernel\"\nmost-identities = 3\n", "backend = \"embedded\"\nmost-identities = 2\n", "most-identities = 2\n"] {
            #expect(sample("per-user", secrets: three, tunnel: fine).issues.isEmpty)
        }
        #expect(sample("group", secrets: three, tunnel: "backend = \"kernel\"\nmost-identities = 1\n").issues.isEmpty)
        let byDefault = (0..<257).map { "u\($0) * p *\n" }.joined()
        #expect(sample("per-user", secrets: byDefault, tunnel: "backend = \"kernel\"\n").issues.map(\.key).contains("tunnel[0].backend"))
    }

    @Test func interfacesOfIdentitiesNeedRoom() {
        for (name, backend, fails) in [("ten-chars-", "kernel", false), ("eleven-char", "kernel", true), ("eleven-char", "auto", true), ("eleven-char", "embedded", false)] {
            let sample = Sample.with {
                $0 = self.sample("per-user", secrets: "a * p *\n", tunnel: "backend = \"\(backend)\"\n")
                $0.tunnel = $0.tunnel.replacing("cw-hub", with: name)
            }
            #expect(sample.issues.map(\.key) == (fails ? ["tunnel[0].interface"] : []), "\(name) \(backend)")
        }
    }

    @Test func interfacesOfIdentitiesAreNobodyElses() {
        for (name, fails) in [("cw-hub-7", true), ("cw-hub-07", false), ("cw-hub-x", false), ("cw-hub7", false)] {
            let sample = Sample.with {
                $0 = self.sample("per-user", secrets: "a * p *\n", users: "[data-path]\ninterface = \"\(name)\"\n")
            }
            #expect(sample.issues.map(\.key) == (fails ? ["data-path.interface"] : []), "\(name)")
        }
    }

    @Test func everybodyHasAName() {
        let messages = sample("per-user", secrets: "a * p *\n* * p *\n").messages
        #expect(messages.count == 1 && messages[0].hasPrefix("/etc/causeway/chap-secrets:2: user * cannot have an identity in tunnel \"hub\""), "\(messages)")
        #expect(sample("group", secrets: "a * p *\n* * p *\n").issues.isEmpty)
    }

    @Test func oneUserHasOneAddress() {
        let messages = sample("per-user", secrets: "a one p 10.8.0.20\na two p 10.8.0.21\n").messages
        #expect(messages.count == 1 && messages[0].contains("chap-secrets:2: user a has other addresses in another line"), "\(messages)")
        #expect(sample("per-user", secrets: "a one p 10.8.0.20\na two p 10.8.0.20\n").issues.isEmpty)
        // One line that allows no address is no contradiction.
        #expect(sample("per-user", secrets: "a one p 10.8.0.20\na two p -\n").issues.isEmpty)
    }

    @Test func aPoolBelongsToOneGroup() {
        let tills = "[[user]]\nname = \"b\"\ngroup = \"tills\"\n"
        let messages = sample("group", secrets: "a * p *\nb * p *\n", users: tills).messages
        #expect(messages.count == 1)
        #expect(
            messages.first?.contains(
                "addresses of pool \"users\" belong to group \"default\" (user a); user b would use them in group \"tills\": it needs a pool of its own")
                == true, "\(messages)")
        // With a pool or an address of its own it is fine.
        var own = sample("group", secrets: "a * p *\nb * p *\n", users: tills + "pool = \"more\"\n")
        own.pool += Self.secondPool
        own.listen += "pool = \"users\"\n"
        #expect(own.issues.isEmpty, "\(own.messages)")
        #expect(sample("group", secrets: "a * p *\nb * p 10.8.0.20\n", users: tills).issues.isEmpty)
        #expect(sample("group", secrets: "b * p *\n", users: tills).issues.isEmpty)
        #expect(sample("group", secrets: "a * p *\nb * p *\n", users: tills, tunnel: "default-group = \"tills\"\n").issues.isEmpty)
    }

    @Test func names() throws {
        let secrets = "b * p *\na one p *\na two p *\nz * p -\n* * p *\n"
        let users = "[[user]]\nname = \"b\"\ngroup = \"tills\"\npool = \"more\"\n"
        var shared = sample("group", secrets: secrets, users: users)
        shared.pool += Self.secondPool
        shared.listen += "pool = \"users\"\n"
        let configuration = try shared.parse()
        var tunnel = configuration.tunnels[0]
        #expect(configuration.identityNames(of: tunnel) == ["default", "tills"])
        tunnel.mode = .perUser
        #expect(configuration.identityNames(of: tunnel) == ["a", "b"])
        tunnel.mode = .shared
        #expect(configuration.identityNames(of: tunnel).isEmpty)
    }

    @Test func prefixesWithoutThoseInside() {
        let prefixes = ["10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "192.168.0.0/24", "192.168.1.0/24", "192.168.0.0/24", "fd00::/8", "fd00::1/128"]
        #expect(prefixes.shuffled().compactMap(IPPrefix.init).withoutContained().map(\.description) == ["10.0.0.0/8", "192.168.0.0/24", "192.168.1.0/24", "fd00::/8"])
    }
}
