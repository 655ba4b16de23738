// The words of a secrets file, cut as pppd cuts them: white space separates words; `"` and `'` quote; a backslash escapes, also
// between quotes: \a \b \f \n \r \s (space) \t, up to three octal digits, \x and up to two hexadecimal digits, anything else
// stands for itself; a backslash at the end of a line joins it with the next one; an unquoted `#` ends the word before it and
// begins a comment.
//
// Stricter than pppd in three things, so that a slip does not change who may log in: a quote must be closed on its line, a word
// is at most `maxWordLength` bytes (pppd cuts it there), and no word holds a NUL byte (pppd would end it there).

struct SecretsWord {
    var bytes: [UInt8] = []
    var line: Int
    /// The first byte was quoted or escaped, so it is meant literally.
    var literalStart = false
    /// The word ended at a `#` without white space before it.
    var cutByComment = false
}

struct SecretsLexer {
    /// pppd's MAXWORDLEN.
    static let maxWordLength = 1024

    private let input: UnsafeRawBufferPointer
    private var position = 0
    private var line = 1

    init(_ input: UnsafeRawBufferPointer) { self.input = input }

    /// The words of the next line that has any, or what is wrong with it; nil at the end of the file.
    mutating func nextLine() -> Result<[SecretsWord], FileIssueOnLine>? {
        var words: [SecretsWord] = []
        while let byte = peek() {
            if byte == .newline {
                advance()
                guard words.isEmpty else { return .success(words) }
            } else if byte == .hash {
                skipComment()
            } else if byte == .backslash, peek(1) == .newline {
                advance()
                advance()
            } else if Self.isSpace(byte) {
                advance()
            } else {
                let start = line
                switch word() {
                case .success(let word): words.append(word)
                case .failure(let message):
                    while let byte = peek(), byte != .newline { advance() }
                    return .failure(FileIssueOnLine(line: start, message: message.text))
                }
            }
        }
        return words.isEmpty ? nil : .success(words)
    }

    struct FileIssueOnLine: Error {
        var line: Int
        var message: String
    }

    private struct Complaint: Error {
        var text: String
    }

    private mutating func word() -> Result<SecretsWord, Complaint> {
        var word = SecretsWord(line: line)
        var quote: UInt8?
        var sawByte = false
        while let byte = peek() {
            var value = byte
            var literal = quote != nil
            if byte == .backslash {
                guard let escaped = escape() else { continue }
                value = escaped
                literal = true
            } else if byte == quote {
                quote = nil
                advance()
                continue
            } else if quote != nil {
                guard byte != .newline else { break }
                advance()
            } else if byte == .doubleQuote || byte == .singleQuote {
                quote = byte
                advance()
                continue
            } else if byte == .hash {
                word.cutByComment = true
                break
            } else if Self.isSpace(byte) {
                break
            } else {
                advance()
            }
            if !sawByte { word.literalStart = literal }
            sawByte = true
            guard value != 0 else { return .failure(Complaint(text: "a word holds a NUL byte")) }
            guard word.bytes.count < Self.maxWordLength else {
                return .failure(Complaint(text: "a word is longer than \(Self.maxWordLength) bytes"))
            }
            word.bytes.append(value)
        }
        guard let open = quote else { return .success(word) }
        return .failure(
            Complaint(text: "a quotation that begins with \(open == .doubleQuote ? "\"" : "'") is not closed on its line"))
    }

    /// What the escape at the cursor stands for; nil for a joined line. A backslash at the very end of the file stands for
    /// nothing.
    private mutating func escape() -> UInt8? {
        advance()
        guard let byte = peek() else { return nil }
        advance()
        switch byte {
        case .newline: return nil
        case UInt8(ascii: "a"): return 7
        case UInt8(ascii: "b"): return 8
        case UInt8(ascii: "f"): return 12
        case UInt8(ascii: "n"): return 10
        case UInt8(ascii: "r"): return 13
        case UInt8(ascii: "s"): return 32
        case UInt8(ascii: "t"): return 9
        case UInt8(ascii: "x"): return number(base: 16, maxDigits: 2, first: nil)
        case UInt8(ascii: "0")...UInt8(ascii: "7"): return number(base: 8, maxDigits: 2, first: byte)
        default: return byte
        }
    }

    /// As in pppd, what does not fit in a byte loses its high bits.
    private mutating func number(base: Int, maxDigits: Int, first: UInt8?) -> UInt8 {
        var value = first.map { Int($0) - 0x30 } ?? 0
        var digits = 0
        while digits < maxDigits, let byte = peek(), let digit = Character(UnicodeScalar(byte)).hexDigitValue, digit < base {
            value = value * base + digit
            digits += 1
            advance()
        }
        return UInt8(truncatingIfNeeded: value)
    }

    private mutating func skipComment() {
        while let byte = peek(), byte != .newline { advance() }
    }

    private func peek(_ distance: Int = 0) -> UInt8? {
        position + distance < input.count ? input[position + distance] : nil
    }

    private mutating func advance() {
        if input[position] == .newline { line += 1 }
        position += 1
    }

    /// isspace(3) in the C locale.
    private static func isSpace(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }
}

extension UInt8 {
    fileprivate static let newline = UInt8(ascii: "\n")
    fileprivate static let hash = UInt8(ascii: "#")
    fileprivate static let backslash = UInt8(ascii: "\\")
    fileprivate static let doubleQuote = UInt8(ascii: "\"")
    fileprivate static let singleQuote = UInt8(ascii: "'")
}
