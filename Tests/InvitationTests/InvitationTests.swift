import Addresses
import Authentication
import Foundation
import Testing

@testable import Invitation

private let privateKey = Secret((0..<32).map { UInt8($0) })
private let presharedKey = Secret((0..<32).map { UInt8(255 - $0) })
private let peerKey = "HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw="

func makeInvitation(
    privateKey: Secret? = privateKey, addresses: [String] = ["10.8.0.10", "fd00::a"], dns: [String] = ["10.8.0.1"], mtu: UInt16? = 1380,
    peer: String = peerKey, presharedKey: Secret? = presharedKey, endpoint: String = "vpn.example.net:51820",
    allowedIPs: [String] = ["0.0.0.0/0", "::/0"], keepalive: UInt16? = 25, comments: [String] = ["ann"]
) throws -> Invitation {
    try Invitation(
        privateKey: privateKey, addresses: addresses.map { IPAddress($0)! }, dns: dns.map { IPAddress($0)! }, mtu: mtu, peerPublicKey: peer,
        presharedKey: presharedKey, endpoint: endpoint, allowedIPs: allowedIPs.map { IPPrefix($0)! }, keepalive: keepalive, comments: comments)
}

extension Secret {
    var text: String { withUnsafeBytes { String(decoding: $0, as: UTF8.self) } }
}

@Suite struct InvitationTests {
    @Test func `for wg-quick and the apps`() throws {
        #expect(
            try makeInvitation().text().text == """
                # ann
                [Interface]
                PrivateKey = AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=
                Address = 10.8.0.10/32, fd00::a/128
                DNS = 10.8.0.1
                MTU = 1380

                [Peer]
                PublicKey = HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=
                PresharedKey = //79/Pv6+fj39vX08/Lx8O/u7ezr6uno5+bl5OPi4eA=
                AllowedIPs = 0.0.0.0/0, ::/0
                Endpoint = vpn.example.net:51820
                PersistentKeepalive = 25

                """)
    }

    @Test func `what is not given is left out`() throws {
        let invitation = try makeInvitation(privateKey: nil, addresses: ["10.8.0.10"], dns: [], mtu: nil, presharedKey: nil, keepalive: nil, comments: [])
        #expect(
            invitation.text().text == """
                [Interface]
                # PrivateKey = the one that belongs to the public key you gave
                Address = 10.8.0.10/32

                [Peer]
                PublicKey = HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=
                AllowedIPs = 0.0.0.0/0, ::/0
                Endpoint = vpn.example.net:51820

                """)
    }

    @Test func `a comment stays one`() throws {
        let text = try makeInvitation(comments: ["ann\n[Peer]\r\u{0}PublicKey"]).text().text
        #expect(text.hasPrefix("# ann [Peer]  PublicKey\n[Interface]\n"))
    }

    // MARK: What cannot be handed out

    @Test(arguments: ["vpn.example.net:51820", "192.0.2.1:1", "[2001:db8::1]:65535", "hub:51820", "a-b.c-d:9"]) func `endpoints`(text: String) throws {
        _ = try makeInvitation(endpoint: text)
    }

    @Test(arguments: [
        "", "hub", "hub:", ":51820", "hub:0", "hub:65536", "192.0.2.1:0", "hub:51820\nPostUp = reboot", "2001:db8::1:51820", "[hub]:51820", "-hub:1", "hub-:1",
        "a..b:1", "a b:1", "a#b:1", "192.0.2.999:51820", "\(String(repeating: "a", count: 64)):1",
    ]) func `no endpoints`(text: String) {
        #expect(throws: Invitation.Problem.self) { try makeInvitation(endpoint: text) }
    }

    @Test func `everything else that is wrong is named`() {
        func problem(_ body: () throws -> Invitation) -> String? {
            do { _ = try body() } catch { return "\(error)" }
            return nil
        }
        #expect(problem { try makeInvitation(privateKey: Secret([1, 2])) } == "a key has 2 bytes instead of 32")
        #expect(problem { try makeInvitation(presharedKey: Secret([])) } == "a key has 0 bytes instead of 32")
        #expect(problem { try makeInvitation(peer: "abc") } == "the peer's public key is not base64 of 32 bytes")
        #expect(problem { try makeInvitation(addresses: []) } == "the user has no address")
        #expect(problem { try makeInvitation(allowedIPs: []) } == "no network would be reached through the peer")
        #expect(problem { try makeInvitation(mtu: 1279) } == "an MTU of 1279 is below 1280")
        #expect(problem { try makeInvitation(addresses: ["10.8.0.10"], mtu: 576) } == nil)
    }

    @Test func `no description shows a key`() throws {
        let invitation = try makeInvitation()
        var dumped = ""
        dump(invitation, to: &dumped)
        for text in ["\(invitation)", "\(String(reflecting: invitation))", "\(invitation.text())", dumped] {
            #expect(!text.contains("AAECAwQF"))
            #expect(!text.contains("//79"))
        }
    }

    // MARK: Real programs read it

    @Test(.enabled(if: Program.isInstalled("wg") && geteuid() == 0)) func `wg setconf takes it and sets what it says`() throws {
        let interface = try FakeInterface()
        try withTemporaryFolder { folder in
            let file = folder.appendingPathComponent("ann.conf")
            try Data(makeInvitation(endpoint: "192.0.2.1:51820").text(.wg).text.utf8).write(to: file)
            let result = try Program("wg")!.run("setconf", interface.name, file.path)
            #expect(result.errors == "")
            #expect(result.status == 0)
        }
        let hex = { (secret: Secret) in secret.withUnsafeBytes { $0.map { String(format: "%02x", $0) }.joined() } }
        let lines = try #require(interface.configuration())
        // wg clamps a private key's own bits in user space not at all: the interface does.
        #expect(lines.contains("private_key=\(hex(privateKey))"))
        #expect(lines.contains("public_key=1c8828f7137324c58b2804928624ea2326f1674537c062e251e2753ca7fcca4c"))
        #expect(lines.contains("preshared_key=\(hex(presharedKey))"))
        #expect(lines.contains("endpoint=192.0.2.1:51820"))
        #expect(lines.contains("persistent_keepalive_interval=25"))
        #expect(lines.filter { $0.hasPrefix("allowed_ip=") } == ["allowed_ip=0.0.0.0/0", "allowed_ip=::/0"])
    }

    /// The counterpart: a configuration that wg does not take fails this way, so that the test above proves something.
    @Test(.enabled(if: Program.isInstalled("wg") && geteuid() == 0)) func `wg refuses the form that is for wg-quick`() throws {
        let interface = try FakeInterface()
        try withTemporaryFolder { folder in
            let file = folder.appendingPathComponent("ann.conf")
            try Data(makeInvitation(endpoint: "192.0.2.1:51820").text(.quick).text.utf8).write(to: file)
            let result = try Program("wg")!.run("setconf", interface.name, file.path)
            #expect(result.status != 0)
            #expect(result.errors.contains("Address"))
        }
    }

    @Test(.enabled(if: Program.isInstalled("wg-quick") && geteuid() == 0)) func `wg-quick strips it to what wg takes`() throws {
        try withTemporaryFolder { folder in
            let file = folder.appendingPathComponent("ann.conf")
            try Data(makeInvitation().text(.quick).text.utf8).write(to: file)
            try FileManager.default.setAttributes([.posixPermissions: 0o600], ofItemAtPath: file.path)
            let result = try Program("wg-quick")!.run("strip", file.path)
            #expect(result.status == 0)
            let lines = { (text: String) in text.split(separator: "\n").filter { !$0.hasPrefix("#") } }
            #expect(lines(result.output) == lines(try makeInvitation().text(.wg).text))
        }
    }
}
