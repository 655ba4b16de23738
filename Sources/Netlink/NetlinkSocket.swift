import CMnl

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// A netlink socket for requests that are answered at once. It belongs to the network namespace of the thread that
/// opened it. Synchronous, with a time-out; one user at a time.
public final class NetlinkSocket {
    public enum Family: Int32, Sendable {
        case route = 0
        case generic = 16
    }

    private let handle: OpaquePointer
    private let buffer: UnsafeMutableRawBufferPointer
    private var sequence: UInt32
    private let port: UInt32
    /// The numbers of generic netlink families, by name; the kernel gives them out at boot or when a module is loaded.
    var families: [String: UInt16] = [:]

    /// Dumps that the kernel marks as inconsistent (NLM_F_DUMP_INTR) are repeated this many times.
    private static let dumpAttempts = 8

    public init(_ family: Family, timeout: Duration = .seconds(5)) throws {
        let operation = "open a netlink socket"
        guard let handle = mnl_socket_open2(family.rawValue, Int32(SOCK_CLOEXEC.rawValue)) else {
            throw NetlinkError(operation: operation, code: errno)
        }
        guard mnl_socket_bind(handle, 0, 0) == 0 else {
            let code = errno
            mnl_socket_close(handle)
            throw NetlinkError(operation: operation, code: code)
        }
        self.handle = handle
        port = mnl_socket_get_portid(handle)
        // Dumps are filled up to 32 KiB a datagram when the reader's buffer allows it.
        buffer = .allocate(byteCount: max(cmnl_socket_buffer_size(), 65536), alignment: 8)
        sequence = UInt32.random(in: 1...UInt32.max / 2)

        let descriptor = mnl_socket_get_fd(handle)
        let parts = timeout.components
        var limit = timeval(tv_sec: Int(parts.seconds), tv_usec: Int(parts.attoseconds / 1_000_000_000_000))
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, socklen_t(MemoryLayout<timeval>.size))
        var receiveBuffer: Int32 = 1 << 20
        setsockopt(descriptor, SOL_SOCKET, SO_RCVBUF, &receiveBuffer, socklen_t(MemoryLayout<Int32>.size))
        // Both are refinements that old kernels lack: without them errors have no text and dumps are filtered by us alone.
        var on: Int32 = 1
        mnl_socket_setsockopt(handle, Self.extendedAcknowledge, &on, socklen_t(MemoryLayout<Int32>.size))
        mnl_socket_setsockopt(handle, Self.strictChecking, &on, socklen_t(MemoryLayout<Int32>.size))
    }

    private static let extendedAcknowledge: Int32 = 11
    private static let strictChecking: Int32 = 12

    deinit {
        explicit_bzero(buffer.baseAddress!, buffer.count)
        buffer.deallocate()
        mnl_socket_close(handle)
    }

    /// Sends a request and waits for the acknowledgement.
    public func perform(_ request: NetlinkRequest) throws {
        _ = try exchange(request, extraFlags: NetlinkFlags.acknowledge)
    }

    /// Sends a request that is answered by one message.
    public func get(_ request: NetlinkRequest) throws -> NetlinkMessage {
        guard let answer = try exchange(request, extraFlags: NetlinkFlags.acknowledge).first else {
            throw NetlinkError(operation: request.operation, code: ENODATA)
        }
        return answer
    }

    /// Reads a whole table; repeated when it changed under the reader.
    public func dump(_ request: NetlinkRequest) throws -> [NetlinkMessage] {
        for _ in 1...Self.dumpAttempts {
            let messages = try exchange(request, extraFlags: NetlinkFlags.dump)
            guard messages.contains(where: { $0.flags & NetlinkFlags.dumpInterrupted != 0 }) else { return messages }
        }
        throw NetlinkError(operation: request.operation, code: EAGAIN, message: "the table kept changing while it was read")
    }

    /// Everything up to the acknowledgement or NLMSG_DONE.
    private func exchange(_ request: NetlinkRequest, extraFlags: UInt16) throws -> [NetlinkMessage] {
        sequence &+= 1
        var bytes = request.encoded(sequence: sequence, port: 0, extraFlags: extraFlags)
        defer { bytes.wipe() }
        let sent = bytes.withUnsafeBytes { mnl_socket_sendto(handle, $0.baseAddress!, $0.count) }
        guard sent == bytes.count else { throw NetlinkError(operation: request.operation, code: errno) }

        var answers: [NetlinkMessage] = []
        while true {
            for message in try NetlinkMessage.parse(try receive(request.operation)) {
                // Left over from an exchange that timed out.
                guard message.sequence == sequence, message.port == port || message.port == 0 else { continue }
                switch message.type {
                case NetlinkControl.noop: continue
                case NetlinkControl.overrun: throw NetlinkError(operation: request.operation, code: EOVERFLOW)
                case NetlinkControl.error, NetlinkControl.done:
                    let acknowledgement = try Acknowledgement(message)
                    guard acknowledgement.code == 0 else {
                        throw NetlinkError(
                            operation: request.operation, code: acknowledgement.code, message: acknowledgement.message)
                    }
                    if message.type == NetlinkControl.done, message.flags & NetlinkFlags.dumpInterrupted != 0 {
                        answers.append(message)
                    }
                    return answers
                default: answers.append(message)
                }
            }
        }
    }

    private func receive(_ operation: String) throws -> [UInt8] {
        while true {
            let count = mnl_socket_recvfrom(handle, buffer.baseAddress!, buffer.count)
            if count >= 0 { return Array(buffer.prefix(count)) }
            switch errno {
            case EINTR: continue
            case EAGAIN: throw NetlinkError(operation: operation, code: ETIMEDOUT, message: "the kernel did not answer")
            default: throw NetlinkError(operation: operation, code: errno)
            }
        }
    }
}
