import Addresses
import Authentication
import Testing
import WireGuard

@testable import Identities

@Suite struct IdentityFileTests {
    static let key = KeyPair()

    static func identity(
        _ name: String, tunnel: String = "hub", kind: Identity.Kind = .user, addresses: [String] = ["10.8.0.10"], handshakeAt: Int64? = nil,
        retiredAt: Int64? = nil
    ) -> Identity {
        Identity(
            id: .init(tunnel: tunnel, kind: kind, name: name), publicKey: key.publicKey, privateKey: key.privateKey,
            addresses: addresses.map { IPAddress($0)! }, createdAt: 1_790_000_000, generation: 3, handshakeAt: handshakeAt, retiredAt: retiredAt)
    }

    private func parse(_ text: String) throws(IdentityError) -> [Identity] { try IdentityFile.parse(Secret(utf8: text), path: "f") }
    private func text(_ identities: [Identity]) -> String { IdentityFile.text(of: identities).withUnsafeBytes { String(decoding: $0, as: UTF8.self) } }

    @Test func roundTrip() throws {
        let identities = [
            Self.identity("ann"), Self.identity("bob", addresses: ["10.8.0.11", "fd00::1"], handshakeAt: 7, retiredAt: -9),
            Self.identity("tills", kind: .group, addresses: []), Self.identity("ann", tunnel: "aux"),
            Self.identity("quote \" back \\ slash / new\nline \u{1}\u{1F}\u{7F} zoë 👍🏽 \u{2028}"), Self.identity(""),
        ]
        #expect(try parse(text(identities)) == identities)
        #expect(try parse(text([])) == [])
    }

    @Test func handedOver() throws {
        var handed = Self.identity("ann"), wiped = Self.identity("bob")
        handed.handedOverAt = 1_790_000_001
        wiped.handedOverAt = -1
        wiped.privateKey = Secret([])
        #expect(try parse(text([handed, wiped])) == [handed, wiped])
        let withoutKey = text([wiped]).replacing(",\"handedOverAt\":-1", with: "")
        #expect(throws: IdentityError.self) { try parse(withoutKey) }
    }

    /// Whatever length: while it grows, the text is never moved.
    @Test func theLongestTextFits() throws {
        let nasty = String(repeating: "\u{1}", count: 300)
        let identity = Identity(
            id: .init(tunnel: nasty, kind: .group, name: nasty), publicKey: Self.key.publicKey, privateKey: Self.key.privateKey,
            addresses: Array(repeating: IPAddress("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255")!, count: 20), createdAt: .min, generation: UInt64(Int64.max),
            handshakeAt: .min, retiredAt: .min)
        let one = text([identity])
        #expect(one.utf8.count <= 64 + 400 + 12 * 300 + 48 * 20)
        #expect(try parse(one) == [identity])
    }

    /// Hand-made, by the book: other white space, another order, escapes.
    @Test func anyJSON() throws {
        let privateKey = text([Self.identity("x")]).split(separator: "\"privateKey\":\"")[1].prefix(44)
        let written = """
             { "identities" : [ {"name":"\\u0061n\\u006E\\ud83d\\udc4d\\/\\b\\f\\n\\r\\t\\"\\\\","kind":"user" ,"tunnel":"hub",
            "generation":3,"createdAt":1790000000,"addresses":[ "10.8.0.10" ],"publicKey":"\(Self.key.publicKey)","privateKey":"\(privateKey)"}
            ] , "version" : 1 }\r\n\t
            """
        #expect(try parse(written) == [Self.identity("ann👍/\u{8}\u{C}\n\r\t\"\\")])
    }

    @Test(arguments: [
        "", " ", "{}", "[]", "{\"version\":1}", "{\"identities\":[]}", "{\"version\":2,\"identities\":[]}", "{\"version\":1.0,\"identities\":[]}",
        "{\"version\":01,\"identities\":[]}", "{\"version\":\"1\",\"identities\":[]}", "{\"version\":1,\"identities\":[]}x",
        "{\"version\":1,\"identities\":[],}", "{\"version\":1,\"identities\":[,]}", "{\"version\":1,\"identities\":[]", "{\"version\":1,\"identities\":",
        "{\"version\":1,\"identities\":[{}]}", "{\"version\":1,\"version\":1,\"identities\":[]}", "{\"version\":1,\"identities\":[],\"x\":1}",
        "{\"version\":-,\"identities\":[]}", "{\"version\":99999999999999999999,\"identities\":[]}", "\u{FEFF}{\"version\":1,\"identities\":[]}",
        "{\"version\":1,\"identities\":{}}", "{\"version", "{\"version\\", "{\"\\", "{\"version\u{0}\":1}",
    ])
    func notAFileOfOurs(_ text: String) { #expect(throws: IdentityError.self) { _ = try parse(text) } }

    @Test(arguments: [
        ("\"kind\":\"user\"", "\"kind\":\"admin\""), ("\"kind\":\"user\"", "\"kind\":7"), ("\"generation\":3", "\"generation\":-1"),
        (",\"generation\":3", ""), ("\"generation\":3", "\"generation\":3,\"generation\":3"), ("\"generation\":3", "\"generation\":3,\"color\":1"),
        ("10.8.0.10", "10.8.0.300"), ("[\"10.8.0.10\"]", "\"10.8.0.10\""), ("\"privateKey\":\"", "\"privateKey\":\"A"),
        ("\"privateKey\":\"", "\"privateKey\":\"\\u0041"), ("\"publicKey\":\"", "\"publicKey\":\"A"), ("\"name\":\"ann\"", "\"name\":\"a\\x\""),
        ("\"name\":\"ann\"", "\"name\":\"a\\ud800\""), ("\"name\":\"ann\"", "\"name\":\"a\\ud800\\u0041\""), ("\"name\":\"ann\"", "\"name\":\"\\u12G4\""),
        ("\"name\":\"ann\"", "\"name\":\"a\nb\""), ("\"name\":\"ann\"", "\"name\":null"), ("\"name\":\"ann\"", "\"name\":\"ann"),
    ])
    func wrongIdentities(old: String, new: String) throws {
        let good = text([Self.identity("ann")])
        let bad = good.replacing(old, with: new)
        #expect(bad != good)
        let error = #expect(throws: IdentityError.self) { _ = try parse(bad) }
        #expect(error?.description.hasPrefix("f:2: ") == true || error?.description.hasPrefix("f:3: ") == true, "\(error?.description ?? "")")
        // Whatever is wrong, the key is not shown.
        let key = good.split(separator: "\"privateKey\":\"")[1].prefix(40)
        #expect(error?.description.contains(key) == false)
    }

    @Test func notUTF8() {
        var bytes = Array(text([Self.identity("ann")]).utf8)
        bytes[bytes.firstIndex(of: UInt8(ascii: "n"))! + 70] = 0xFF
        #expect(throws: IdentityError.self) { _ = try IdentityFile.parse(Secret(bytes), path: "f") }
    }

    @Test func twiceTheSame() {
        #expect(throws: IdentityError.self) { _ = try parse(text([Self.identity("ann"), Self.identity("ann")])) }
    }

    /// Cut off anywhere, or with any byte changed: an error or identities, never a crash.
    @Test func damage() {
        let whole = Array(text([Self.identity("ann", handshakeAt: 5), Self.identity("b\"\u{1}", addresses: ["fd00::1", "10.0.0.1"], retiredAt: 5)]).utf8)
        for end in 0..<(whole.count - 2) {
            #expect(throws: IdentityError.self, "\(end)") { _ = try IdentityFile.parse(Secret(whole[..<end]), path: "f") }
        }
        var random = SystemRandomNumberGenerator()
        for _ in 0..<20_000 {
            var damaged = whole
            for _ in 0..<Int.random(in: 1...3, using: &random) {
                let position = Int.random(in: 0..<damaged.count, using: &random)
                switch Int.random(in: 0..<3, using: &random) {
                case 0: damaged[position] = UInt8.random(in: 0...255, using: &random)
                case 1: damaged.remove(at: position)
                default: damaged.insert("{}[]\",:\\u09".utf8.randomElement(using: &random)!, at: position)
                }
            }
            _ = try? IdentityFile.parse(Secret(damaged), path: "f")
        }
    }

    @Test func deepNestingGoesNowhere() {
        #expect(throws: IdentityError.self) { _ = try parse("{\"version\":1,\"identities\":" + String(repeating: "[", count: 1_000_000)) }
    }

    @Test func keysAreNotShown() {
        let identity = Self.identity("ann")
        let key = identity.privateKey.withUnsafeBytes { bytes in
            var text: [UInt8] = []
            WireGuardKey.encode(bytes, onto: &text)
            return String(decoding: text, as: UTF8.self)
        }
        var dumped = ""
        dump(identity, to: &dumped)
        for shown in ["\(identity)", String(reflecting: identity), dumped] { #expect(!shown.contains(key.prefix(20))) }
    }
}
