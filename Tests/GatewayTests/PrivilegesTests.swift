import Addresses
import Foundation
import Testing

@testable import Gateway
@testable import Settings

@Suite struct PrivilegesTests {
    /// sd_listen_fds(3): sockets from 3 on, for the process whose number is in LISTEN_PID. The checks run in this program started
    /// again, because descriptors 3 and 4 of this one belong to others.
    @Test(.enabled(if: GatewayStage.adoptedPorts == nil), .timeLimit(.minutes(1))) func socketsAreAdopted() throws {
        let first = try ListeningSocket("127.0.0.1"), second = try ListeningSocket("127.0.0.1")
        let program = try GatewayStage.again(filter: "AdoptedSockets")
        let (code, output) = try spawn(
            ["/bin/sh", "-c", "LISTEN_PID=$$ LISTEN_FDS=2 CAUSEWAY_ADOPTED=\(first.port),\(second.port) exec \"$@\"", "sh"] + program,
            descriptors: [first.descriptor, second.descriptor])
        #expect(code == 0, "\(output)")
        #expect(output.contains("theSocketsOfThisProcess"), "\(output)")
    }

    @Test(.enabled(if: GatewayStage.adoptedPorts == nil), .timeLimit(.minutes(1))) func socketsOfAnotherProcessAreNot() throws {
        let socket = try ListeningSocket("127.0.0.1")
        let program = try GatewayStage.again(filter: "AdoptedSockets")
        let (code, output) = try spawn(
            ["/bin/sh", "-c", "LISTEN_PID=1 LISTEN_FDS=1 CAUSEWAY_ADOPTED=none exec \"$@\"", "sh"] + program, descriptors: [socket.descriptor])
        #expect(code == 0, "\(output)")
        #expect(output.contains("theSocketsOfThisProcess"), "\(output)")
    }

    @Test func theControlSocketsDirectory() {
        for (path, directory) in [
            ("/run/causeway/causeway.sock", "/run/causeway"), ("/causeway.sock", "/"), ("/a/b/c/d.sock", "/a/b/c"),
        ] {
            var configuration = CausewayConfiguration()
            configuration.controlSocket = path
            #expect(configuration.runtimeDirectory == directory)
        }
    }

    /// Nothing to give up: it returns, and the process is still itself.
    @Test func rootIsKeptWhereTheConfigurationWantsIt() throws {
        var configuration = CausewayConfiguration()
        configuration.user = "root"
        try Privileges.drop(configuration)
    }

    @Test(.enabled(if: geteuid() == 0)) func aUserThatDoesNotExist() throws {
        var configuration = CausewayConfiguration()
        configuration.user = "nosuchuserhere"
        do {
            try Privileges.drop(configuration)
            Issue.record("it became a user that does not exist")
        } catch {
            #expect("\(error)".contains("user \"nosuchuserhere\" does not exist; create it: useradd "))
        }
    }

    @Test func listeningErrorsSayWhatToDo() {
        let listener = CausewayConfiguration.Listener(address: IPAddress("192.0.2.1")!, port: 1723, tunnel: "hub", pool: "users")
        for (code, words) in [
            (EADDRINUSE, "another program does (see: ss -ltnp"), (EADDRNOTAVAIL, "this host has no such address (see: ip address)"),
            (EACCES, "start the gateway as root"), (ENOBUFS, "No buffer space"),
        ] {
            let text = PPTPListener.explain(errno: code, listener)
            #expect(text.hasPrefix("cannot listen on TCP 192.0.2.1:1723: "))
            #expect(text.contains(words), "\(text)")
        }
    }
}

/// What the program that `PrivilegesTests` starts again finds.
@Suite(.enabled(if: GatewayStage.adoptedPorts != nil)) struct AdoptedSockets {
    @Test func theSocketsOfThisProcess() throws {
        let ports = try #require(GatewayStage.adoptedPorts)
        let found = Privileges.adoptedSockets()
        let expected = ports.enumerated().map { (Endpoint(IPAddress("127.0.0.1")!, $1), CInt(3 + $0)) }
        #expect(found == Dictionary(uniqueKeysWithValues: expected))
        for descriptor in found.values { #expect(fcntl(descriptor, F_GETFD) == FD_CLOEXEC) }
        // Once: a program that this one starts must not take them for its own.
        #expect((getenv("LISTEN_FDS") == nil) == !ports.isEmpty)
        #expect(Privileges.adoptedSockets().isEmpty)
    }
}

private final class ListeningSocket {
    let descriptor: CInt
    let port: UInt16

    init(_ address: String) throws {
        descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue), 0)
        var native = sockaddr_in()
        native.sin_family = sa_family_t(AF_INET)
        native.sin_addr.s_addr = inet_addr(address)
        var length = socklen_t(MemoryLayout<sockaddr_in>.size)
        let descriptor = descriptor
        let result = withUnsafeMutablePointer(to: &native) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                bind(descriptor, $0, length) == 0 && listen(descriptor, 1) == 0 && getsockname(descriptor, $0, &length) == 0
            }
        }
        guard result else { throw POSIXError(POSIXErrorCode(rawValue: errno) ?? .EIO) }
        port = UInt16(bigEndian: native.sin_port)
    }

    deinit { close(descriptor) }
}

/// Runs a program whose descriptors 3, 4, … are the given ones; Foundation's Process cannot hand any over.
private func spawn(_ command: [String], descriptors: [CInt]) throws -> (code: Int32, output: String) {
    let pipe = Pipe()
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    defer { posix_spawn_file_actions_destroy(&actions) }
    let output = pipe.fileHandleForWriting.fileDescriptor
    posix_spawn_file_actions_adddup2(&actions, output, 1)
    posix_spawn_file_actions_adddup2(&actions, output, 2)
    // First out of the way, so that none is overwritten before its turn.
    for (index, descriptor) in descriptors.enumerated() { posix_spawn_file_actions_adddup2(&actions, descriptor, 900 + CInt(index)) }
    for index in descriptors.indices {
        posix_spawn_file_actions_adddup2(&actions, 900 + CInt(index), 3 + CInt(index))
        posix_spawn_file_actions_addclose(&actions, 900 + CInt(index))
    }
    var arguments: [UnsafeMutablePointer<CChar>?] = (["timeout", "--kill-after=5", "40"] + command).map { strdup($0) } + [nil]
    defer { for argument in arguments { free(argument) } }
    var child: pid_t = 0
    let failed = posix_spawnp(&child, "timeout", &actions, nil, &arguments, environ)
    guard failed == 0 else { throw POSIXError(POSIXErrorCode(rawValue: failed) ?? .EIO) }
    try pipe.fileHandleForWriting.close()
    let text = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    var status: CInt = 0
    while waitpid(child, &status, 0) < 0, errno == EINTR {}
    return (status & 0x7F == 0 ? (status >> 8) & 0xFF : -1, text)
}
