import CLinux
import Netlink

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// The userspace WireGuard program of this host, and which frame format it expects on a TUN that it is handed.
public struct DeviceProgram: Equatable, Sendable {
    public let path: String
    let tunOptions: UInt32

    /// wireguard-go waits for changes of its socket here and nowhere else, so the socket must be here; `wg show` looks here too.
    /// The service's user must be able to create files in it (systemd: RuntimeDirectory=wireguard).
    public static let socketDirectory = "/var/run/wireguard"

    static func socketPath(_ interface: String) -> String { "\(socketDirectory)/\(interface).sock" }

    /// wireguard-go from PATH, or from where Debian puts it.
    public static func find(name: String = "wireguard-go", searchPath: String? = getenv("PATH").map { String(cString: $0) })
        -> String?
    {
        let directories = (searchPath ?? "").split(separator: ":").map(String.init) + ["/usr/bin", "/usr/local/bin", "/usr/sbin"]
        return directories.lazy.map { "\($0)/\(name)" }.first { access($0, X_OK) == 0 }
    }

    /// Versions differ in the header before each packet of the TUN (packet information, virtio, or none), take what they
    /// are handed on faith, and number themselves carelessly. So one is started on a TUN of its own making, which is looked at.
    public static func probe(path: String) async throws -> DeviceProgram {
        let name = "cwp" + String(UInt32.random(in: .min ... .max), radix: 16)
        let route = try NetlinkSocket(.route)
        try prepareSocketDirectory()
        let listener = try UAPISocket.listen(name)
        var process: DeviceProcess? = try DeviceProcess.start(path, interface: name, tun: nil, listener: listener)
        close(listener)
        defer { unlink(socketPath(name)) }
        var format: UInt32?
        for _ in 0..<250 where format == nil {
            if let link = try? route.link(named: name), let information = link.tunPacketInformation {
                format =
                    (information ? UInt32(CLINUX_TUN_PACKET_INFORMATION) : 0)
                    | (link.tunVirtioHeader == true ? UInt32(CLINUX_TUN_VIRTIO_HEADER) : 0)
            } else if let reason = process!.reap() {
                process = nil
                throw TunnelError.device(interface: name, reason: "\(path) does not start (\(reason))")
            } else {
                try? await Task.sleep(for: .milliseconds(20))
            }
        }
        await process?.end()
        guard let format else {
            throw TunnelError.device(interface: name, reason: "\(path) does not make a TUN interface within 5 s")
        }
        return DeviceProgram(path: path, tunOptions: format)
    }

    static func prepareSocketDirectory() throws {
        if mkdir(socketDirectory, 0o700) != 0, errno != EEXIST || access(socketDirectory, W_OK) != 0 {
            throw TunnelError.device(
                interface: "",
                reason:
                    "\(socketDirectory) cannot be written: \(String(cString: strerror(errno))); run: install -d -m 700 -o \(geteuid()) \(socketDirectory)"
            )
        }
    }
}
