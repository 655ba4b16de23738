import Documents

/// Something wrong with a file of the administrator's, or with one line of it.
public struct FileIssue: Error, Sendable, Hashable, CustomStringConvertible {
    public enum Kind: Sendable, Hashable {
        /// There is no such file.
        case missing
        /// It is there, but not as it should be.
        case unusable
    }

    public var file: String
    public var line: Int?
    public var message: String
    public var kind: Kind

    public init(file: String, line: Int? = nil, message: String, kind: Kind = .unusable) {
        self.file = file
        self.line = line
        self.message = message
        self.kind = kind
    }

    /// One line, whatever the paths and words are that it repeats: in a quoted one, a secrets file can have any byte.
    public var description: String { printable("\(file)\(line.map { ":\($0)" } ?? ""): \(message)") }
}

/// All that is wrong with a secrets file.
public struct SecretsFileError: Error, Sendable, Equatable, CustomStringConvertible {
    public var issues: [FileIssue]

    public init(_ issues: [FileIssue]) { self.issues = issues }

    public var description: String { issues.map(\.description).joined(separator: "\n") }
}
