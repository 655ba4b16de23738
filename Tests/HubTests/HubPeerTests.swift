import Authentication
import Testing

@testable import Hub

@Suite struct HubPeerTests {
    @Test func presharedKeysAreNotShown() {
        let peer = HubPeer(publicKey: "k", presharedKey: Secret(utf8: "very secret"))
        #expect(!"\(peer)".contains("very secret"))
        #expect(!String(reflecting: peer).contains("very secret"))
    }
}
