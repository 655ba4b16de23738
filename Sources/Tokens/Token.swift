/// What the bearer of a token may do. Each scope includes those before it.
public enum TokenScope: String, Sendable, Codable, CaseIterable, Comparable {
    /// Look at everything that holds no secret.
    case read
    /// End sessions, apply the configuration.
    case operate
    /// Everything: users, invitations with their keys, policies, tokens.
    case admin

    private var rank: Int { Self.allCases.firstIndex(of: self)! }
    public static func < (left: TokenScope, right: TokenScope) -> Bool { left.rank < right.rank }
}

/// Somebody's right to use the control API over the network, as it is kept: what the bearer shows is not in it.
public struct Token: Sendable, Codable, Equatable {
    public var name: String
    public var scope: TokenScope
    /// SHA-256 of the token's text, in hexadecimal digits. The text is 256 bits of chance: no salt, no slow hash needed.
    public var hash: String
    /// Seconds since the Unix epoch.
    public var createdAt: Int64
    /// nil: never.
    public var expiresAt: Int64?

    public func isExpired(at now: Int64) -> Bool { expiresAt.map { $0 <= now } ?? false }
}

public enum TokenError: Error, Sendable, Equatable, CustomStringConvertible {
    case badName
    case nameTaken(String)
    case unknown(String)
    case tooMany
    /// The file, in words for an administrator.
    case file(String)

    public var description: String {
        switch self {
        case .badName: "a token's name has 1 to 64 letters, digits, '.', '_', '-' or '@'"
        case .nameTaken(let name): "there is a token \"\(name)\" already: revoke it first, or take another name"
        case .unknown(let name): "there is no token \"\(name)\""
        case .tooMany: "there are \(TokenFile.capacity) tokens already: revoke one first"
        case .file(let text): text
        }
    }
}
