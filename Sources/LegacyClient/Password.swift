import Authentication

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// A password as the client needs it: only its NT hash is kept, and it never shows in text.
public struct Password: Sendable, CustomStringConvertible {
    let ntHash: Secret

    public init(_ secret: Secret) { ntHash = MSCHAPv2.ntHash(password: secret) }

    public var description: String { "<password>" }

    public struct FileError: Error, CustomStringConvertible, Equatable {
        public let description: String
    }

    private static let longest = 4096

    /// The first line of a file that nobody but its owner and group may read.
    public init(file path: String) throws(FileError) {
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw FileError(description: "\(path): \(String(cString: strerror(errno)))") }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw FileError(description: "\(path): \(String(cString: strerror(errno)))") }
        guard status.st_mode & S_IFMT == S_IFREG else { throw FileError(description: "\(path) is not a file") }
        guard status.st_mode & 0o007 == 0 else {
            throw FileError(description: "\(path) can be used by everybody; run: chmod 600 \(path)")
        }
        var buffer = [UInt8](repeating: 0, count: Self.longest)
        defer { explicit_bzero(&buffer, Self.longest) }
        let count = read(descriptor, &buffer, Self.longest)
        guard count >= 0 else { throw FileError(description: "\(path): \(String(cString: strerror(errno)))") }
        let line = buffer[..<count].prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
        guard !line.isEmpty else { throw FileError(description: "\(path): the password is expected on the first line") }
        guard line.count < Self.longest else { throw FileError(description: "\(path): the first line is too long for a password") }
        self.init(Secret(line))
    }
}
