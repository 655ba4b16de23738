import Addresses
import CLinux
import Settings
import WireGuard

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// What needs root happens before the first byte of a client is read: listening sockets and the directory of the control socket are
/// made, then the process becomes its own user with CAP_NET_ADMIN and CAP_NET_RAW alone, by running itself again with the sockets
/// handed over (the protocol of sd_listen_fds(3), so systemd socket units work the same way). With gre = "xdp" it keeps what loads programs and
/// locks memory as well.
public enum Privileges {
    /// Returns if nothing has to be given up (not root, or the configuration wants root); otherwise replaces the process.
    public static func drop(_ configuration: CausewayConfiguration) throws {
        guard geteuid() == 0, configuration.user != "root" else { return }
        var uid: uid_t = 0
        var gid: gid_t = 0
        guard clinux_user(configuration.user, &uid, &gid) == 0 else {
            throw GatewayError(
                "user \"\(configuration.user)\" does not exist; create it: useradd --system --no-create-home --shell /usr/sbin/nologin \(configuration.user)"
            )
        }
        try makeDirectory(configuration.runtimeDirectory, "control.socket's directory", mode: 0o755, uid, gid)
        // Whether the kernel has WireGuard only root may find out without further ado.
        let kinds = try TunnelManager.chooseBackends(
            configuration,
            identities: Dictionary(configuration.tunnels.map { ($0.name, configuration.identityNames(of: $0).count) }, uniquingKeysWith: max))
        if kinds.values.contains(.kernel) { try shareTUN(uid, gid) }
        // Without it `wg show` does not find our tunnels, and users are carried all the same.
        if kinds.values.contains(.embedded) || configuration.access != nil { try? shareSocketDirectory(gid) }
        if configuration.tunnels.contains(where: { $0.mode != .shared }) {
            try makeDirectory(configuration.stateDirectory, "state-directory", mode: 0o700, uid, gid)
        }
        if configuration.store.enabled {
            let folder = configuration.storePath.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
            try makeDirectory(folder.isEmpty ? "/" : folder, "the folder of store.path", mode: 0o700, uid, gid)
        }
        let sockets = try configuration.listeners.map(listen)
        try become(configuration, sockets)
    }

    /// Listening sockets that this process was given (systemd, or `drop`), by the address that they listen on.
    public static func adoptedSockets() -> [Endpoint: CInt] {
        guard let text = getenv("LISTEN_FDS"), let count = Int(String(cString: text)), (0...64).contains(count),
            let owner = getenv("LISTEN_PID"), Int32(String(cString: owner)) == getpid()
        else { return [:] }
        unsetenv("LISTEN_FDS")
        unsetenv("LISTEN_PID")
        var found: [Endpoint: CInt] = [:]
        for descriptor in 3..<(3 + CInt(count)) {
            _ = fcntl(descriptor, F_SETFD, FD_CLOEXEC)
            if let endpoint = boundEndpoint(descriptor) { found[endpoint] = descriptor }
        }
        return found
    }

    // MARK: Steps

    private static func makeDirectory(_ path: String, _ role: String, mode: mode_t, _ uid: uid_t, _ gid: gid_t) throws {
        var status = stat()
        if stat(path, &status) == 0 {
            let usable = status.st_uid == uid || status.st_mode & 0o002 != 0 || (status.st_gid == gid && status.st_mode & 0o020 != 0)
            guard usable else {
                throw GatewayError(
                    "\(path) (\(role)) cannot be written by the gateway's user; name another directory, or: chown \(uid):\(gid) \(path)")
            }
            return
        }
        let parent = path.split(separator: "/", omittingEmptySubsequences: false).dropLast().joined(separator: "/")
        if !parent.isEmpty, access(parent, F_OK) != 0 { _ = mkdir(parent, 0o755) }
        guard mkdir(path, mode) == 0, chmod(path, mode) == 0, chown(path, uid, gid) == 0 else {
            throw GatewayError("cannot make the directory \(path) (\(role)): \(String(cString: strerror(errno)))")
        }
    }

    /// /dev/net/tun is open to everybody where udev looks after it (what may be done with it takes CAP_NET_ADMIN anyway). Where it is
    /// root's alone, as in many containers, our group gets access.
    private static func shareTUN(_ uid: uid_t, _ gid: gid_t) throws {
        let path = "/dev/net/tun"
        var status = stat()
        guard stat(path, &status) == 0 else {
            throw GatewayError("\(path) is missing: load the module (modprobe tun), or make it: mkdir -p /dev/net && mknod \(path) c 10 200")
        }
        let usable = status.st_mode & 0o006 == 0o006 || (status.st_gid == gid && status.st_mode & 0o060 == 0o060) || status.st_uid == uid
        guard !usable else { return }
        guard chown(path, uid_t.max, gid) == 0, chmod(path, status.st_mode & 0o7777 | 0o060) == 0 else {
            throw GatewayError("\(path) is not open to the gateway's user: chmod 666 \(path)")
        }
    }

    /// `wg show` looks for sockets in one directory for the whole host. It becomes one that our group may make files in, sticky like /tmp,
    /// so that nobody can remove the sockets of others. One that somebody set up so already is left alone.
    private static func shareSocketDirectory(_ gid: gid_t) throws {
        let path = UAPIListener.directory
        var status = stat()
        if stat(path, &status) != 0 {
            guard mkdir(path, 0o700) == 0, stat(path, &status) == 0 else {
                throw GatewayError("cannot make \(path) for the sockets of WireGuard tunnels: \(String(cString: strerror(errno)))")
            }
        }
        if status.st_gid == gid, status.st_mode & 0o070 == 0o070 { return }
        guard chown(path, uid_t.max, gid) == 0, chmod(path, status.st_mode & 0o7777 | 0o1070) == 0 else {
            throw GatewayError("cannot share \(path) with the gateway's group: \(String(cString: strerror(errno)))")
        }
    }

    private static func listen(_ listener: CausewayConfiguration.Listener) throws -> CInt {
        let endpoint = Endpoint(listener.address, listener.port)
        let family = listener.address.family == .v4 ? AF_INET : AF_INET6
        let descriptor = socket(family, CInt(SOCK_STREAM.rawValue) | CInt(SOCK_CLOEXEC.rawValue) | CInt(SOCK_NONBLOCK.rawValue), 0)
        guard descriptor >= 0 else { throw GatewayError("cannot make a socket: \(String(cString: strerror(errno)))") }
        var one: CInt = 1
        setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &one, socklen_t(MemoryLayout<CInt>.size))
        if family == AF_INET6 {
            setsockopt(descriptor, CInt(IPPROTO_IPV6), IPV6_V6ONLY, &one, socklen_t(MemoryLayout<CInt>.size))
        }
        let bound = endpoint.withSocketAddress { bind(descriptor, $0, $1) }
        guard bound == 0, Glibc.listen(descriptor, PPTPListener.backlog) == 0 else {
            let code = errno
            close(descriptor)
            throw GatewayError(PPTPListener.explain(errno: code, listener))
        }
        return descriptor
    }

    private static func become(_ configuration: CausewayConfiguration, _ sockets: [CInt]) throws -> Never {
        var environment: [UnsafeMutablePointer<CChar>?] = []
        var entry = environ
        while let variable = entry.pointee {
            let text = String(cString: variable)
            if !text.hasPrefix("LISTEN_") { environment.append(strdup(text)) }
            entry += 1
        }
        environment.append(strdup("LISTEN_PID=\(getpid())"))
        environment.append(strdup("LISTEN_FDS=\(sockets.count)"))
        // Small blocks that each thread keeps for itself hold on to pages that a thousand ended sessions could give back; nothing here
        // allocates so often that it needs them. (Config/causeway.service says the same.)
        if getenv("GLIBC_TUNABLES") == nil { environment.append(strdup("GLIBC_TUNABLES=glibc.malloc.tcache_count=0")) }
        environment.append(nil)
        var arguments: [UnsafeMutablePointer<CChar>?] = CommandLine.arguments.map { strdup($0) }
        arguments.append(nil)
        let error = clinux_become(
            "/proc/self/exe", &arguments, &environment, configuration.user, sockets, CInt(sockets.count), configuration.dataPath.gre == .xdp ? 1 : 0)
        throw GatewayError("cannot become user \"\(configuration.user)\": \(String(cString: strerror(-error)))")
    }

    private static func boundEndpoint(_ descriptor: CInt) -> Endpoint? {
        var storage = sockaddr_storage()
        var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
        let result = withUnsafeMutablePointer(to: &storage) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { getsockname(descriptor, $0, &length) }
        }
        guard result == 0 else { return nil }
        return withUnsafeBytes(of: storage) { bytes in
            switch CInt(storage.ss_family) {
            case AF_INET:
                let address = bytes.loadUnaligned(as: sockaddr_in.self)
                return Endpoint(IPAddress(v4: UInt32(bigEndian: address.sin_addr.s_addr)), UInt16(bigEndian: address.sin_port))
            case AF_INET6:
                let address = bytes.loadUnaligned(as: sockaddr_in6.self)
                return withUnsafeBytes(of: address.sin6_addr) { IPAddress(bytes: $0) }.map { Endpoint($0, UInt16(bigEndian: address.sin6_port)) }
            default: return nil
            }
        }
    }
}

extension Endpoint {
    fileprivate func withSocketAddress(_ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
        if let v4 = address.v4 {
            var native = sockaddr_in()
            native.sin_family = sa_family_t(AF_INET)
            native.sin_port = port.bigEndian
            native.sin_addr.s_addr = v4.bigEndian
            return withUnsafePointer(to: &native) {
                $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
            }
        }
        var native = sockaddr_in6()
        native.sin6_family = sa_family_t(AF_INET6)
        native.sin6_port = port.bigEndian
        withUnsafeMutableBytes(of: &native.sin6_addr) { $0.copyBytes(from: address.bytes) }
        return withUnsafePointer(to: &native) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in6>.size)) }
        }
    }
}

extension CausewayConfiguration {
    /// Where sockets of ours live: the directory of the control socket.
    var runtimeDirectory: String {
        let parts = controlSocket.split(separator: "/", omittingEmptySubsequences: false).dropLast()
        return parts.count <= 1 ? "/" : parts.joined(separator: "/")
    }
}
