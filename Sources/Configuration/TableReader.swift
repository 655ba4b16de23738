import Addresses
import Authentication

/// Collects what is wrong while a configuration is read, so that one run shows all of it.
final class Report {
    let file: String
    private let locator: KeyLocator
    private(set) var issues: [ConfigurationIssue] = []
    private(set) var warnings: [ConfigurationIssue] = []

    init(file: String, locator: KeyLocator) {
        self.file = file
        self.locator = locator
    }

    func expected(_ expected: String, found: String, at path: String) {
        issues.append(issue("expected \(expected), found \(found)", at: path))
    }
    func refuse(_ message: String, at path: String) { issues.append(issue(message, at: path)) }
    func warn(_ message: String, at path: String) { warnings.append(issue(message, at: path)) }
    func refuse(_ problem: FileIssue) {
        issues.append(ConfigurationIssue(file: problem.file, line: problem.line, message: problem.message))
    }
    func warn(_ problem: FileIssue) {
        warnings.append(ConfigurationIssue(file: problem.file, line: problem.line, message: problem.message))
    }

    func line(of path: String) -> Int? { locator[path] }

    private func issue(_ message: String, at path: String) -> ConfigurationIssue {
        ConfigurationIssue(file: file, line: locator[path], key: path.isEmpty ? nil : path, message: message)
    }
}

/// One table of the document. Asking for a key declares it; what nobody asked for is unknown when the table is finished.
struct TableReader {
    let path: String
    let report: Report
    private let values: [String: TOMLNode]
    private var known: [String] = []

    init(_ values: [String: TOMLNode], path: String, report: Report) {
        self.values = values
        self.path = path
        self.report = report
    }

    func path(of key: String) -> String { KeyLocator.path(path, key) }
    func has(_ key: String) -> Bool { values[key] != nil }
    func `is`(_ key: String, _ text: String) -> Bool { values[key]?.string == text }
    /// For a key that is known but not read: something else was said about it already.
    mutating func declare(_ key: String) { known.append(key) }

    /// Complains about every key that was never asked for.
    func finish() {
        for key in values.keys.sorted() where !known.contains(key) {
            let suggestion = nearest(to: key, among: known).map { "did you mean \"\($0)\"?" }
            report.refuse(
                "unknown key; " + (suggestion ?? "expected one of \(known.sorted().joined(separator: ", "))"), at: path(of: key))
        }
    }

    // ---- One value ----

    /// What `convert` makes of the value; nil, with a complaint, if it makes nothing of it; nil, silently, if there is no such
    /// key.
    mutating func optional<Value>(
        _ key: String, _ expected: String, secret: Bool = false, _ convert: (TOMLNode) -> Value?
    ) -> Value? {
        known.append(key)
        guard let node = values[key] else { return nil }
        if let value = convert(node) { return value }
        report.expected(expected, found: secret ? "something else (not shown)" : node.description, at: path(of: key))
        return nil
    }

    mutating func required<Value>(
        _ key: String, _ expected: String, secret: Bool = false, _ convert: (TOMLNode) -> Value?
    ) -> Value? {
        if !has(key) { report.expected(expected, found: "no such key", at: path(of: key)) }
        return optional(key, expected, secret: secret, convert)
    }

    mutating func read<Value>(_ target: inout Value, _ key: String, _ expected: String, _ convert: (TOMLNode) -> Value?) {
        if let value = optional(key, expected, convert) { target = value }
    }

    mutating func read(_ target: inout Bool, _ key: String) { read(&target, key, "true or false", \.boolean) }

    mutating func read<Number: FixedWidthInteger>(_ target: inout Number, _ key: String, _ range: ClosedRange<Number>) {
        read(&target, key, "a whole number from \(range.lowerBound) to \(range.upperBound)") { $0.number(in: range) }
    }

    mutating func read(_ target: inout Duration, _ key: String, _ range: ClosedRange<Duration>) {
        read(
            &target, key,
            "a time from \(text(range.lowerBound)) to \(text(range.upperBound)), such as \"30s\", \"2m\" or 30 (seconds)"
        ) {
            $0.duration.flatMap { range.contains($0) ? $0 : nil }
        }
    }

    mutating func read<Choice: RawRepresentable<String> & CaseIterable>(_ target: inout Choice, _ key: String) {
        let choices = Choice.allCases.map { "\"\($0.rawValue)\"" }.joined(separator: ", ")
        read(&target, key, "one of \(choices)") { $0.string.flatMap(Choice.init(rawValue:)) }
    }

    // ---- Lists ----

    /// Every element that converts; each of the others gets its own complaint. nil if there is no such key.
    mutating func list<Value>(_ key: String, of expected: String, _ convert: (TOMLNode) -> Value?) -> [Value]? {
        guard let elements = optional(key, "an array of \(expected)", \.array) else { return nil }
        return elements.enumerated().compactMap { index, element in
            if let value = convert(element) { return value }
            report.expected(expected, found: element.description, at: KeyLocator.path(path(of: key), index: index))
            return nil
        }
    }

    mutating func read<Value>(_ target: inout [Value], _ key: String, of expected: String, _ convert: (TOMLNode) -> Value?) {
        if let values = list(key, of: expected, convert) { target = values }
    }

    // ---- Tables ----

    /// The table `[key]`; an empty one if it is not written down.
    mutating func table(_ key: String) -> TableReader {
        let members = optional(key, "a table [\(key)]", \.table) ?? [:]
        return TableReader(members, path: path(of: key), report: report)
    }

    /// The tables `[[key]]`; `header` is what stands between those brackets.
    mutating func tables(_ key: String, header: String) -> [TableReader] {
        let elements = optional(key, "tables, each beginning with [[\(header)]]") { node -> [[String: TOMLNode]]? in
            guard let elements = node.array else { return nil }
            let tables = elements.compactMap(\.table)
            return tables.count == elements.count ? tables : nil
        }
        return (elements ?? []).enumerated().map { index, members in
            TableReader(members, path: KeyLocator.path(path(of: key), index: index), report: report)
        }
    }
}

extension TOMLNode {
    var table: [String: TOMLNode]? { if case .table(let members) = self { members } else { nil } }
    var array: [TOMLNode]? { if case .array(let elements) = self { elements } else { nil } }
    var string: String? { if case .string(let text) = self { text } else { nil } }
    var boolean: Bool? { if case .boolean(let value) = self { value } else { nil } }
    var address: IPAddress? { string.flatMap(IPAddress.init) }
    /// With its length written out, so that a forgotten one does not become a single host.
    var prefix: IPPrefix? { string.flatMap { $0.contains("/") ? IPPrefix($0) : nil } }

    func number<Number: FixedWidthInteger>(in range: ClosedRange<Number>) -> Number? {
        guard case .integer(let value) = self, let number = Number(exactly: value), range.contains(number) else { return nil }
        return number
    }

    /// Whole seconds as a number, or a number and its unit: ms, s, m, h.
    var duration: Duration? {
        switch self {
        case .integer(let seconds) where seconds >= 0 && seconds <= Self.maxSeconds: return .seconds(seconds)
        case .string(let text):
            let digits = text.prefix { $0.isASCII && $0.isNumber }
            guard let count = Int(digits), count <= Self.maxSeconds else { return nil }
            switch text.dropFirst(digits.count) {
            case "ms": return .milliseconds(count)
            case "s": return .seconds(count)
            case "m": return .seconds(count * 60)
            case "h": return .seconds(count * 3600)
            default: return nil
            }
        default: return nil
        }
    }

    private static let maxSeconds = 1_000_000_000
}

/// A time the way the file writes it.
func text(_ duration: Duration) -> String {
    let (seconds, attoseconds) = duration.components
    if attoseconds != 0 { return "\(seconds * 1000 + attoseconds / 1_000_000_000_000_000)ms" }
    if seconds != 0, seconds.isMultiple(of: 3600) { return "\(seconds / 3600)h" }
    if seconds != 0, seconds.isMultiple(of: 60) { return "\(seconds / 60)m" }
    return "\(seconds)s"
}

/// The one of `candidates` that differs from a mistyped `word` by few enough letters to be what was meant.
func nearest(to word: String, among candidates: [String]) -> String? {
    let word = Array(word.lowercased().utf8.prefix(64)).map { $0 == UInt8(ascii: "_") ? UInt8(ascii: "-") : $0 }
    let limit = max(1, min(3, word.count / 3))
    return candidates.map { ($0, editDistance(word, Array($0.utf8))) }.filter { $0.1 <= limit }.min { $0.1 < $1.1 }?.0
}

private func editDistance(_ left: [UInt8], _ right: [UInt8]) -> Int {
    var row = Array(0...right.count)
    for (i, a) in left.enumerated() {
        var diagonal = row[0]
        row[0] = i + 1
        for (j, b) in right.enumerated() {
            let substitution = diagonal + (a == b ? 0 : 1)
            diagonal = row[j + 1]
            row[j + 1] = min(substitution, row[j] + 1, row[j + 1] + 1)
        }
    }
    return row[right.count]
}
