import Foundation
import Testing

/// The tests below open raw sockets and make interfaces. They run in a network namespace that holds nothing else: the test
/// `theGatewayInANamespace` starts this very program again in one, with CAUSEWAY_GATEWAY_NETNS=1.
@Suite(.serialized, .enabled(if: GatewayStage.isPrivate)) struct GatewayNamespace {}

/// Where this program runs, and how it runs itself again.
enum GatewayStage {
    static let environment = ProcessInfo.processInfo.environment
    static var isPrivate: Bool { environment["CAUSEWAY_GATEWAY_NETNS"] == "1" }

    /// Of the sockets that this program should have been given; nil: it was not started for that.
    static let adoptedPorts = environment["CAUSEWAY_ADOPTED"].map { $0.split(separator: ",").compactMap { UInt16($0) } }

    /// This program with only the tests that match.
    static func again(filter: String) throws -> [String] {
        // swift test runs the bundle directly, which knows these options.
        let program = try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
        let bundle = CommandLine.arguments.dropFirst().prefix { $0 != "--testing-library" && $0 != "--filter" }.filter {
            $0.hasSuffix(".xctest") || $0 == "--test-bundle-path"
        }
        return [program] + bundle + ["--testing-library", "swift-testing", "--filter", filter]
    }
}

@Test(.enabled(if: getuid() == 0 && !GatewayStage.isPrivate, "namespaces need root"), .timeLimit(.minutes(4)))
func theGatewayInANamespace() async throws {
    // With a /proc of its own: libdispatch looks its threads up there and traps where it finds none.
    let setUp = "set -e; ip link set lo up; export CAUSEWAY_GATEWAY_NETNS=1; exec \"$@\""
    let arguments =
        ["timeout", "--kill-after=5", "200", "unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", setUp, "sh"]
        + (try GatewayStage.again(filter: "GatewayNamespace"))
    let (status, output) = try await onAThread {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = arguments
        process.standardInput = FileHandle.nullDevice
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        return (process.terminationStatus, output)
    }
    #expect(status == 0, "\(output)")
    // A filter that matches nothing would succeed as well.
    #expect(output.contains("SessionControllerTests"), "\(output)")
}

/// The pool that tests run on has as few threads as the machine has processors: who blocks one for long holds up all others.
func onAThread<Result: Sendable>(_ body: @escaping @Sendable () throws -> Result) async throws -> Result {
    try await withCheckedThrowingContinuation { done in
        Thread.detachNewThread { done.resume(with: Swift.Result { try body() }) }
    }
}
