import CLinux

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// A running userspace device: our child until it is reaped.
struct DeviceProcess: Sendable {
    let id: pid_t
    /// Becomes readable when the process ends; never means another process that was given the same number.
    let descriptor: Int32

    /// How long a device may take to end after SIGTERM.
    private static let patience = Duration.seconds(2)

    /// The device speaks UAPI on `listener` and uses `tun`, or makes a TUN itself. It keeps this process's ambient capabilities.
    static func start(_ path: String, interface: String, tun: Int32?, listener: Int32) throws -> DeviceProcess {
        var environment = ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LOG_LEVEL=error", "WG_PROCESS_FOREGROUND=1", "WG_UAPI_FD=4"]
        if tun != nil { environment.append("WG_TUN_FD=3") }
        let id = withCStrings([path, "--foreground", interface]) { arguments in
            withCStrings(environment) { clinux_spawn_device(path, arguments, $0, tun ?? -1, listener) }
        }
        guard id > 0 else {
            throw TunnelError.device(interface: interface, reason: "\(path) cannot be started: \(String(cString: strerror(-id)))")
        }
        let descriptor = clinux_pidfd_open(id)
        guard descriptor >= 0 else {
            kill(id, SIGKILL)
            waitpid(id, nil, 0)
            throw TunnelError.device(interface: interface, reason: "pidfd_open: \(String(cString: strerror(-descriptor)))")
        }
        return DeviceProcess(id: id, descriptor: descriptor)
    }

    /// How it ended, in words; nil while it runs. After an answer there is nothing left of it.
    func reap() -> String? {
        var status: Int32 = 0
        guard waitpid(id, &status, WNOHANG) != 0 else { return nil }
        close(descriptor)
        let signal = status & 0x7F
        return signal == 0 ? "exit code \(status >> 8 & 0xFF)" : "signal \(signal)"
    }

    /// Ends it and waits: first politely.
    func end() async {
        _ = clinux_pidfd_signal(descriptor, SIGTERM)
        let deadline = ContinuousClock.now + Self.patience
        while reap() == nil {
            if ContinuousClock.now > deadline { _ = clinux_pidfd_signal(descriptor, SIGKILL) }
            await pause(.milliseconds(10))
        }
    }

    /// Ends a device that an earlier run of ours left behind, which is not our child. It is known by its UAPI socket.
    static func endLeftover(interface: String) async throws {
        guard let socket = try? UAPISocket.connect(interface) else { return }
        defer { close(socket) }
        var id: pid_t = 0
        guard clinux_peer_pid(socket, &id) == 0, id > 1, id != getpid() else { return }
        let descriptor = clinux_pidfd_open(id)
        guard descriptor >= 0 else { return }
        defer { close(descriptor) }
        // The number was read before the pidfd was opened: only a process of the right name is touched.
        guard command(of: id) == "wireguard-go" else {
            throw TunnelError.device(
                interface: interface,
                reason:
                    "process \(id) (\(command(of: id) ?? "?")) holds \(DeviceProgram.socketPath(interface)) and is not wireguard-go"
            )
        }
        for (signal, attempts) in [(SIGTERM, 200), (SIGKILL, 200)] {
            guard clinux_pidfd_signal(descriptor, signal) == 0 else { return }
            for _ in 0..<attempts {
                var waiting = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
                if poll(&waiting, 1, 0) == 1 { return }
                await pause(.milliseconds(10))
            }
        }
        throw TunnelError.device(interface: interface, reason: "the device that an earlier run left (process \(id)) does not end")
    }

    /// The kernel's short name of a process.
    private static func command(of id: pid_t) -> String? {
        let file = open("/proc/\(id)/comm", O_RDONLY | O_CLOEXEC)
        guard file >= 0 else { return nil }
        defer { close(file) }
        var buffer = [UInt8](repeating: 0, count: 64)
        let count = read(file, &buffer, buffer.count)
        return count > 0 ? String(decoding: buffer.prefix(count).prefix { $0 != 0x0A }, as: UTF8.self) : nil
    }
}

/// Waits although the task may be cancelled: what is being ended has to be waited for.
func pause(_ duration: Duration) async {
    await Task.detached { try? await Task.sleep(for: duration) }.value
}

/// A NULL-terminated array of C strings for the duration of the call.
private func withCStrings<Result>(_ strings: [String], _ body: (UnsafePointer<UnsafeMutablePointer<CChar>?>) -> Result) -> Result
{
    let copies = strings.map { strdup($0) }
    defer { for copy in copies { free(copy) } }
    return (copies + [nil]).withUnsafeBufferPointer { body($0.baseAddress!) }
}
