import Addresses
import Authentication
import Testing

@testable import Hub

@Suite struct HubConfigurationTests {
    /// What `wg showconf` prints.
    private static let showconf = """
        [Interface]
        ListenPort = 51820
        PrivateKey = yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=

        [Peer]
        PublicKey = \(Sample.keys[0])
        PresharedKey = \(Sample.keys[0])
        AllowedIPs = 10.8.0.10/32, 192.168.7.0/24
        Endpoint = 192.0.2.1:51820
        PersistentKeepalive = 25

        [Peer]
        PublicKey = \(Sample.keys[1])
        AllowedIPs = 10.8.0.11/32, fd00::11/128

        """

    @Test func whatWgPrints() throws {
        let configuration = try HubConfiguration(Self.showconf)
        #expect(
            configuration.peers == [
                Sample.peer(0, "10.8.0.10/32", "192.168.7.0/24", psk: Sample.psk), Sample.peer(1, "10.8.0.11/32", "fd00::11/128"),
            ])
        #expect(configuration.interfaceText == Self.showconf.prefix(upTo: Self.showconf.firstRange(of: "\n[Peer]")!.lowerBound))
    }

    @Test func whatPeopleWrite() throws {
        let text = "# my hub\r\n[interface]\r\nAddress=10.0.0.1/24 # wg-quick's\r\nPostUp = echo [x] = y\r\n \t[ Peer]\r\n"
        #expect(throws: HubConfigurationError.self) { _ = try HubConfiguration(text) }
        let fine = text.replacing("[ Peer]", with: "[PEER] # ann")
            + "publickey = \(Sample.keys[0])#\r\nALLOWEDIPS=10.8.0.10,10.8.0.77/24\r\nAllowedIPs = \r\nAllowedIPs = (none)\r\nColour = red\r\npresharedkey = (none)\r\n[Peer]\nAllowedIPs=fd00::5/64\nPublicKey=\(Sample.keys[1])"
        let configuration = try HubConfiguration(fine)
        #expect(configuration.peers == [Sample.peer(0, "10.8.0.10/32", "10.8.0.0/24"), Sample.peer(1, "fd00::/64")])
        #expect(configuration.interface.first == "[interface]\r")
        #expect(configuration.interfaceText.hasSuffix("PostUp = echo [x] = y\r\n"))
        #expect(!configuration.interfaceText.contains("Peer"))
    }

    @Test func nothing() throws {
        for text in ["", "\n\n", "# only a comment", "[Interface]\n", "[Interface]\nPrivateKey = whatever it is"] {
            #expect(try HubConfiguration(text).peers.isEmpty)
        }
    }

    @Test func zerosAreNoPresharedKey() throws {
        let text = "[Peer]\nPublicKey=\(Sample.keys[0])\nPresharedKey=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"
        #expect(try HubConfiguration(text).peers == [Sample.peer(0)])
    }

    /// As WireGuard does it: what comes last counts.
    @Test func theSameTwice() throws {
        let text = [Sample.peer(0, "10.0.0.1/32", "10.0.0.9/32"), Sample.peer(1, "10.0.0.1/32"), Sample.peer(0, "10.0.0.2/32", "10.0.0.9/32")].sections
        #expect(try HubConfiguration(text).peers == [Sample.peer(1, "10.0.0.1/32"), Sample.peer(0, "10.0.0.2/32", "10.0.0.9/32")])
    }

    @Test(arguments: [
        ("PublicKey = x", [1]), ("[Peer]", [1]), ("[Peer]\nPublicKey = x", [2]), ("[Peer]\nPublicKey = \(Sample.keys[0])x", [2]),
        ("[Peer]\nPublicKey = \(Sample.keys[0])\nAllowedIPs = 10.0.0.1/33", [3]), ("[Peer]\nPublicKey = \(Sample.keys[0])\nAllowedIPs = 10.0.0.1/", [3]),
        ("[Peer]\nPublicKey = \(Sample.keys[0])\nAllowedIPs = 10.0.0.1,,10.0.0.2", [3]), ("[Peer]\nPublicKey = \(Sample.keys[0])\nAllowedIPs = host", [3]),
        ("[Peer]\nPublicKey = \(Sample.keys[0])\nPresharedKey = x", [3]), ("[Peer]\nPublicKey = \(Sample.keys[0])\nnonsense", [3]),
        ("[Peers]\nPublicKey = \(Sample.keys[0])", [1]), ("[Peer\nPublicKey = \(Sample.keys[0])", [1]),
        ("[Peer]\nPublicKey = \(Sample.keys[0])\nPublicKey = x", [3]), ("[Peer]\n[Peer]\nAllowedIPs = x\n", [1, 3]),
        ("\n\nx\n\ny\n", [3, 5]), ("<html>\n<body>", [1, 2]),
    ])
    func wrong(text: String, lines: [Int]) {
        let error = #expect(throws: HubConfigurationError.self) { _ = try HubConfiguration(text) }
        #expect(error?.issues.map(\.line) == lines)
    }

    /// Characters beyond ASCII neither end a line nor hide a comment's beginning.
    @Test func bytesDecide() throws {
        let text = "[Peer]\nPublicKey = \(Sample.keys[0])\nAllowedIPs = 10.0.0.1/32 #\u{301} a\u{2028}AllowedIPs = 10.0.0.2/32\u{85}[Peer]\n"
        #expect(try HubConfiguration(text).peers == [Sample.peer(0, "10.0.0.1/32")])
    }

    @Test func errorsShowNoKeys() {
        let text = "[Peer]\nPublicKey = \(Sample.keys[0])\nPresharedKey = \(Sample.keys[1].dropLast(2))==\n"
        let error = #expect(throws: HubConfigurationError.self) { _ = try HubConfiguration(text) }
        #expect(error?.description == "3: expected a preshared key: 44 characters of base64")
    }

    @Test func many() throws {
        let text = (0..<20_000).map { "[Peer]\nPublicKey = \(Self.key($0))\nAllowedIPs = 10.\($0 / 65536).\($0 / 256 % 256).\($0 % 256)/32\n\n" }.joined()
        let clock = ContinuousClock()
        var count = 0
        let time = try clock.measure { count = try HubConfiguration(text).peers.count }
        #expect(count == 20_000 && time < .seconds(20))
    }

    private static func key(_ number: Int) -> String {
        var text: [UInt8] = []
        withUnsafeBytes(of: (UInt64(number), UInt64(1), UInt64(2), UInt64(3))) { WireGuardKey.encode($0, onto: &text) }
        return String(decoding: text, as: UTF8.self)
    }
}
