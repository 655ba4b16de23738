/// Reads the JSON (RFC 8259) of a file of ours straight from its bytes, in the order in which they come: objects, arrays, strings
/// and whole numbers. Depth is what the caller asks for, so hostile nesting goes nowhere.
struct JSONReader {
    struct Failure: Error {
        var line: Int
        var message: String
    }

    private let bytes: UnsafeRawBufferPointer
    private var position = 0

    init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

    func failure(_ message: String) -> Failure {
        Failure(line: bytes[..<position].reduce(1) { $0 + ($1 == UInt8(ascii: "\n") ? 1 : 0) }, message: message)
    }

    // ---- Structure ----

    mutating func object(_ member: (String, inout JSONReader) throws -> Void) throws {
        var seen: Set<String> = []
        try elements(from: "{", to: "}") { json in
            let key = try json.string()
            guard seen.insert(key).inserted else { throw json.failure("key \"\(key)\" comes twice") }
            try json.take(":")
            try member(key, &json)
        }
    }

    mutating func array(_ element: (inout JSONReader) throws -> Void) throws { try elements(from: "[", to: "]", element) }

    mutating func end() throws {
        guard peek() == nil else { throw failure("expected the end of the file") }
    }

    private mutating func elements(
        from open: Unicode.Scalar, to close: Unicode.Scalar, _ element: (inout JSONReader) throws -> Void
    ) throws {
        try take(open)
        guard !takeIf(close) else { return }
        repeat { try element(&self) } while takeIf(",")
        try take(close)
    }

    // ---- Values ----

    mutating func integer() throws -> Int64 {
        _ = peek()
        let start = position
        if position < bytes.count, bytes[position] == UInt8(ascii: "-") { position += 1 }
        while position < bytes.count, (0x30...0x39).contains(bytes[position]) { position += 1 }
        let text = String(decoding: bytes[start..<position], as: UTF8.self)
        // Only the one way to write a number.
        guard let value = Int64(text), String(value) == text else { throw failure("expected a whole number") }
        return value
    }

    mutating func string() throws -> String {
        let (text, hasEscapes) = try rawString()
        if hasEscapes { return try unescape(text) }
        guard let string = String(validating: text, as: UTF8.self) else { throw failure("a string is not UTF-8") }
        return string
    }

    /// What `body` makes of a string without escapes, which is never copied.
    mutating func withRawString<Result>(_ body: (UnsafeRawBufferPointer) -> Result?) throws -> Result? {
        let (text, hasEscapes) = try rawString()
        guard !hasEscapes else { throw failure("a key with escapes in it") }
        return body(UnsafeRawBufferPointer(rebasing: text))
    }

    private mutating func rawString() throws -> (Slice<UnsafeRawBufferPointer>, hasEscapes: Bool) {
        try take("\"")
        let start = position
        var hasEscapes = false
        while position < bytes.count {
            switch bytes[position] {
            case UInt8(ascii: "\""):
                position += 1
                return (bytes[start..<position - 1], hasEscapes)
            case UInt8(ascii: "\\"):
                hasEscapes = true
                position += 2
            case 0..<0x20: throw failure("a control character in a string")
            default: position += 1
            }
        }
        position = bytes.count
        throw failure("a string without an end")
    }

    private func unescape(_ text: Slice<UnsafeRawBufferPointer>) throws -> String {
        var units: [UInt8] = []
        var rest = text
        while let byte = rest.popFirst() {
            guard byte == UInt8(ascii: "\\") else {
                units.append(byte)
                continue
            }
            switch rest.popFirst() {
            case UInt8(ascii: "\""): units.append(UInt8(ascii: "\""))
            case UInt8(ascii: "\\"): units.append(UInt8(ascii: "\\"))
            case UInt8(ascii: "/"): units.append(UInt8(ascii: "/"))
            case UInt8(ascii: "b"): units.append(0x08)
            case UInt8(ascii: "f"): units.append(0x0C)
            case UInt8(ascii: "n"): units.append(0x0A)
            case UInt8(ascii: "r"): units.append(0x0D)
            case UInt8(ascii: "t"): units.append(0x09)
            case UInt8(ascii: "u"): units += try codeUnits(&rest)
            default: throw failure("an unknown escape in a string")
            }
        }
        guard let string = String(validating: units, as: UTF8.self) else { throw failure("a string is not UTF-8") }
        return string
    }

    /// Behind `\u`: one UTF-16 unit, or two that belong together, as UTF-8.
    private func codeUnits(_ rest: inout Slice<UnsafeRawBufferPointer>) throws -> [UInt8] {
        var units = [try codeUnit(&rest)]
        if UTF16.isLeadSurrogate(units[0]) {
            guard rest.popFirst() == UInt8(ascii: "\\"), rest.popFirst() == UInt8(ascii: "u") else {
                throw failure("half a character in a string")
            }
            units.append(try codeUnit(&rest))
        }
        guard let text = String(validating: units, as: UTF16.self) else { throw failure("half a character in a string") }
        return Array(text.utf8)
    }

    private func codeUnit(_ rest: inout Slice<UnsafeRawBufferPointer>) throws -> UInt16 {
        var value: UInt16 = 0
        for _ in 0..<4 {
            guard let digit = rest.popFirst().flatMap({ Character(Unicode.Scalar($0)).hexDigitValue }) else {
                throw failure("expected four hexadecimal digits behind \\u")
            }
            value = value << 4 | UInt16(digit)
        }
        return value
    }

    // ---- Bytes ----

    /// The next byte that is not white space.
    private mutating func peek() -> UInt8? {
        while position < bytes.count {
            switch bytes[position] {
            case 0x20, 0x0A, 0x0D, 0x09: position += 1
            case let byte: return byte
            }
        }
        return nil
    }

    private mutating func takeIf(_ character: Unicode.Scalar) -> Bool {
        guard peek() == UInt8(ascii: character) else { return false }
        position += 1
        return true
    }

    private mutating func take(_ character: Unicode.Scalar) throws {
        guard takeIf(character) else { throw failure("expected \(character)") }
    }
}
