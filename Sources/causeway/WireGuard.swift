import ArgumentParser
import CLinux
import DataPath
import Foundation
import Logging
import StandaloneWireGuard
import WireGuard

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

struct WireGuardCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "wireguard",
        abstract: "Run one WireGuard interface without a gateway, in place of wireguard-go.",
        discussion: """
            Makes the TUN interface with this name and is WireGuard for it, as `ip link add NAME type wireguard` would be in the kernel. \
            The interface is configured with wg(8), ip(8) and wg-quick(8). Without --foreground the command returns once the interface \
            and its socket are there and leaves a process behind, which ends when the interface is deleted, when its socket is removed, \
            or by SIGTERM or SIGINT; then nothing is left of it. The encrypted packets stay in the network namespace in which it was \
            started, wherever the interface is moved.

            A link to this program called causeway-wireguard or wireguard-go is this command; wg-quick takes one word for a program.

            ENVIRONMENT
              LOG_LEVEL                 verbose, error (the default) or silent; a process
                                        in the background logs only if it is set
              CAUSEWAY_ISA              scalar, avx2 or avx512: at most these instructions;
                                        by default the best that the processor has
              WG_PROCESS_FOREGROUND=1   the same as --foreground
              WG_TUN_FD                 number of a descriptor: a queue of an open TUN,
                                        used instead of a new one; it has one worker
              WG_UAPI_FD                number of a descriptor: a Unix socket that is
                                        bound to the file below

            FILES
              /var/run/wireguard/NAME.sock   what wg(8) talks to; whoever can connect to
                                             it can read the private key

            EXIT STATUS
              0   the interface is there; with --foreground: it has ended as it should
              69  it cannot be made, or it has failed (EX_UNAVAILABLE)
              78  CAUSEWAY_ISA is wrong (EX_CONFIG)

            EXAMPLES
              causeway wireguard wg0 && wg setconf wg0 /etc/wireguard/wg0.conf && ip link set wg0 up
              ln -s causeway /usr/local/bin/causeway-wireguard
              WG_QUICK_USERSPACE_IMPLEMENTATION=causeway-wireguard wg-quick up wg0
            """)

    @Flag(name: [.customShort("f"), .long], help: "Stay in the foreground; log lines go to standard error.")
    var foreground = false

    @Option(name: .long, help: ArgumentHelp("Threads that carry packets, 1 to 64. (default: one for each processor, at most 4)", valueName: "count"))
    var workers: Int?

    @Argument(help: ArgumentHelp("The interface to make, 1 to 15 characters.", valueName: "name"))
    var interface: String

    func validate() throws {
        do { try InterfaceName.validate(interface) } catch { throw ValidationError("\(error)") }
        guard (1...64).contains(workers ?? 1) else { throw ValidationError("--workers is 1 to 64.") }
    }

    /// What a program is that is called by this name.
    static func arguments(of commandLine: [String]) -> [String] {
        let name = commandLine.first.map { $0.split(separator: "/").last.map(String.init) ?? "" }
        let rest = Array(commandLine.dropFirst())
        return ["causeway-wireguard", "wireguard-go"].contains(name) ? ["wireguard"] + rest : rest
    }

    func run() throws {
        try checkInstructions()
        let environment = WireGuardEnvironment(ProcessInfo.processInfo.environment)
        guard foreground || environment.isForeground else { return try detach(environment) }
        signal(SIGPIPE, SIG_IGN)
        if environment.ready != nil { environment.leaveTerminal() }
        do {
            let end = try serve(environment)
            if case .failed = end { throw ExitCode.unavailable }
        } catch let error as ExitCode {
            throw error
        } catch {
            if !environment.report(failure: "\(error)") { printError("\(error)") }
            throw ExitCode.unavailable
        }
    }

    private func serve(_ environment: WireGuardEnvironment) throws -> StandaloneDevice.End {
        umask(0o077)
        let end = clinux_end_descriptor()
        guard end >= 0 else { throw POSIXError(POSIXErrorCode(rawValue: -end) ?? .EIO) }
        _ = clinux_raise_descriptor_limit()
        let logger = environment.makeLogger()
        let unprotected = clinux_protect_memory()
        if unprotected != 0 { logger.error("keys in memory are not locked: \(String(cString: strerror(-unprotected)))") }
        var configuration = StandaloneDevice.Configuration(
            interfaceName: interface, workers: workers ?? min(4, ProcessInfo.processInfo.activeProcessorCount))
        configuration.tun = try environment.descriptor(WireGuardEnvironment.tun)
        configuration.listener = try environment.descriptor(WireGuardEnvironment.listener)
        var device = try StandaloneDevice(configuration, logger: logger)
        logger.debug("\(device.interfaceName) is ready; ChaCha20-Poly1305: \(InstructionSet.cipherKernels)")
        environment.reportReady()
        let reason = device.run(until: end)
        if case .failed = reason { logger.error("ending: \(reason)") } else { logger.debug("ending: \(reason)") }
        device.end()
        return reason
    }

    /// Starts this program once more, in the background, and waits until it has everything or says why not.
    private func detach(_ environment: WireGuardEnvironment) throws {
        do {
            if let failure = try environment.startInBackground(CommandLine.arguments) {
                printError(failure)
                throw ExitCode.unavailable
            }
        } catch let error as POSIXError {
            printError("cannot start in the background: \(String(cString: strerror(error.code.rawValue)))")
            throw ExitCode.unavailable
        }
    }
}
