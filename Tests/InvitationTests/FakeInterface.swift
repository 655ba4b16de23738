import Foundation
import Glibc

/// A WireGuard interface in user space, as wg(8) finds it: a socket under /var/run/wireguard. It takes one configuration and says yes.
final class FakeInterface: @unchecked Sendable {
    let name = "cwi\(UInt32.random(in: 0...UInt32.max))"
    private let socket: Int32
    private var path: String { "/var/run/wireguard/\(name).sock" }
    // Written by the thread before `done`, read after it.
    private var lines: [String] = []
    private let done = DispatchSemaphore(value: 0)

    init() throws {
        try FileManager.default.createDirectory(atPath: "/var/run/wireguard", withIntermediateDirectories: true)
        socket = Glibc.socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: "/var/run/wireguard/\(name).sock".utf8) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(socket, $0, socklen_t(MemoryLayout<sockaddr_un>.size)) }
        }
        guard bound == 0, listen(socket, 4) == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        let thread = Thread { [self] in serve() }
        thread.start()
    }

    deinit {
        close(socket)
        unlink("/var/run/wireguard/\(name).sock")
    }

    /// What wg has set, once it has; nil: it never did.
    func configuration() -> [String]? { done.wait(timeout: .now() + 10) == .success ? lines : nil }

    private func serve() {
        while true {
            let connection = accept(socket, nil, nil)
            guard connection >= 0 else { return }
            var text = ""
            var buffer = [UInt8](repeating: 0, count: 4096)
            while !text.hasSuffix("\n\n") {
                let count = read(connection, &buffer, buffer.count)
                guard count > 0 else { break }
                text += String(decoding: buffer.prefix(count), as: UTF8.self)
            }
            // wg first looks whether anybody is there, and says nothing.
            if text.hasPrefix("set=1\n") {
                lines = text.split(separator: "\n").map(String.init)
                _ = write(connection, "errno=0\n\n", 9)
                close(connection)
                done.signal()
                return
            }
            close(connection)
        }
    }
}
