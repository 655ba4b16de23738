#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// Why a key file was refused, with the command that helps.
public enum KeyFileError: Error, Equatable, CustomStringConvertible {
    case unreadable(path: String, code: Int32)
    case notAFile(path: String)
    case exposed(path: String, mode: UInt32)
    case notAKey(path: String)

    public var description: String {
        switch self {
        case .unreadable(let path, let code): "cannot read key file \(path): \(String(cString: strerror(code)))"
        case .notAFile(let path): "key file \(path) is not a regular file"
        case .exposed(let path, let mode):
            "key file \(path) has mode \(String(mode, radix: 8)): others can read it or its group can change it; run: chmod o=,g-wx \(path)"
        case .notAKey(let path): "key file \(path) must hold one WireGuard key: base64 of 32 bytes, as wg genkey prints it"
        }
    }
}

public enum KeyFile {
    public static func readPrivateKey(_ path: String) throws -> PrivateKey {
        try read(path) { PrivateKey(base64: $0) }
    }

    public static func readPresharedKey(_ path: String) throws -> PresharedKey {
        try read(path) { PresharedKey(base64: $0) }
    }

    /// The mode is checked on the open file, so it cannot be exchanged in between. The group may read: a service's own group often has to.
    private static func read<Key>(_ path: String, _ parse: (String) -> Key?) throws -> Key {
        let file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard file >= 0 else { throw KeyFileError.unreadable(path: path, code: errno) }
        defer { close(file) }
        var status = stat()
        guard fstat(file, &status) == 0 else { throw KeyFileError.unreadable(path: path, code: errno) }
        guard status.st_mode & S_IFMT == S_IFREG else { throw KeyFileError.notAFile(path: path) }
        guard status.st_mode & 0o037 == 0 else { throw KeyFileError.exposed(path: path, mode: status.st_mode & 0o7777) }

        var buffer = [UInt8](repeating: 0, count: 256)
        defer { buffer.withUnsafeMutableBytes { explicit_bzero($0.baseAddress!, $0.count) } }
        let count = readBytes(file, &buffer, buffer.count)
        guard count >= 0 else { throw KeyFileError.unreadable(path: path, code: errno) }
        var line = buffer.prefix(count)
        while let last = line.last, [0x0A, 0x0D, 0x20].contains(last) { line.removeLast() }
        guard let key = parse(String(decoding: line, as: UTF8.self)) else { throw KeyFileError.notAKey(path: path) }
        return key
    }
}

/// read(2), whose name the functions above shadow.
private func readBytes(_ file: Int32, _ buffer: UnsafeMutableRawPointer, _ count: Int) -> Int { read(file, buffer, count) }
