import Addresses
import Authentication
import Testing

@testable import Hub

enum Sample {
    static let keys = [
        "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=",
    ]
    static let psk = Secret(Array(0..<32))

    static func peer(_ key: Int, _ networks: String..., comment: String? = nil, psk: Secret? = nil) -> HubPeer {
        HubPeer(comment: comment, publicKey: keys[key], allowedIPs: Set(networks.map { IPPrefix($0)! }), presharedKey: psk)
    }
}

@Suite struct HubPeerTests {
    @Test func sections() {
        let peers = [
            Sample.peer(0, "192.168.7.0/24", "10.8.0.10/32", comment: "user ann"), Sample.peer(1, "10.8.0.11/32", psk: Sample.psk), Sample.peer(2),
        ]
        #expect(
            peers.sections == """
                [Peer]
                # user ann
                PublicKey = \(Sample.keys[0])
                AllowedIPs = 10.8.0.10/32, 192.168.7.0/24

                [Peer]
                PublicKey = \(Sample.keys[1])
                AllowedIPs = 10.8.0.11/32
                PresharedKey = \(Sample.keys[0])

                [Peer]
                PublicKey = \(Sample.keys[2])
                AllowedIPs =\(" ")

                """)
        #expect([HubPeer]().sections == "")
    }

    /// A user's name is the only text in there that somebody else chose.
    @Test(arguments: ["a\n[Interface]\nPrivateKey = x", "a\r\nb", "a\u{0}b", "a\u{85}b\u{B}c"]) func aNameIsNoLine(_ name: String) throws {
        let section = Sample.peer(0, "10.8.0.10/32", comment: name).section
        #expect(section.utf8.filter { $0 == 10 }.count == 4)
        #expect(!section.unicodeScalars.contains { $0 != "\n" && $0.properties.generalCategory == .control })
        #expect(try HubConfiguration(section).peers == [Sample.peer(0, "10.8.0.10/32")])
    }

    @Test func presharedKeysAreNotShown() {
        let peer = Sample.peer(0, psk: Sample.psk)
        var dumped = ""
        dump(peer, to: &dumped)
        for shown in ["\(peer)", String(reflecting: peer), dumped] { #expect(shown.components(Sample.keys[0]) <= 1) }
        #expect(peer.presharedKeyText == Sample.keys[0])
    }
}

extension String {
    /// How often it holds that text.
    fileprivate func components(_ text: String) -> Int { ranges(of: text).count }
}
