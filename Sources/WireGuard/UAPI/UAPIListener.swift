#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// The socket file of an interface at the place where `wg` and others look for it, open for connections.
///
/// The directory has mode 0700 and the file 0600: whoever connects may read the private key.
public final class UAPIListener: Sendable {
    public static let directory = "/var/run/wireguard"
    public static func path(_ interfaceName: String) -> String { "\(directory)/\(interfaceName).sock" }

    public let interfaceName: String
    public let path: String
    let descriptor: Int32
    /// Device and inode of the file that is ours; another one may have taken its place.
    private let identity: (dev_t, ino_t)?

    /// A file that nobody answers is replaced; one that is answered is not.
    public convenience init(interfaceName: String) throws {
        try self.init(interfaceName: interfaceName, directory: Self.directory)
    }

    init(interfaceName: String, directory: String) throws {
        self.interfaceName = interfaceName
        path = "\(directory)/\(interfaceName).sock"
        try InterfaceName.validate(interfaceName)
        if mkdir(directory, 0o700) != 0, errno != EEXIST { throw Self.failure("create \(directory)", interfaceName) }
        var descriptor = Self.listen(path)
        if descriptor < 0, errno == EADDRINUSE {
            guard !Self.isAnswered(path) else {
                throw TunnelError.device(interface: interfaceName, reason: "\(path) belongs to a running WireGuard device")
            }
            unlink(path)
            descriptor = Self.listen(path)
        }
        guard descriptor >= 0 else { throw Self.failure("listen on \(path)", interfaceName) }
        self.descriptor = descriptor
        identity = Self.fileIdentity(path)
    }

    /// Takes over a descriptor that listens already.
    public init(interfaceName: String, adopting descriptor: Int32) throws {
        var listens: Int32 = 0
        var length = socklen_t(MemoryLayout<Int32>.size)
        guard getsockopt(descriptor, SOL_SOCKET, SO_ACCEPTCONN, &listens, &length) == 0 else {
            throw Self.failure("use descriptor \(descriptor) as the UAPI socket", interfaceName)
        }
        // wireguard-go's parent binds and leaves listen(2) to the child.
        guard listens == 1 || Glibc.listen(descriptor, Self.backlog) == 0 else {
            throw Self.failure("listen on descriptor \(descriptor)", interfaceName)
        }
        _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) | O_NONBLOCK)
        self.interfaceName = interfaceName
        path = Self.path(interfaceName)
        self.descriptor = descriptor
        identity = Self.fileIdentity(path)
    }

    deinit { close(descriptor) }

    /// Whether the file is still the one that was made.
    var isInPlace: Bool {
        guard let identity, let present = Self.fileIdentity(path) else { return false }
        return identity == present
    }

    /// Removes the file, unless it is somebody else's by now.
    public func remove() { if isInPlace { unlink(path) } }

    /// Removes the socket of an interface if nobody answers it any more.
    public static func clearLeftover(_ interfaceName: String) { clearLeftover(interfaceName, directory: directory) }

    static func clearLeftover(_ interfaceName: String, directory: String) {
        let path = "\(directory)/\(interfaceName).sock"
        var status = stat()
        guard lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFSOCK, !isAnswered(path), errno == ECONNREFUSED else { return }
        unlink(path)
    }

    private static let backlog: Int32 = 16

    private static func failure(_ what: String, _ interfaceName: String) -> TunnelError {
        .device(interface: interfaceName, reason: "cannot \(what): \(String(cString: strerror(errno)))")
    }

    private static func fileIdentity(_ path: String) -> (dev_t, ino_t)? {
        var status = stat()
        return lstat(path, &status) == 0 ? (status.st_dev, status.st_ino) : nil
    }

    private static func withSocket(_ path: String, _ body: (Int32, UnsafePointer<sockaddr>, socklen_t) -> Bool) -> Int32 {
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        guard path.utf8.count < MemoryLayout.size(ofValue: address.sun_path) else {
            errno = ENAMETOOLONG
            return -1
        }
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: path.utf8) }
        let kind = Int32(SOCK_STREAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue) | Int32(SOCK_NONBLOCK.rawValue)
        let descriptor = socket(AF_UNIX, kind, 0)
        guard descriptor >= 0 else { return -1 }
        let done = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                body(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        if done { return descriptor }
        let code = errno
        close(descriptor)
        errno = code
        return -1
    }

    /// A non-blocking descriptor, or -1 and errno.
    private static func listen(_ path: String) -> Int32 {
        // Whoever finds the file must find somebody who listens: `wg` takes a refusal for the leftover of a dead process, and removes it.
        let unready = "\(path).\(getpid())"
        unlink(unready)
        // bind(2) creates the file with the mode of the socket's inode: set before, nobody else can connect in between.
        let descriptor = withSocket(unready) { fchmod($0, 0o600) == 0 && bind($0, $1, $2) == 0 && Glibc.listen($0, backlog) == 0 }
        guard descriptor >= 0 else { return -1 }
        let code = link(unready, path) == 0 ? 0 : errno
        unlink(unready)
        if code == 0 { return descriptor }
        close(descriptor)
        errno = code == EEXIST ? EADDRINUSE : code
        return -1
    }

    private static func isAnswered(_ path: String) -> Bool {
        let descriptor = withSocket(path) { connect($0, $1, $2) == 0 || errno == EAGAIN }
        if descriptor >= 0 { close(descriptor) }
        return descriptor >= 0
    }

    /// A non-blocking descriptor, or nil and errno.
    static func connected(to path: String) -> Int32? {
        let descriptor = withSocket(path) { connect($0, $1, $2) == 0 }
        return descriptor >= 0 ? descriptor : nil
    }
}
