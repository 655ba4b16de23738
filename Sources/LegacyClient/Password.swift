import Authentication

/// A password as the client needs it: only its NT hash is kept, and it never shows in text.
public struct Password: Sendable, CustomStringConvertible {
    let ntHash: Secret

    public init(_ secret: Secret) { ntHash = MSCHAPv2.ntHash(password: secret) }

    public var description: String { "<password>" }
}
