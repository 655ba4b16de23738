#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// sd_notify(3): tells systemd how the service stands. Does nothing outside of it (NOTIFY_SOCKET unset).
public struct ServiceNotification: Sendable {
    private let path: String?

    public init() { path = getenv("NOTIFY_SOCKET").map { String(cString: $0) } }

    public func ready(_ status: String) { send("READY=1\nSTATUS=\(status)") }
    public func reloading() {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        send("RELOADING=1\nMONOTONIC_USEC=\(time.tv_sec * 1_000_000 + time.tv_nsec / 1000)")
    }
    public func stopping() { send("STOPPING=1\nSTATUS=Clearing calls") }

    private func send(_ text: String) {
        guard let path, path.utf8.count < 108, !path.isEmpty else { return }
        let descriptor = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { bytes in
            bytes.copyBytes(from: path.utf8)
            // "@name" is the abstract namespace: its first byte is zero.
            if path.hasPrefix("@") { bytes[0] = 0 }
        }
        let length = socklen_t(MemoryLayout<sa_family_t>.size + path.utf8.count)
        withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { target in
                _ = sendto(descriptor, text, text.utf8.count, Int32(MSG_NOSIGNAL), target, length)
            }
        }
    }
}
