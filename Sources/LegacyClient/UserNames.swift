/// User names for a number of sessions, from names and patterns.
public enum UserNames {
    public struct PatternError: Error, Equatable, CustomStringConvertible {
        public let description: String
    }

    /// - `%d` in a name stands for 1, 2, … up to `count`; `%04d` fills up with zeros.
    /// - Several names without a pattern: one session each; `count`, if given, must be their number.
    /// - One name without a pattern: that many sessions of one user.
    public static func expand(_ names: [String], count: Int?) throws(PatternError) -> [String] {
        guard let first = names.first else { throw PatternError(description: "a user name is expected") }
        guard count ?? 1 >= 1 else { throw PatternError(description: "a count of at least 1 is expected") }
        if names.count > 1 {
            guard !names.contains(where: { $0.contains("%") }) else {
                throw PatternError(description: "a pattern with % must be the only user name")
            }
            guard count ?? names.count == names.count else {
                throw PatternError(description: "\(names.count) user names were given, but a count of \(count ?? 0)")
            }
            return names
        }
        guard first.contains("%") else { return Array(repeating: first, count: count ?? 1) }
        let pattern = try Pattern(first)
        return (1...(count ?? 1)).map(pattern.name)
    }

    private struct Pattern {
        var before: Substring
        var after: Substring
        var width = 0

        init(_ text: String) throws(PatternError) {
            let wrong = PatternError(description: "\"\(text)\": one %d, or %04d, is expected in a pattern")
            guard let percent = text.firstIndex(of: "%") else { throw wrong }
            let rest = text[percent...].dropFirst()
            let digits = rest.prefix { ("0"..."9").contains($0) }
            guard rest.dropFirst(digits.count).first == "d" else { throw wrong }
            before = text[..<percent]
            after = rest.dropFirst(digits.count + 1)
            guard !after.contains("%") else { throw wrong }
            guard !digits.isEmpty else { return }
            guard digits.first == "0", let width = Int(digits), width <= 9 else { throw wrong }
            self.width = width
        }

        func name(_ number: Int) -> String {
            let digits = String(number)
            return before + String(repeating: "0", count: max(0, width - digits.count)) + digits + after
        }
    }
}
