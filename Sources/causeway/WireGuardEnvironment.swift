import Addresses
import Foundation
import Logging

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// What a userspace WireGuard device is told by environment variables; the names are those of wireguard-go. One more is between the
/// two processes of ours, when one starts the other in the background.
struct WireGuardEnvironment {
    static let tun = "WG_TUN_FD"
    static let listener = "WG_UAPI_FD"
    private static let foreground = "WG_PROCESS_FOREGROUND"
    private static let readyDescriptor = "CAUSEWAY_READY_FD"
    /// What the process in the background says instead of a complaint.
    private static let readyMark: [UInt8] = [0]

    struct NotADescriptor: Error, CustomStringConvertible {
        let name: String
        let value: String
        var description: String { "\(name)=\(value): this is not the number of an open descriptor" }
    }

    private let variables: [String: String]

    init(_ variables: [String: String]) { self.variables = variables }

    var isForeground: Bool { variables[Self.foreground] == "1" }

    /// Set in the process that was started in the background.
    var ready: Int32? { variables[Self.readyDescriptor].flatMap { Int32($0) } }

    func descriptor(_ name: String) throws -> Int32? {
        guard let value = variables[name], !value.isEmpty else { return nil }
        guard let number = Int32(value), number >= 0, fcntl(number, F_GETFD) >= 0 else { throw NotADescriptor(name: name, value: value) }
        return number
    }

    /// nil: nothing is logged.
    var logLevel: Logger.Level? {
        switch variables["LOG_LEVEL"] {
        case "verbose", "debug": .debug
        case "silent": nil
        default: .error
        }
    }

    func makeLogger() -> Logger {
        guard let level = logLevel else { return Logger(label: "causeway") { _ in SwiftLogNoOpLogHandler() } }
        var logger = Logger(label: "causeway") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = level
        return logger
    }

    // MARK: In the background

    /// A session of its own, no terminal. What it says goes nowhere unless somebody asked for a log.
    func leaveTerminal() {
        setsid()
        _ = chdir("/")
        let null = open("/dev/null", O_RDWR | O_CLOEXEC)
        guard null >= 0 else { return }
        let keepsOutput = variables["LOG_LEVEL"].map { !$0.isEmpty } == true && logLevel != nil
        for standard in keepsOutput ? [STDIN_FILENO] : [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] { dup2(null, standard) }
        close(null)
        if let ready { _ = fcntl(ready, F_SETFD, FD_CLOEXEC) }
    }

    func reportReady() { _ = report(Self.readyMark) }

    /// false: nobody waits for it.
    func report(failure: String) -> Bool { report(Array(failure.utf8)) }

    private func report(_ bytes: [UInt8]) -> Bool {
        guard let ready else { return false }
        let sent = write(ready, bytes, bytes.count) == bytes.count
        close(ready)
        return sent
    }

    /// Runs this program again with the same arguments and descriptors. nil: it has everything and goes on; else what it complains of.
    func startInBackground(_ arguments: [String]) throws -> String? {
        var ends: [Int32] = [-1, -1]
        guard pipe(&ends) == 0 else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        defer { close(ends[0]) }
        _ = fcntl(ends[0], F_SETFD, FD_CLOEXEC)
        var variables = variables
        variables[Self.foreground] = "1"
        variables[Self.readyDescriptor] = "\(ends[1])"
        var id: pid_t = 0
        let code = withCStrings(arguments) { arguments in
            withCStrings(variables.map { "\($0)=\($1)" }) { posix_spawn(&id, "/proc/self/exe", nil, nil, arguments, $0) }
        }
        close(ends[1])
        guard code == 0 else { throw POSIXError(POSIXErrorCode(rawValue: code) ?? .EIO) }
        var answer: [UInt8] = []
        withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
            while true {
                let count = read(ends[0], buffer.baseAddress!, buffer.count)
                if count > 0 { answer += buffer[..<count] } else if count == 0 || errno != EINTR { break }
            }
        }
        if answer == Self.readyMark { return nil }
        var status: Int32 = 0
        waitpid(id, &status, 0)
        return answer.isEmpty ? "the process in the background has ended at once (status \(status))" : String(decoding: answer, as: UTF8.self)
    }
}
