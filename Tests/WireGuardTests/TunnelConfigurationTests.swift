import Addresses
import Testing

@testable import WireGuard

@Suite struct TunnelConfigurationTests {
    @Test(arguments: ["192.0.2.1:51820", "[2001:db8::1]:51820", "hub.example.net:51820", "hub:1", "a_b.example.:9"])
    func endpoints(_ text: String) throws {
        #expect(try #require(PeerEndpoint(text)).description == text)
    }

    @Test func namesAndAddressesAreToldApart() {
        #expect(PeerEndpoint("192.0.2.1:5") == .address(endpoint("192.0.2.1:5")))
        #expect(PeerEndpoint("hub.example:5") == .name("hub.example", port: 5))
    }

    @Test(arguments: [
        "", "hub", "hub:", "hub:0", "hub:65536", "hub:+5", ":5", "192.0.2.1:0", "0.0.0.0:5", "192.0.2:5", "192.0.2.999:5",
        "2001:db8::1:5",
        "-hub:5", "hub-:5", "a..b:5", "a b:5", "[hub]:5", "hub:5 ",
    ])
    func wrongEndpoints(_ text: String) { #expect(PeerEndpoint(text) == nil) }

    @Test func tunnelAddresses() {
        #expect(TunnelAddress("10.8.0.1/24")?.description == "10.8.0.1/24")
        #expect(TunnelAddress("fd00::1")?.prefixLength == 128)
        for text in ["10.8.0.1/33", "10.8.0.1/", "10.8.0.1/024", "x/8", "10.8.0.1/-1"] { #expect(TunnelAddress(text) == nil) }
    }

    func configuration(_ change: (inout TunnelConfiguration) -> Void) -> TunnelConfiguration {
        var configuration = TunnelConfiguration(
            interfaceName: "wg0", privateKey: privateKey(1),
            peers: [
                PeerConfiguration(publicKey: publicKey(2), allowedIPs: [prefix("10.0.0.0/8")]),
                PeerConfiguration(publicKey: publicKey(3), allowedIPs: [prefix("10.0.0.0/9")]),
            ])
        change(&configuration)
        return configuration
    }

    private func reason(_ change: (inout TunnelConfiguration) -> Void) -> String {
        do {
            try configuration(change).validate()
            return ""
        } catch { return "\(error)" }
    }

    @Test func validation() {
        #expect(reason { _ in } == "")
        #expect(reason { $0.mtu = 500 } == "tunnel wg0: MTU 500 is not between 576 and 65455")
        #expect(reason { $0.peers[1].publicKey = publicKey(2) } == "tunnel wg0: peer \(publicKey(2)) is listed twice")
        #expect(reason { $0.peers[1].publicKey = privateKey(1).publicKey }.hasSuffix("has the tunnel's own key"))
        #expect(reason { $0.peers[1].allowedIPs = [prefix("10.0.0.0/8")] }.contains("allowed IP 10.0.0.0/8 belongs to two peers"))
    }

    @Test(arguments: ["", "a/b", "a b", "wg%d", "x:1", ".", "..", "all", "default", "sixteen-letters-", "wgü"])
    func wrongInterfaceNames(_ name: String) { #expect(reason { $0.interfaceName = name } != "") }

    @Test func marks() {
        #expect(InstanceMark(instance: "gw-1.test_a")?.alias == "causeway:gw-1.test_a")
        for text in ["", "a b", "a/b", "ä", String(repeating: "a", count: 65)] { #expect(InstanceMark(instance: text) == nil) }
    }
}
