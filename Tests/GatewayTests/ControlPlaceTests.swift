import Testing

@testable import Gateway

@Suite struct ControlPlaceTests {
    @Test(arguments: [
        ("https://gw.example.org:8443", "gw.example.org", 8443), ("https://gw.example.org", "gw.example.org", 443),
        ("https://192.0.2.1:8443/", "192.0.2.1", 8443), ("https://[2001:db8::1]:8443", "2001:db8::1", 8443), ("https://[::1]", "::1", 443),
    ])
    func addresses(url: String, host: String, port: UInt16) throws {
        guard case .network(let network) = try #require(ControlPlace.network(url, token: "t")) else { return }
        #expect(network.host == host && network.port == port)
    }

    @Test(arguments: [
        "http://gw:8443", "gw:8443", "https://", "https://:8443", "https://gw:0", "https://gw:65536", "https://gw:x", "https://gw/v1", "https://a@gw",
        "https://gw?x", "https://2001:db8::1", "https://g w",
    ])
    func others(url: String) { #expect(ControlPlace.network(url, token: "t") == nil) }
}
