import Authentication
import Migration
import Testing

@testable import Webhooks

@Suite struct WebhookEventTests {
    private func json(_ kind: WebhookEvent.Kind) -> String { String(decoding: event("ann", kind).json, as: UTF8.self) }

    @Test func bodies() {
        let change = PhaseChange(from: .dual, to: .migrated, at: 5, mover: .wave("shops/1"), reason: "silent on \"PPTP\"")
        #expect(
            json(.phaseChange(change)) == #"{"at":1700000000,"event":"phase-change","from":"dual","id":"id-ann","instance":"gw-1","mover":"wave shops/1","#
                + #""reason":"silent on \"PPTP\"","to":"migrated","user":"ann"}"#)
        #expect(json(.firstLegacyLogin) == #"{"at":1700000000,"event":"first-legacy-login","id":"id-ann","instance":"gw-1","user":"ann"}"#)
        #expect(
            json(.lastLegacyLogin(at: 7)) == #"{"at":1700000000,"event":"last-legacy-login","id":"id-ann","instance":"gw-1","legacyAt":7,"user":"ann"}"#)
        #expect(
            json(.loginRefused(reason: "retired"))
                == #"{"at":1700000000,"event":"login-refused","id":"id-ann","instance":"gw-1","reason":"retired","user":"ann"}"#)
    }

    // MARK: Signature

    private let secret = Secret(utf8: "0123456789abcdef")

    /// Made with `printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef`.
    @Test func `the signature is an HMAC that others can make`() {
        #expect(
            WebhookSignature.text(of: Array(#"{"a":1}"#.utf8), secret: secret, at: 1_700_000_000) == "t=1700000000,v1=9eb18f493f8ec135d9eb2dad817c369bb4e9cbfa818657897a7437c1cd8c3a23")
    }

    @Test func `a receiver tells ours from others`() {
        let body = Array("{}".utf8), text = WebhookSignature.text(of: body, secret: secret, at: 1000)
        #expect(WebhookSignature.isValid(text, of: body, secret: secret, at: 1299))
        #expect(!WebhookSignature.isValid(text, of: body, secret: secret, at: 1300))
        #expect(!WebhookSignature.isValid(text, of: body, secret: secret, at: 700))
        #expect(!WebhookSignature.isValid(text, of: body + [32], secret: secret, at: 1000))
        #expect(!WebhookSignature.isValid(text, of: body, secret: Secret(utf8: "0123456789abcdeF"), at: 1000))
        #expect(!WebhookSignature.isValid(text.replacing("t=1000", with: "t=1001"), of: body, secret: secret, at: 1000))
        for other in ["", "t=1000", "v1=00,t=1000", "t=x,v1=00", text.dropLast() + "", text + "0"] {
            #expect(!WebhookSignature.isValid(String(other), of: body, secret: secret, at: 1000))
        }
    }

    // MARK: Receivers

    @Test(arguments: ["https://example.net/hook?x=1", "http://127.0.0.1:8080", "https://[2001:db8::1]/"]) func `addresses`(url: String) throws {
        _ = try WebhookReceiver(url: url, secret: secret)
    }

    @Test(arguments: ["", "ftp://x", "https://", "https:///x", "http://:80", "https://a b", "https://a\r\nX: y", "https://user:pw@example.net/", "HTTP"])
    func `no addresses`(url: String) {
        #expect(throws: WebhookReceiver.Problem.self) { try WebhookReceiver(url: url, secret: secret) }
    }

    @Test func `short secrets and unknown events are refused`() {
        #expect(throws: WebhookReceiver.Problem(part: .secret, description: "a webhook's secret has at least 16 characters")) {
            try WebhookReceiver(url: "https://x", secret: Secret(utf8: "short"))
        }
        #expect(throws: WebhookReceiver.Problem.self) { try WebhookReceiver(url: "https://x", secret: secret, events: ["phase-change", "nonsense"]) }
    }

    @Test func `the list of names is complete`() {
        let change = PhaseChange(from: .dual, to: .migrated, at: 5, mover: .evidence, reason: "")
        let all: [WebhookEvent.Kind] = [.phaseChange(change), .firstLegacyLogin, .lastLegacyLogin(at: 0), .loginRefused(reason: "")]
        #expect(all.map(\.name) == WebhookEvent.Kind.names)
    }
}
