#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// Asks a userspace WireGuard device of this host, as `wg` does. Every call has a limit of five seconds and of what it takes in.
enum UAPIClient {
    private static let patience = 5
    /// A peer is some 300 bytes: more than 200,000 of them.
    private static let longestAnswer = 64 << 20

    /// nil where nobody answers at that name: there is no such device in userspace.
    static func peers(of interfaceName: String, directory: String = UAPIListener.directory) throws -> [PeerStatus]? {
        try InterfaceName.validate(interfaceName)
        let path = "\(directory)/\(interfaceName).sock"
        guard let descriptor = UAPIListener.connected(to: path) else {
            guard errno == ENOENT || errno == ECONNREFUSED || errno == ENOTDIR else { throw failure("connect to \(path)", interfaceName) }
            return nil
        }
        defer { close(descriptor) }
        _ = fcntl(descriptor, F_SETFL, fcntl(descriptor, F_GETFL) & ~O_NONBLOCK)
        var limit = timeval(tv_sec: patience, tv_usec: 0)
        for option in [SO_RCVTIMEO, SO_SNDTIMEO] { setsockopt(descriptor, SOL_SOCKET, option, &limit, socklen_t(MemoryLayout<timeval>.size)) }
        let request = Array("get=1\n\n".utf8)
        guard send(descriptor, request, request.count, Int32(MSG_NOSIGNAL)) == request.count else { throw failure("ask \(path)", interfaceName) }
        var answer: [UInt8] = [], piece = [UInt8](repeating: 0, count: 1 << 16)
        // The answer holds the interface's private key.
        defer {
            answer.wipe()
            piece.wipe()
        }
        let end = ContinuousClock.now.advanced(by: .seconds(patience))
        while !answer.suffix(2).elementsEqual([0x0A, 0x0A]) {
            let count = recv(descriptor, &piece, piece.count, 0)
            if count < 0, errno == EINTR { continue }
            guard count >= 0, ContinuousClock.now < end else { throw failure("read from \(path)", interfaceName) }
            if count == 0 { break }
            guard answer.count + count <= longestAnswer else {
                throw TunnelError.device(interface: interfaceName, reason: "\(path) answers more than \(longestAnswer >> 20) MiB")
            }
            answer.append(contentsOf: piece[..<count])
        }
        do throws(UAPIListingParser.Problem) { return try UAPIListingParser.peers(answer) } catch {
            throw TunnelError.device(interface: interfaceName, reason: "what \(path) answers cannot be read: \(error)")
        }
    }

    private static func failure(_ what: String, _ interfaceName: String) -> TunnelError {
        .device(interface: interfaceName, reason: "cannot \(what): \(String(cString: strerror(errno)))")
    }
}
