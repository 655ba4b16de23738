import Addresses
import CLinux

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// A program of the administrator's, run once, with a text on its standard input. It has a process group of its own; what is left of
/// that when the program has ended, or when its time is up, is ended with it.
struct HookProgram: Sendable {
    var path: String
    var environment: [String: String]
    var input: String

    enum Ending: Equatable {
        case exited(Int32)
        case signalled(Int32)
        /// Not even SIGKILL did it, which happens to whoever waits for a device or a network file system.
        case stuck
    }

    struct Outcome {
        var ending = Ending.stuck
        var output = HookOutput()
        var wasTooSlow = false
        var wasStopped = false
    }

    /// Starts it and waits for its end. Blocks: it needs a thread of its own.
    /// - Parameters:
    ///   - patience: after that it is ended.
    ///   - grace: between SIGTERM and SIGKILL, and from there to giving up.
    ///   - stop: once this descriptor is readable the program is ended.
    func run(patience: Duration, grace: Duration, stop: CInt) throws(GatewayError) -> Outcome {
        let text = try memoryFile()
        defer { close(text) }
        var pipe: [CInt] = [-1, -1]
        try check(clinux_output_pipe(&pipe), "make a pipe for its output")
        defer { close(pipe[0]) }
        let id = start(text, pipe[1])
        close(pipe[1])
        try check(id, "start it")
        let process = clinux_process_descriptor(id)
        defer { if process >= 0 { close(process) } }
        if process < 0 { _ = reap(id) }
        try check(process, "watch it")
        var outcome = Outcome()
        if wait(for: process, id, pipe[0], &outcome, patience, grace, stop) { outcome.ending = reap(id) }
        _ = drain(pipe[0], into: &outcome.output, atMost: 1 << 20)
        return outcome
    }

    /// false: it is still there.
    private func wait(
        for process: CInt, _ id: pid_t, _ output: CInt, _ outcome: inout Outcome, _ patience: Duration, _ grace: Duration, _ stop: CInt
    ) -> Bool {
        var deadline = ContinuousClock.now + patience
        var signals = [SIGTERM, SIGKILL]
        var isOpen = true
        while true {
            let isEnding = signals.count < 2
            var waiting = [
                pollfd(fd: process, events: Int16(POLLIN), revents: 0),
                pollfd(fd: isOpen ? output : -1, events: Int16(POLLIN), revents: 0),
                pollfd(fd: isEnding ? -1 : stop, events: Int16(POLLIN), revents: 0),
            ]
            let left = max(.zero, deadline - .now)
            guard poll(&waiting, 3, CInt(clamping: Int(left / .milliseconds(1)) + 1)) >= 0 else { continue }
            if waiting[0].revents != 0 { return true }
            if waiting[1].revents != 0 { isOpen = drain(output, into: &outcome.output, atMost: 1 << 16) }
            let isStopped = waiting[2].revents != 0
            guard isStopped || deadline <= .now else { continue }
            if signals.isEmpty { return false }
            if !isEnding { (outcome.wasStopped, outcome.wasTooSlow) = (isStopped, !isStopped) }
            kill(-id, signals.removeFirst())
            deadline = .now + grace
        }
    }

    /// The program has ended; its number, and its group's, are ours until it is waited for.
    private func reap(_ id: pid_t) -> Ending {
        kill(-id, SIGKILL)
        var status: CInt = 0
        while waitpid(id, &status, 0) < 0, errno == EINTR {}
        let signal = status & 0x7F
        return signal == 0 ? .exited(status >> 8 & 0xFF) : .signalled(signal)
    }

    /// false: nothing more can come.
    private func drain(_ output: CInt, into kept: inout HookOutput, atMost limit: Int) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: 16384, alignment: 1) { buffer in
            var taken = 0
            while taken < limit {
                let count = read(output, buffer.baseAddress!, buffer.count)
                if count == 0 { return false }
                if count < 0 { return errno == EAGAIN || errno == EINTR }
                kept.append(buffer[..<count])
                taken += count
            }
            return true
        }
    }

    private func start(_ text: CInt, _ output: CInt) -> pid_t {
        withCStrings([path]) { arguments in
            withCStrings(environment.map { "\($0)=\($1)" }) { clinux_start_program(path, arguments, $0, text, output) }
        }
    }

    /// The whole text is there before the program is, and nobody waits for its reading it.
    private func memoryFile() throws(GatewayError) -> CInt {
        let file = clinux_memory_file("hub-hook")
        try check(file, "hand the text over")
        var input = input
        let error: CInt = input.withUTF8 { text in
            var sent = 0
            while sent < text.count {
                let count = write(file, text.baseAddress! + sent, text.count - sent)
                if count > 0 { sent += count } else if errno != EINTR { return errno }
            }
            return lseek(file, 0, SEEK_SET) < 0 ? errno : 0
        }
        if error != 0 { close(file) }
        try check(-error, "hand the text over")
        return file
    }

    private func check(_ result: CInt, _ what: String) throws(GatewayError) {
        if result < 0 { throw GatewayError("cannot \(what): \(String(cString: strerror(-result)))") }
    }
}
