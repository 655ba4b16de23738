import CLinux
import Netlink

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// One request and its answer over a device's UAPI socket. The device is local and answers in microseconds; a time-out
/// keeps a stopped one from holding us.
enum UAPISocket {
    private static let timeoutMilliseconds: Int32 = 5000
    /// Millions of peers would fit; more is not a device talking.
    private static let answerLimit = 256 << 20

    /// A listening socket at the interface's place; an abandoned file there is replaced.
    static func listen(_ interface: String) throws -> Int32 {
        let path = DeviceProgram.socketPath(interface)
        var descriptor = clinux_unix_listen(path)
        if descriptor == -EADDRINUSE {
            if let connected = try? connect(interface) {
                close(connected)
                throw TunnelError.device(interface: interface, reason: "\(path) belongs to a running WireGuard device")
            }
            unlink(path)
            descriptor = clinux_unix_listen(path)
        }
        guard descriptor >= 0 else {
            throw TunnelError.device(
                interface: interface, reason: "cannot listen on \(path): \(String(cString: strerror(-descriptor)))")
        }
        return descriptor
    }

    static func connect(_ interface: String) throws -> Int32 {
        let path = DeviceProgram.socketPath(interface)
        let descriptor = clinux_unix_connect(path, timeoutMilliseconds)
        guard descriptor >= 0 else {
            throw TunnelError.device(
                interface: interface, reason: "cannot connect to \(path): \(String(cString: strerror(-descriptor)))")
        }
        return descriptor
    }

    /// The whole answer, up to and with its empty line; it may hold keys, so the caller wipes it.
    static func exchange(_ interface: String, _ request: [UInt8]) throws -> [UInt8] {
        let descriptor = try connect(interface)
        defer { close(descriptor) }
        func fail(_ what: String) -> TunnelError {
            .device(interface: interface, reason: "the device does not \(what): \(String(cString: strerror(errno)))")
        }
        var sent = 0
        while sent < request.count {
            let count = request.withUnsafeBytes { send(descriptor, $0.baseAddress! + sent, $0.count - sent, Int32(MSG_NOSIGNAL)) }
            if count < 0, errno == EINTR { continue }
            guard count > 0 else { throw fail("take the request") }
            sent += count
        }
        var answer: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65536)
        defer { chunk.wipe() }
        while answer.suffix(2) != [0x0A, 0x0A] {
            let count = recv(descriptor, &chunk, chunk.count, 0)
            if count < 0, errno == EINTR { continue }
            if count == 0 { errno = ECONNRESET }
            guard count > 0, answer.count + count <= answerLimit else {
                answer.wipe()
                throw fail("answer")
            }
            answer += chunk.prefix(count)
        }
        return answer
    }
}
