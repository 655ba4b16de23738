import ArgumentParser
import CLinux
import Gateway
import Settings

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

struct Serve: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Run the gateway.",
        discussion: """
            Answers PPTP clients on the configured addresses and carries their traffic inside WireGuard until it is told to stop. It stays \
            in the foreground; log lines go to standard error. Started as root it opens its listening sockets, then becomes the \
            configured user with CAP_NET_ADMIN and CAP_NET_RAW only.

            SIGNALS
              SIGHUP            read the configuration again; sessions stay
              SIGTERM, SIGINT   clear every call in order, remove everything that was made, exit

            FILES
              /etc/causeway/causeway.toml    the configuration, and the files that it names
              /var/lib/causeway              keys and addresses of users' identities; only in the
                                             modes "group" and "per-user" (state-directory)
              /run/causeway/causeway.sock    what the other commands talk to (control.socket)
              /var/run/wireguard/NAME.sock   what wg(8) talks to: a tunnel of the embedded
                                             engine, one of its identities, the access listener

            ENVIRONMENT
              CAUSEWAY_ISA      scalar, avx2 or avx512: at most these instructions for MPPE and
                                ChaCha20-Poly1305; by default the best that the processor has
              NOTIFY_SOCKET, LISTEN_FDS, LISTEN_PID
                                set by systemd (sd_notify(3), sd_listen_fds(3))

            EXIT STATUS
              0   stopped by a signal
              69  something it needs is missing: an address, a port, a device, a tunnel
                  (EX_UNAVAILABLE)
              77  permission denied (EX_NOPERM)
              78  the configuration is wrong, or CAUSEWAY_ISA is (EX_CONFIG)

            EXAMPLES
              causeway check --config /etc/causeway/causeway.toml
              sudo causeway serve --config /etc/causeway/causeway.toml
            """)

    @OptionGroup var file: ConfigurationOption

    func run() async throws {
        umask(0o077)
        clinux_tame_malloc()
        // A reader of our log that goes away, or a reload that comes too early, must not end the gateway.
        signal(SIGPIPE, SIG_IGN)
        signal(SIGHUP, SIG_IGN)
        _ = clinux_raise_descriptor_limit()
        try checkInstructions()
        let configuration = try file.load()
        do {
            try Privileges.drop(configuration)
        } catch {
            printError("\(error)")
            throw ExitCode.unavailable
        }
        guard clinux_has_capabilities() == 1 else {
            printError(
                "the gateway needs CAP_NET_ADMIN and CAP_NET_RAW: start it as root (it gives up the rest by itself), or as a service with AmbientCapabilities"
            )
            throw ExitCode.noPermission
        }
        let threshold = LogThreshold(configuration)
        let logger = configuration.makeLogger(threshold)
        for warning in configuration.warnings { logger.warning("\(warning)") }
        let unprotected = clinux_protect_memory()
        if unprotected != 0 {
            logger.warning(
                "keys in memory are not locked (\(String(cString: strerror(-unprotected)))): raise the limit with LimitMEMLOCK=infinity")
        }
        do {
            try await GatewayService.serve(
                configuration: configuration, path: file.config, version: causewayVersion, logger: logger, threshold: threshold)
        } catch {
            logger.critical("\(error)")
            throw ExitCode.unavailable
        }
    }
}
