import TOMLKit

/// A TOML document as plain values: what is read below never touches the parser's memory.
indirect enum TOMLNode: Equatable {
    case table([String: TOMLNode])
    case array([TOMLNode])
    case string(String)
    case integer(Int)
    case boolean(Bool)
    /// Numbers with a fraction, dates and times: no key of ours takes one. The text is for messages.
    case other(String)

    /// The root table, or what is wrong with the text.
    static func parse(_ text: String, file: String, locator: KeyLocator) throws(ConfigurationIssue) -> [String: TOMLNode] {
        // The parser takes a C string.
        if let end = text.utf8.firstIndex(of: 0) {
            let line = text.utf8[..<end].reduce(1) { $0 + ($1 == UInt8(ascii: "\n") ? 1 : 0) }
            throw ConfigurationIssue(file: file, line: line, message: "not valid TOML: there is a NUL byte")
        }
        if let line = locator.lostLine {
            throw ConfigurationIssue(
                file: file, line: line,
                message: "not valid TOML: expected [table], [[table]] or key = value, with every quote and bracket closed")
        }
        let table: TOMLTable
        do {
            table = try TOMLTable(string: text)
        } catch let error as TOMLParseError {
            throw ConfigurationIssue(
                file: file, line: error.source.begin.line, message: "not valid TOML: \(firstLine(error.description))")
        } catch {
            throw ConfigurationIssue(file: file, message: "not valid TOML: \(error)")
        }
        return withExtendedLifetime(table) { members(of: table) }
    }

    private static func members(of table: TOMLTable) -> [String: TOMLNode] {
        var members: [String: TOMLNode] = [:]
        for key in table.keys {
            if let value = table[key] { members[key] = node(value) }
        }
        return members
    }

    private static func node(_ value: any TOMLValueConvertible) -> TOMLNode {
        if let table = value.table { return .table(members(of: table)) }
        if let array = value.array { return .array(array.map(node)) }
        if let string = value.string { return .string(string) }
        if let integer = value.int { return .integer(integer) }
        if let boolean = value.bool { return .boolean(boolean) }
        return .other(value.debugDescription)
    }

    private static func firstLine(_ text: String) -> String { String(text.prefix { $0 != "\n" }) }
}

extension TOMLNode: CustomStringConvertible {
    /// For `found ...` in messages; long text is cut.
    var description: String {
        switch self {
        case .table: return "a table"
        case .array(let elements): return elements.isEmpty ? "an empty array" : "an array"
        case .string(let text):
            let shown = text.unicodeScalars.prefix(60).map { $0.escaped(asASCII: false) }.joined()
            return "\"\(shown)\(text.unicodeScalars.count > 60 ? "..." : "")\""
        case .integer(let value): return String(value)
        case .boolean(let value): return String(value)
        case .other(let text): return text
        }
    }
}
