import Authentication
import Testing
import Webhooks

@testable import Settings

@Suite struct WebhookReaderTests {
    private static let good = "[[webhook]]\nurl = \"https://h.example.org/x\"\nsecret-file = \"/hook\"\n"

    private func messages(_ text: String, secret: String = "0123456789abcdef\n") -> [String] {
        Sample.with {
            $0.rest = text
            $0.files["/hook"] = secret
        }.messages
    }

    @Test func receivers() throws {
        let sample = Sample.with {
            $0.rest = Self.good + "[[webhook]]\nurl = \"http://[::1]:8080\"\nsecret-file = \"/hook2\"\nevents = [\"phase-change\", \"login-refused\"]\n"
            $0.files["/hook2"] = "fedcba9876543210\r\nanother line\n"
        }
        let webhooks = try sample.parse().webhooks
        #expect(webhooks.map(\.receiver.url) == ["https://h.example.org/x", "http://[::1]:8080"])
        #expect(webhooks.map(\.secretFile) == ["/hook", "/hook2"])
        #expect(webhooks.map(\.receiver.secret) == [Secret(utf8: "0123456789abcdef"), Secret(utf8: "fedcba9876543210")])
        #expect(webhooks.map(\.receiver.events) == [[], ["phase-change", "login-refused"]])
    }

    @Test(arguments: [
        ("[[webhook]]\nsecret-file = \"/hook\"\n", "webhook[0].url"), ("[[webhook]]\nurl = \"https://h\"\n", "webhook[0].secret-file"),
        ("[[webhook]]\nurl = \"ftp://h\"\nsecret-file = \"/hook\"\n", "webhook[0].url"),
        ("[[webhook]]\nurl = \"https://ann:pw@h\"\nsecret-file = \"/hook\"\n", "webhook[0].url"),
        ("[[webhook]]\nurl = \"https://h\"\nsecret-file = \"/none\"\n", "/none: does not exist"),
        (good + "secret = \"0123456789abcdef\"\n", "secret-file"), (good + "events = [\"phase-chance\"]\n", "webhook[0].events"),
        (good + good, "webhook[1].url: another [[webhook]] has this address already"),
    ])
    func whatIsWrong(text: String, words: String) {
        let messages = messages(text)
        #expect(messages.count == 1 && messages[0].contains(words), "\(messages)")
    }

    @Test func aSecretThatCanBeGuessed() {
        let messages = messages(Self.good, secret: "short\n")
        #expect(messages.count == 1 && messages[0].contains("webhook[0].secret-file") && messages[0].contains("at least 16"), "\(messages)")
        #expect(!messages[0].contains("short\n"))
    }
}
