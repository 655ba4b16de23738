import Testing

@testable import Settings

/// A configuration with slips in it: never a crash, every complaint on a line of the file, and the key locator agrees with the parser.
@Suite struct MutationTests {
    private struct Random: RandomNumberGenerator {
        var state: UInt64
        mutating func next() -> UInt64 {
            state &+= 0x9E37_79B9_7F4A_7C15
            var mixed = state
            mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
            mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
            return mixed ^ (mixed >> 31)
        }
    }

    private let fragments = [
        "[", "]", "[[", "]]", "{", "}", "\"", "'", "\"\"\"", "'''", "=", ".", ",", "#", "\\", "\n", "a = 1\n", "[x]\n",
        "[[user]]\n", "[[pool]]\n",
        "[[tunnel.peer]]\n", "0", "-1", "true", "99999999999999999999", "x.y.z = [1, {b = 2}]\n", "1979-05-27", "1e3", "\u{0}",
        "é", "\r\n",
    ]

    private func mutate(_ text: String, _ random: inout Random) -> String {
        var bytes = Array(text.utf8)
        for _ in 0..<Int.random(in: 1...4, using: &random) {
            let position = Int.random(in: 0..<bytes.count, using: &random)
            switch Int.random(in: 0..<4, using: &random) {
            case 0: bytes.remove(at: position)
            case 1: bytes.insert(contentsOf: fragments.randomElement(using: &random)!.utf8, at: position)
            case 2:
                var lines = bytes.split(separator: 10, omittingEmptySubsequences: false).map(Array.init)
                let line = lines.remove(at: Int.random(in: 0..<lines.count, using: &random))
                if Bool.random(using: &random) { lines.insert(line, at: Int.random(in: 0...lines.count, using: &random)) }
                bytes = Array(lines.joined(separator: [10]))
            default:
                let end = min(bytes.count, position + Int.random(in: 1...40, using: &random))
                let piece = Array(bytes[position..<end])
                bytes.insert(contentsOf: piece, at: Int.random(in: 0...bytes.count, using: &random))
            }
        }
        return String(decoding: bytes, as: UTF8.self)
    }

    private func paths(_ node: TOMLNode, _ path: String, _ found: inout [String]) {
        if !path.isEmpty { found.append(path) }
        switch node {
        case .table(let members): for (key, member) in members { paths(member, KeyLocator.path(path, key), &found) }
        case .array(let elements):
            for (index, element) in elements.enumerated() { paths(element, KeyLocator.path(path, index: index), &found) }
        default: break
        }
    }

    @Test(arguments: 0..<8) func slips(seed: UInt64) throws {
        var sample = Sample()
        sample.top = "log-level = \"info\"\n"
        sample.rest = """
            [ppp]
            dns = [
              "10.0.0.1", # first
              "10.0.0.2",
            ]
            [[user]]
            name = 'u'
            password = "x"
            prefixes = ["192.168.0.0/24"]
            [pptp]
            start-timeout = "10s"

            """
        var random = Random(state: seed)
        var parsed = 0
        for _ in 0..<250 {
            let text = mutate(sample.text, &random)
            let lines = text.utf8.reduce(1) { $0 + ($1 == 10 ? 1 : 0) }
            do throws(ConfigurationError) {
                _ = try Sample.parse(text, files: sample.files)
            } catch {
                #expect(!error.issues.isEmpty)
                for issue in error.issues where issue.file == "causeway.toml" {
                    #expect(issue.line.map { (1...lines).contains($0) } ?? true, "\(issue) in:\n\(text)")
                    #expect(!issue.message.utf8.contains(10))
                }
            }
            let locator = KeyLocator(text)
            guard let document = try? TOMLNode.parse(text, file: "f", locator: locator) else { continue }
            parsed += 1
            var found: [String] = []
            paths(.table(document), "", &found)
            for path in found { #expect(locator.lines[path] != nil, "\(path) in:\n\(text)") }
        }
        #expect(parsed > 20)
    }
}
