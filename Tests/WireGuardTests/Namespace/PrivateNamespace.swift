import Foundation
import Testing

/// The tests below make interfaces, rules and routes for real. They run in a network namespace that holds nothing else: the
/// test `inAPrivateNamespace` starts this very program again in one (also with its own mounts of /run and its own process
/// numbers, so that whatever a failed test leaves ends with it). In a guest they run directly, with CAUSEWAY_PRIVATE_NETNS=1.
@Suite(.serialized, .enabled(if: Stage.isPrivate)) struct PrivateNamespace {}

/// Where this program runs.
enum Stage {
    static let environment = ProcessInfo.processInfo.environment
    static var isPrivate: Bool { environment["CAUSEWAY_PRIVATE_NETNS"] == "1" }
    static var isUnprivileged: Bool { environment["CAUSEWAY_UNPRIVILEGED"] == "1" }
    /// Set where the kernel is known to have WireGuard, so that its absence is a failure.
    static var expectsKernelWireGuard: Bool { environment["CAUSEWAY_KERNEL_WIREGUARD"] == "1" }

    /// Runs this program again behind `prefix`, with only the tests that match.
    static func again(_ prefix: [String], filter: String, seconds: Int) throws -> (code: Int32, output: String) {
        // swift test runs the bundle directly, which knows these options.
        let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        var arguments = CommandLine.arguments.dropFirst().prefix { $0 != "--testing-library" && $0 != "--filter" }.filter {
            $0.hasSuffix(".xctest") || $0 == "--test-bundle-path"
        }
        arguments += ["--testing-library", "swift-testing", "--filter", filter]
        return try run(["timeout", "--kill-after=5", "\(seconds)"] + prefix + [program] + arguments)
    }
}

@Test(.enabled(if: getuid() == 0 && !Stage.isPrivate, "namespaces need root"))
func inAPrivateNamespace() async throws {
    let setUp = """
        set -e; mount -t tmpfs tmpfs /run; mkdir -m 755 /run/netns /run/wireguard; ip link set lo up
        # Open to all users, as udev makes it; without udev it often is not.
        mknod -m 666 /run/tun c 10 200; mount --bind /run/tun /dev/net/tun
        export CAUSEWAY_PRIVATE_NETNS=1; exec "$@"
        """
    let (code, output) = try await onAThread {
        try Stage.again(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", setUp, "sh"],
            filter: "PrivateNamespace", seconds: 180)
    }
    #expect(code == 0, "\(output)")
    // A filter that matches nothing would succeed as well.
    #expect(output.contains("PolicyRoutingKernelTests"), "\(output)")
}

/// The pool that tests run on has as few threads as the machine has processors: who blocks one for long holds up all others.
func onAThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { done in
        Thread.detachNewThread { done.resume(with: Swift.Result { try body() }) }
    }
}

struct CommandFailed: Error, CustomStringConvertible {
    var description: String
}

/// The exit code and everything that was printed.
func run(_ command: [String]) throws -> (code: Int32, output: String) {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = command
    process.standardInput = FileHandle.nullDevice
    let pipe = Pipe()
    process.standardOutput = pipe
    process.standardError = pipe
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return (process.terminationStatus, output)
}

/// A command of the tests' own stage setting; it must succeed.
@discardableResult func sh(_ command: String) throws -> String {
    let (code, output) = try run(["timeout", "20", "sh", "-c", command])
    guard code == 0 else { throw CommandFailed(description: "\(command): exit code \(code): \(output)") }
    return output
}
