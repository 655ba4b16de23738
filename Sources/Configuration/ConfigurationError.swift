/// Everything that is wrong with a configuration, in the order of its lines. The process that cannot start with it exits 78
/// (EX_CONFIG).
public struct ConfigurationError: Error, Equatable, CustomStringConvertible {
    public var issues: [ConfigurationIssue]

    public init(_ issues: [ConfigurationIssue]) { self.issues = issues }

    /// One line for each issue.
    public var description: String { issues.map(\.description).joined(separator: "\n") }
}

/// One complaint: `FILE:LINE: KEY: expected ..., found ...`.
public struct ConfigurationIssue: Error, Hashable, CustomStringConvertible {
    public var file: String
    /// nil where the file as a whole is meant.
    public var line: Int?
    /// The dotted path of the key: `tunnel[0].peer[1].endpoint`.
    public var key: String?
    public var message: String

    public init(file: String, line: Int? = nil, key: String? = nil, message: String) {
        self.file = file
        self.line = line
        self.key = key
        self.message = message
    }

    public var description: String {
        file + (line.map { ":\($0)" } ?? "") + ": " + (key.map { "\($0): " } ?? "") + message
    }
}
