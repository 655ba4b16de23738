import Foundation

/// A program of the host, run to its end or left running until the room goes. Not Foundation's Process, whose run loop a first process of
/// a namespace does not get.
final class Command {
    let id: pid_t
    private let log: String
    private var exit: Int32?

    private init(_ words: [String], log: String, environment: [String: String]) throws {
        self.log = log
        let variables = ProcessInfo.processInfo.environment.merging(environment) { $1 }
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, log, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)
        var id: pid_t = 0
        let status = withCStrings(words) { words in
            withCStrings(variables.map { "\($0)=\($1)" }) { posix_spawnp(&id, words[0]!, &actions, nil, words, $0) }
        }
        guard status == 0 else { throw BenchError.errno(status, words[0]) }
        self.id = id
    }

    /// Output goes to the file `log`.
    static func start(_ words: [String], log: String, environment: [String: String] = [:]) throws -> Command {
        try Command(words, log: log, environment: environment)
    }

    /// Its output; an error with it if the program fails.
    @discardableResult
    static func run(_ words: [String]) throws -> String {
        let (status, said) = try status(of: words)
        guard status == 0 else { throw BenchError.unavailable("\(words.joined(separator: " ")): \(said.isEmpty ? "exit status \(status)" : said)") }
        return said
    }

    static func status(of words: [String]) throws -> (Int32, String) {
        let log = "\(Room.folder)/command.log"
        defer { unlink(log) }
        let command = try Command(words, log: log, environment: [:])
        command.wait(options: 0)
        return (command.exit ?? -1, command.said.trimmingCharacters(in: .whitespacesAndNewlines))
    }

    private func wait(options: Int32) {
        guard exit == nil else { return }
        var status: Int32 = 0
        var ended: pid_t
        repeat { ended = waitpid(id, &status, options) } while ended < 0 && errno == EINTR
        // 128 and the signal, as a shell has it.
        if ended == id { exit = status & 0x7F == 0 ? status >> 8 & 0xFF : 128 + status & 0x7F }
    }

    var isRunning: Bool {
        wait(options: WNOHANG)
        return exit == nil
    }

    var said: String { (try? String(contentsOfFile: log, encoding: .utf8)) ?? "" }

    /// The last lines of what it said.
    var lastWords: String { said.split(separator: "\n").suffix(6).joined(separator: "\n") }

    func end(within limit: Duration = .seconds(10)) {
        guard isRunning else { return }
        kill(id, SIGTERM)
        let deadline = ContinuousClock.now + limit
        while isRunning, ContinuousClock.now < deadline { usleep(10_000) }
        guard isRunning else { return }
        kill(id, SIGKILL)
        wait(options: 0)
    }
}

/// Until `condition` holds; throws `complaint` after `limit`.
func wait(_ limit: Duration, _ complaint: @autoclosure () -> String, until condition: () throws -> Bool) throws {
    let deadline = ContinuousClock.now + limit
    while try !condition() {
        guard ContinuousClock.now < deadline else { throw BenchError.failed(complaint()) }
        usleep(20_000)
    }
}

/// A NULL-terminated array of C strings for the duration of the call.
func withCStrings<Result>(_ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result) -> Result {
    let copies = strings.map { strdup($0) }
    defer { for copy in copies { free(copy) } }
    return (copies + [nil]).withUnsafeBufferPointer { body($0.baseAddress!) }
}
