import CLoad

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// Namespaces of its own (processes, network, mounts) with a process in them that measures. When that process or the one outside goes,
/// however it goes, the kernel takes away everything that was made in there.
public enum Room {
    private static let variable = "CAUSEWAY_BENCH_LIFELINE"

    /// For files of the run: nobody outside sees them, and they go with the room.
    static let folder = "/run/bench"

    /// In the process inside: true, and from then on its life hangs on the one outside.
    public static func isInside(_ environment: [String: String]) throws -> Bool {
        guard let descriptor = environment[variable].flatMap({ Int32($0) }) else { return false }
        let status = cload_watch_lifeline(descriptor)
        guard status == 0 else { throw BenchError.errno(status, "the line to the process outside") }
        guard mkdir(folder, 0o755) == 0 || errno == EEXIST else { throw BenchError.errno(errno, folder) }
        return true
    }

    /// Runs this program again, inside, with the same arguments; its exit status.
    public static func run(_ arguments: [String], environment: [String: String]) throws -> Int32 {
        var environment = environment
        environment[variable] = "3"
        let status = withCStrings(arguments) { arguments in
            withCStrings(environment.map { "\($0)=\($1)" }) { cload_run_isolated(arguments, $0) }
        }
        guard status >= 0 else { throw BenchError.errno(status, "namespaces of our own (PID, mount, network) cannot be made") }
        return status
    }
}
