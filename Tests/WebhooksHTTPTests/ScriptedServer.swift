import Foundation
import Glibc

/// A real HTTP server on the loopback interface that answers each request with the next line of its script, and the last one for ever.
final class ScriptedServer: @unchecked Sendable {
    enum Answer: Sendable {
        case status(Int, headers: [String] = [])
        /// Reads the request and says nothing until the client goes.
        case silence
        /// Closes in the middle of the head.
        case hangUp
        /// A body that never ends.
        case endless
    }

    struct Request: Sendable {
        var head: [String]
        var body: [UInt8]
        func header(_ name: String) -> String? {
            head.first { $0.lowercased().hasPrefix(name.lowercased() + ": ") }.map { String($0.dropFirst(name.count + 2)) }
        }
    }

    let port: UInt16
    private let socket: Int32
    private let lock = NSLock()
    // Under the lock.
    private var script: [Answer]
    private var seen: [Request] = []

    init(_ script: [Answer]) throws {
        let socket = Glibc.socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        var address = sockaddr_in()
        address.sin_family = sa_family_t(AF_INET)
        address.sin_addr.s_addr = in_addr_t(0x7F00_0001).bigEndian
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let isListening = withUnsafeMutablePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { pointer in
                bind(socket, pointer, length) == 0 && listen(socket, 16) == 0 && getsockname(socket, pointer, &length) == 0
            }
        }
        guard isListening else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        self.script = script
        self.socket = socket
        port = UInt16(bigEndian: address.sin_port)
        Thread { [weak self] in
            while true {
                let connection = accept(socket, nil, nil)
                guard connection >= 0 else { return }
                guard let server = self else { return }
                Thread { server.serve(connection) }.start()
            }
        }.start()
    }

    /// No more connections are taken: the port refuses them.
    func stop() { shutdown(socket, Int32(SHUT_RDWR)) }

    deinit {
        stop()
        close(socket)
    }

    var url: String { "http://127.0.0.1:\(port)/hook" }
    var requests: [Request] { lock.withLock { seen } }

    private func serve(_ connection: Int32) {
        defer { close(connection) }
        var bytes: [UInt8] = []
        var buffer = [UInt8](repeating: 0, count: 4096)
        while true {
            let count = read(connection, &buffer, buffer.count)
            guard count > 0 else { return }
            bytes += buffer.prefix(count)
            guard let end = bytes.firstRange(of: [13, 10, 13, 10]) else { continue }
            var request = Request(
                head: String(decoding: bytes[..<end.lowerBound], as: UTF8.self).components(separatedBy: "\r\n"), body: Array(bytes[end.upperBound...]))
            let length = request.header("Content-Length").flatMap { Int($0) } ?? 0
            guard request.body.count >= length else { continue }
            request.body = Array(request.body.prefix(length))
            let answer = lock.withLock {
                seen.append(request)
                return script.count > 1 ? script.removeFirst() : script[0]
            }
            respond(answer, connection)
            return
        }
    }

    private func respond(_ answer: Answer, _ connection: Int32) {
        func send(_ text: String) -> Bool {
            let bytes = Array(text.utf8)
            return Glibc.send(connection, bytes, bytes.count, Int32(MSG_NOSIGNAL)) == bytes.count
        }
        switch answer {
        case .status(let code, let headers):
            _ = send(([("HTTP/1.1 \(code) X")] + headers + ["Content-Length: 2", "Connection: close", "", "ok"]).joined(separator: "\r\n"))
        case .silence:
            var byte: UInt8 = 0
            _ = read(connection, &byte, 1)
        case .hangUp: _ = send("HTTP/1.1 2")
        case .endless:
            guard send("HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n") else { return }
            while send("4000\r\n\(String(repeating: "x", count: 0x4000))\r\n") {}
        }
    }
}
