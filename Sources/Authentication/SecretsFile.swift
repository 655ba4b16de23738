import Addresses

/// A chap-secrets file in pppd's syntax: `client server secret address...` on each line.
///
/// Secrets: the password itself, `@/path` (the first word of that file), or `nt-hash:` and 32 hexadecimal digits.
///
/// Addresses: `*` any; `-` or nothing at all: none, the log-in is refused; an address: the user always gets the first one named;
/// a network (`10.8.0.0/24`): a free address of the pool inside it. Host and network names, `!` and the unit offset `+` are
/// refused with a reason, and so are options behind `--`.
public struct SecretsFile: Sendable, Equatable {
    public var entries: [UserDirectory.Entry]
    public var warnings: [FileIssue]

    /// Of one file, in bytes: some 200,000 users.
    public static let maxSize = 16 << 20
    /// Of a file named by `@/path`.
    public static let maxIndirectSize = 64 << 10

    /// Reads and parses the file, whose protection is checked, and that of every file it points to.
    public static func load(_ path: String, with reader: ProtectedFile) throws(SecretsFileError) -> SecretsFile {
        let contents: Secret
        do throws(FileIssue) { contents = try reader.read(path, limit: maxSize) } catch { throw SecretsFileError([error]) }
        return try parse(contents, file: path) { path throws(FileIssue) in try reader.read(path, limit: maxIndirectSize) }
    }

    /// Every line is looked at; the error lists all that are wrong.
    public static func parse(
        _ contents: Secret, file: String, readIndirect: (String) throws(FileIssue) -> Secret
    ) throws(SecretsFileError) -> SecretsFile {
        var result = SecretsFile(entries: [], warnings: [])
        var issues: [FileIssue] = []
        var seen: [Login: Int] = [:]
        contents.withUnsafeBytes { bytes in
            var lexer = SecretsLexer(bytes)
            while let next = lexer.nextLine() {
                switch next {
                case .failure(let issue):
                    issues.append(FileIssue(file: file, line: issue.line, message: issue.message))
                case .success(var words):
                    let line = words[0].line
                    do throws(FileIssue) {
                        let (entry, warnings) = try entry(words, file: file, line: line, readIndirect)
                        result.warnings += warnings
                        let login = Login(name: entry.name, server: entry.server)
                        if let first = seen[login] {
                            result.warnings.append(
                                FileIssue(
                                    file: file, line: line,
                                    message: "user \(entry.displayName) is already on line \(first); this line has no effect"))
                        } else {
                            seen[login] = line
                        }
                        result.entries.append(entry)
                    } catch {
                        issues.append(error)
                    }
                    for index in words.indices { wipe(&words[index].bytes) }
                }
            }
        }
        guard issues.isEmpty else { throw SecretsFileError(issues) }
        return result
    }

    private struct Login: Hashable {
        var name: [UInt8]?
        var server: [UInt8]?
    }

    private static func entry(
        _ words: [SecretsWord], file: String, line: Int, _ readIndirect: (String) throws(FileIssue) -> Secret
    ) throws(FileIssue) -> (UserDirectory.Entry, [FileIssue]) {
        func issue(_ message: String) -> FileIssue { FileIssue(file: file, line: line, message: message) }
        guard words.count >= 3 else {
            throw issue("expected client, server, secret and addresses, found \(words.count) word\(words.count == 1 ? "" : "s")")
        }
        var warnings: [FileIssue] = []
        for word in words.prefix(3) where word.cutByComment {
            warnings.append(issue("a word ends at '#', as in pppd; put it between quotes if the '#' belongs to it"))
        }
        let name = words[0].bytes
        guard !name.isEmpty else { throw issue("the client name is empty") }
        let displayName = printableUserName(name)

        let credential: UserDirectory.Credential
        do throws(Refusal) {
            credential = try self.credential(words[2], readIndirect)
        } catch {
            throw issue("user \(displayName): \(error.text)")
        }
        let policy: AddressPolicy
        do throws(Refusal) {
            policy = try addressPolicy(words.dropFirst(3).map { String(decoding: $0.bytes, as: UTF8.self) })
        } catch {
            throw issue("user \(displayName): \(error.text)")
        }
        if words.count == 3 {
            warnings.append(issue("user \(displayName) has no address column and cannot connect; write * to allow any address"))
        }
        let entry = UserDirectory.Entry(
            name: isWildcard(words[0]) ? nil : name, server: isWildcard(words[1]) ? nil : words[1].bytes, credential: credential,
            attributes: UserAttributes(address: policy), origin: .init(file: file, line: line))
        return (entry, warnings)
    }

    private struct Refusal: Error {
        var text: String
    }

    /// As in pppd, quotes around the asterisk make no difference.
    private static func isWildcard(_ word: SecretsWord) -> Bool { word.bytes == [UInt8(ascii: "*")] }

    private static func credential(
        _ word: SecretsWord, _ readIndirect: (String) throws(FileIssue) -> Secret
    ) throws(Refusal) -> UserDirectory.Credential {
        let bytes = word.bytes
        if bytes.starts(with: "@/".utf8) {
            let path = String(decoding: bytes.dropFirst(), as: UTF8.self)
            let contents: Secret
            do throws(FileIssue) { contents = try readIndirect(path) } catch { throw Refusal(text: "\(error)") }
            return .password(try firstWord(contents, path))
        }
        if bytes.starts(with: "nt-hash:".utf8) {
            guard let hash = parseNTHash(bytes.dropFirst("nt-hash:".utf8.count)) else {
                throw Refusal(text: "expected 32 hexadecimal digits after nt-hash:")
            }
            return .ntHash(hash)
        }
        guard !bytes.isEmpty else { throw Refusal(text: "the secret is empty, so anybody could log in") }
        if bytes.first == UInt8(ascii: "&"), !word.literalStart {
            throw Refusal(
                text: "secrets of the form &NAME are not supported; put the secret between quotes if it begins with '&'")
        }
        return .password(Secret(bytes))
    }

    private static func firstWord(_ contents: Secret, _ path: String) throws(Refusal) -> Secret {
        let first: Result<[SecretsWord], SecretsLexer.FileIssueOnLine>? = contents.withUnsafeBytes {
            var lexer = SecretsLexer($0)
            return lexer.nextLine()
        }
        switch first {
        case .success(var words):
            defer { for index in words.indices { wipe(&words[index].bytes) } }
            guard !words[0].bytes.isEmpty else { throw Refusal(text: "\(path): the secret is empty, so anybody could log in") }
            return Secret(words[0].bytes)
        case .failure(let issue): throw Refusal(text: "\(path):\(issue.line): \(issue.message)")
        case nil: throw Refusal(text: "\(path): holds no secret")
        }
    }

    private static func addressPolicy(_ words: [String]) throws(Refusal) -> AddressPolicy {
        // pppd looks at no further word behind either of these.
        switch words.first {
        case nil, "-": return .refused
        case "*": return .any
        default: break
        }
        var networks: [IPPrefix] = []
        for word in words {
            guard word != "--" else { throw Refusal(text: "options behind -- are not supported") }
            guard !word.hasPrefix("!") else {
                throw Refusal(text: "\(word): forbidden addresses are not supported; give the user a pool without them")
            }
            guard !word.hasSuffix("+") else {
                throw Refusal(text: "\(word): addresses by unit number are not supported; name the address")
            }
            guard let network = network(word) else {
                throw Refusal(
                    text:
                        "expected *, -, an address or a network (10.8.0.0/24), found \"\(word)\""
                )
            }
            networks.append(network)
        }
        if let host = networks.first(where: \.isHost) { return .fixed(host.address) }
        return .within(networks)
    }

    /// As in pppd, host bits behind the length are ignored.
    private static func network(_ word: String) -> IPPrefix? {
        let parts = word.split(separator: "/", omittingEmptySubsequences: false)
        guard let address = IPAddress(String(parts[0])) else { return nil }
        guard parts.count > 1 else { return IPPrefix(address) }
        guard parts.count == 2, let length = Int(parts[1]), String(length) == parts[1] else { return nil }
        return IPPrefix(containing: address, length: length)
    }
}

/// 32 hexadecimal digits.
public func parseNTHash(_ digits: some Collection<UInt8>) -> Secret? {
    guard digits.count == 32 else { return nil }
    let nibbles = digits.compactMap { Character(UnicodeScalar($0)).hexDigitValue }
    guard nibbles.count == 32 else { return nil }
    return Secret(count: 16) { buffer in
        for index in 0..<16 { buffer[index] = UInt8(nibbles[index * 2] << 4 | nibbles[index * 2 + 1]) }
    }
}
