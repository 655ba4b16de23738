import Authentication
import CSodium
import Foundation
import Identities

/// All tokens, in one file of the state directory that is replaced as a whole.
public actor TokenFile {
    /// Inside the state directory.
    public static let fileName = "tokens.json"
    public static let capacity = 1000
    /// Tells our tokens from other secrets, for people and for programs that look for leaked ones.
    static let prefix = "cwt_"
    private static let maxFileSize = 1 << 20

    private let files: StateFiles
    private let now: @Sendable () -> Int64
    private var all: [Token] = []
    /// Which file `all` was read from.
    private var stamp: StateFiles.Stamp?

    /// - Parameters:
    ///   - directory: made when the first token is.
    ///   - now: seconds since the Unix epoch.
    public init(directory: String, now: @escaping @Sendable () -> Int64 = { Int64(time(nil)) }) {
        files = StateFiles(directory: directory, name: Self.fileName, owner: nil)
        self.now = now
    }

    public func tokens() throws(TokenError) -> [Token] {
        try refresh()
        return all
    }

    /// The text is told once, here, and kept nowhere.
    /// - Parameter lifetime: in seconds; nil: it never expires.
    public func create(_ name: String, _ scope: TokenScope, lifetime: Int64? = nil) async throws(TokenError) -> (token: Token, text: String) {
        guard (1...64).contains(name.utf8.count), name.utf8.allSatisfy(Self.isNameByte) else { throw .badName }
        var bytes = [UInt8](repeating: 0, count: 32)
        randombytes_buf(&bytes, bytes.count)
        let text = Self.prefix + Self.hexadecimal(bytes)
        sodium_memzero(&bytes, bytes.count)
        let now = now()
        let token = Token(name: name, scope: scope, hash: Self.hash(of: text), createdAt: now, expiresAt: lifetime.map { now + $0 })
        try await change { tokens throws(TokenError) in
            guard !tokens.contains(where: { $0.name == name && !$0.isExpired(at: now) }) else { throw .nameTaken(name) }
            tokens.removeAll { $0.name == name }
            guard tokens.count < Self.capacity else { throw .tooMany }
            tokens.append(token)
            tokens.sort { $0.name < $1.name }
        }
        return (token, text)
    }

    public func revoke(_ name: String) async throws(TokenError) {
        try await change { tokens throws(TokenError) in
            guard tokens.contains(where: { $0.name == name }) else { throw .unknown(name) }
            tokens.removeAll { $0.name == name }
        }
    }

    /// Whose token this is; nil: nobody's, or it has expired. Every token is compared, each in the same time.
    public func bearer(of text: String) throws(TokenError) -> Token? {
        try refresh()
        let hash = Array(Self.hash(of: text).utf8)
        var found: Token?
        for token in all where constantTimeEqual(Array(token.hash.utf8), hash) { found = token }
        return found.flatMap { $0.isExpired(at: now()) ? nil : $0 }
    }

    // MARK: The file

    private struct Contents: Codable {
        var version = 1
        var tokens: [Token]
    }

    private func refresh() throws(TokenError) {
        do {
            let current = try files.stamp()
            guard current != stamp else { return }
            guard current != nil else {
                all = []
                stamp = nil
                return
            }
            let (secret, read) = try files.read(limit: Self.maxFileSize)
            let contents = try secret.withUnsafeBytes { try JSONDecoder().decode(Contents.self, from: Data($0)) }
            guard contents.version == 1 else { throw TokenError.file("\(files.path): version \(contents.version) is of a newer causeway") }
            all = contents.tokens
            stamp = read
        } catch let error as TokenError {
            throw error
        } catch let error as IdentityError {
            throw .file("\(error)")
        } catch {
            throw .file("\(files.path): is no list of tokens (\(error)); move it away and make new tokens")
        }
    }

    private func change(_ body: (inout [Token]) throws(TokenError) -> Void) async throws(TokenError) {
        let lock: StateFiles.Lock
        do { lock = try await files.lock() } catch { throw .file("\(error)") }
        defer { lock.release() }
        try refresh()
        var tokens = all
        try body(&tokens)
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .prettyPrinted]
        do {
            stamp = try files.replace(with: Secret(Array(try encoder.encode(Contents(tokens: tokens)))))
        } catch {
            throw .file("\(error)")
        }
        all = tokens
    }

    // MARK: Bytes

    private static func isNameByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5A, 0x61...0x7A: true
        default: ".-_@".utf8.contains(byte)
        }
    }

    private static func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { String($0 >> 4, radix: 16) + String($0 & 15, radix: 16) }.joined()
    }

    static func hash(of text: String) -> String {
        let bytes = Array(text.utf8)
        var hash = [UInt8](repeating: 0, count: Int(crypto_hash_sha256_BYTES))
        crypto_hash_sha256(&hash, bytes, UInt64(bytes.count))
        return hexadecimal(hash)
    }
}
