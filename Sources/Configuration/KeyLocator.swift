/// Line numbers of the keys in a TOML text, because the parser does not tell them: `tunnel[0].peer[1].endpoint` → 57.
///
/// It also goes first: the parser ends the process by an assertion on some malformed headers (`[=`), and a slip in a file that is
/// read again must not end the sessions of a running gateway. So it accepts all TOML and only roughly nothing else, and the
/// parser sees only what this scan found its way through.
struct KeyLocator {
    private(set) var lines: [String: Int] = [:]
    /// Where the scan got lost in what is not TOML.
    private(set) var lostLine: Int?

    private var input: [UInt8]
    private var position = 0
    private var line = 1
    /// Elements so far of each array of tables.
    private var arrayCounts: [String: Int] = [:]
    /// Arrays and inline tables deeper than this are not looked into.
    private static let maxDepth = 64

    init(_ text: String) {
        input = Array(text.utf8)
        if input.starts(with: [0xEF, 0xBB, 0xBF]) { position = 3 }  // a byte order mark
        if !document() { lostLine = line }
        input = []
    }

    /// The line of the key, or of the closest table around it that is written down.
    subscript(path: String) -> Int? {
        var path = path[...]
        while true {
            if let line = lines[String(path)] { return line }
            guard let cut = path.lastIndex(where: { $0 == "." || $0 == "[" }) else { return nil }
            path = path[..<cut]
        }
    }

    /// A path with one more key. Keys that TOML would not let stand bare are quoted, so a dot in a key is no separator.
    static func path(_ parent: String, _ key: String) -> String {
        let bare =
            !key.isEmpty && key.utf8.allSatisfy { isAlphanumeric($0) || $0 == UInt8(ascii: "-") || $0 == UInt8(ascii: "_") }
        let shown = bare ? key : "\"" + key.unicodeScalars.map { $0.escaped(asASCII: false) }.joined() + "\""
        return parent.isEmpty ? shown : "\(parent).\(shown)"
    }

    static func path(_ parent: String, index: Int) -> String { "\(parent)[\(index)]" }

    private mutating func document() -> Bool {
        var table = ""
        while true {
            skip(newlines: true)
            guard let byte = peek() else { return true }
            if byte == UInt8(ascii: "[") {
                guard let next = header() else { return false }
                table = next
            } else {
                guard keyValue(in: table, depth: 0) else { return false }
            }
        }
    }

    /// `[a.b]` or `[[a.b]]`: the path that the keys below it belong to.
    private mutating func header() -> String? {
        let start = line
        advance()
        let isArray = peek() == UInt8(ascii: "[")
        if isArray { advance() }
        guard let keys = dottedKey(), take("]"), !isArray || take("]") else { return nil }
        var path = ""
        for (index, key) in keys.enumerated() {
            path = Self.path(path, key)
            if index == keys.count - 1, isArray {
                let count = arrayCounts[path, default: 0]
                arrayCounts[path] = count + 1
                record(path, start)
                path = Self.path(path, index: count)
            } else if let count = arrayCounts[path] {
                path = Self.path(path, index: count - 1)
            }
            record(path, start)
        }
        return path
    }

    private mutating func keyValue(in table: String, depth: Int) -> Bool {
        let start = line
        guard let keys = dottedKey() else { return false }
        var path = table
        for key in keys {
            path = Self.path(path, key)
            record(path, start)
        }
        guard take("=") else { return false }
        return value(at: path, depth: depth)
    }

    private mutating func value(at path: String, depth: Int) -> Bool {
        skip(newlines: false)
        guard depth < Self.maxDepth, let byte = peek() else { return false }
        switch byte {
        case UInt8(ascii: "["):
            advance()
            var index = 0
            while true {
                skip(newlines: true)
                if take("]") { return true }
                let element = Self.path(path, index: index)
                record(element, line)
                guard value(at: element, depth: depth + 1) else { return false }
                index += 1
                skip(newlines: true)
                _ = take(",")
            }
        case UInt8(ascii: "{"):
            advance()
            while true {
                skip(newlines: true)
                if take("}") { return true }
                guard keyValue(in: path, depth: depth + 1) else { return false }
                skip(newlines: true)
                _ = take(",")
            }
        case UInt8(ascii: "\""), UInt8(ascii: "'"):
            return string() != nil
        default:
            let start = position
            while let byte = peek(), !",]}#\n".utf8.contains(byte) { advance() }
            return position > start
        }
    }

    /// `a."b c".d`
    private mutating func dottedKey() -> [String]? {
        var keys: [String] = []
        repeat {
            skip(newlines: false)
            guard let byte = peek() else { return nil }
            if byte == UInt8(ascii: "\"") || byte == UInt8(ascii: "'") {
                guard let key = string() else { return nil }
                keys.append(key)
            } else {
                let start = position
                while let byte = peek(), isAlphanumeric(byte) || byte == UInt8(ascii: "-") || byte == UInt8(ascii: "_") {
                    advance()
                }
                guard position > start else { return nil }
                keys.append(String(decoding: input[start..<position], as: UTF8.self))
            }
            skip(newlines: false)
        } while take(".")
        return keys
    }

    /// A string of any of the four kinds. Its text matters for keys only, which are single-line.
    private mutating func string() -> String? {
        guard let quote = peek() else { return nil }
        let escapes = quote == UInt8(ascii: "\"")
        var delimiter = [quote]
        if peek(1) == quote, peek(2) == quote { delimiter = [quote, quote, quote] }
        for _ in delimiter { advance() }
        var text: [UInt8] = []
        while let byte = peek() {
            if byte == UInt8(ascii: "\\"), escapes {
                advance()
                guard let escaped = peek() else { return nil }
                advance()
                unescape(escaped, into: &text)
            } else if ends(with: delimiter) {
                for _ in delimiter { advance() }
                // Up to two quotes may stand directly before the closing three.
                while delimiter.count == 3, peek() == quote { advance() }
                return String(decoding: text, as: UTF8.self)
            } else {
                text.append(byte)
                advance()
            }
        }
        return nil
    }

    private mutating func unescape(_ escaped: UInt8, into text: inout [UInt8]) {
        switch escaped {
        case UInt8(ascii: "b"): text.append(8)
        case UInt8(ascii: "t"): text.append(9)
        case UInt8(ascii: "n"): text.append(10)
        case UInt8(ascii: "f"): text.append(12)
        case UInt8(ascii: "r"): text.append(13)
        case UInt8(ascii: "u"), UInt8(ascii: "U"):
            var value: UInt32 = 0
            for _ in 0..<(escaped == UInt8(ascii: "u") ? 4 : 8) {
                guard let byte = peek(), let digit = Character(UnicodeScalar(byte)).hexDigitValue else { return }
                value = value << 4 | UInt32(digit)
                advance()
            }
            if let scalar = UnicodeScalar(value) { text += Array(String(Character(scalar)).utf8) }
        default: text.append(escaped)
        }
    }

    private func ends(with delimiter: [UInt8]) -> Bool {
        delimiter.indices.allSatisfy { peek($0) == delimiter[$0] }
    }

    private mutating func record(_ path: String, _ line: Int) {
        if lines[path] == nil { lines[path] = line }
    }

    private mutating func skip(newlines: Bool) {
        while let byte = peek() {
            if byte == UInt8(ascii: "#") {
                while let byte = peek(), byte != UInt8(ascii: "\n") { advance() }
            } else if byte == 32 || byte == 9 || byte == 13 || (newlines && byte == 10) {
                advance()
            } else {
                return
            }
        }
    }

    private mutating func take(_ character: Unicode.Scalar) -> Bool {
        skip(newlines: false)
        guard peek() == UInt8(ascii: character) else { return false }
        advance()
        return true
    }

    private func peek(_ distance: Int = 0) -> UInt8? {
        position + distance < input.count ? input[position + distance] : nil
    }

    private mutating func advance() {
        if input[position] == UInt8(ascii: "\n") { line += 1 }
        position += 1
    }
}
