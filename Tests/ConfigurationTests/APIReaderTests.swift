import Authentication
import Testing

@testable import Settings

@Suite struct APIReaderTests {
    private static let good = "[api]\nlisten = \"127.0.0.1:8443\"\ncertificate-file = \"/c\"\nprivate-key-file = \"/tls\"\n"

    @Test func allOfIt() throws {
        let api = try #require(try Sample.with { $0.rest = Self.good }.parse().api)
        #expect(api.listen.description == "127.0.0.1:8443")
        #expect(api.certificateFile == "/c" && api.privateKeyFile == "/tls")
        #expect(api.privateKey == Secret(utf8: "a key in PEM\n"))
        #expect(try Sample().parse().api == nil)
    }

    @Test(arguments: [
        ("127.0.0.1:8443", "127.0.0.1:443", "api.listen"), ("127.0.0.1:8443", "8443", "api.listen"), ("127.0.0.1:8443", "host:8443", "api.listen"),
        ("127.0.0.1:8443", "224.0.0.1:8443", "api.listen"), ("\"/c\"", "\"c\"", "api.certificate-file"), ("\"/tls\"", "\"/none\"", "/none: does not exist"),
        ("[api]", "[api]\nprivate-key = \"x\"", "api.private-key"), ("[api]", "[api]\ntoken = \"x\"", "api.token"),
    ])
    func whatIsWrong(old: String, new: String, words: String) {
        let messages = Sample.with { $0.rest = Self.good.replacing(old, with: new) }.messages
        #expect(messages.count == 1 && messages[0].contains(words), "\(messages)")
    }
}
