import CLinux
import DataPath
import Logging
import Netlink
import Synchronization
import WireGuard

#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// WireGuard for one TUN interface and nothing else, as long as the interface lives: what `wireguard-go IFNAME` does.
///
/// It follows the interface: up and down, its MTU, its moves to other network namespaces. The encrypted packets stay in the namespace
/// in which it was started, as with the kernel's WireGuard interfaces.
public struct StandaloneDevice: ~Copyable {
    public struct Configuration: Sendable {
        public var interfaceName: String
        /// Threads that carry packets, each with a queue of the TUN.
        public var workers: Int
        /// A queue of a TUN that is open already; it has one worker.
        public var tun: Int32?
        /// A socket that is bound to the interface's place already.
        public var listener: Int32?
        public var mtu: UInt32 = TunnelConfiguration.defaultMTU

        public init(interfaceName: String, workers: Int, tun: Int32? = nil, listener: Int32? = nil) {
            self.interfaceName = interfaceName
            self.workers = workers
            self.tun = tun
            self.listener = listener
        }
    }

    /// Why a device ended.
    public enum End: Equatable, Sendable, CustomStringConvertible {
        case asked
        case interfaceGone
        case socketRemoved
        /// The TUN failed; an errno value.
        case failed(Int32)

        public var description: String {
            switch self {
            case .asked: "asked to end"
            case .interfaceGone: "the interface has been deleted"
            case .socketRemoved: "the socket has been removed"
            case .failed(let code): "the TUN has failed: \(String(cString: strerror(code)))"
            }
        }
    }

    private let device: WireGuardDevice
    private let interface: EngineInterface
    private let server: UAPIServer
    private let socketRemoved: Int32
    private let logger: Logger
    private var link: FollowedLink

    public var interfaceName: String { device.interfaceName }

    /// Everything is there when this returns: the interface, its socket, the threads. What was made before a failure is gone again.
    public init(_ configuration: Configuration, logger: Logger) throws {
        var parts = WireGuardConfiguration()
        parts.identityCapacity = 1
        parts.peerCapacity = Self.peerCapacity
        let device =
            if let tun = configuration.tun {
                try WireGuardDevice(adopting: tun, parts)
            } else {
                try WireGuardDevice(interface: configuration.interfaceName, workers: configuration.workers, parts)
            }
        let link = try FollowedLink(of: device.queue, named: device.interfaceName, mtu: configuration.mtu)
        let interface = try EngineInterface(newIn: device.wireGuard)
        device.carry(interface.identity)
        let socketRemoved = clinux_eventfd()
        guard socketRemoved >= 0 else {
            throw TunnelError.device(interface: device.interfaceName, reason: "eventfd: \(String(cString: strerror(-socketRemoved)))")
        }
        var listener: UAPIListener?
        do {
            listener =
                if let descriptor = configuration.listener {
                    try UAPIListener(interfaceName: device.interfaceName, adopting: descriptor)
                } else {
                    try UAPIListener(interfaceName: device.interfaceName)
                }
            try device.start()
            server = try UAPIServer(listener: listener!, interface: interface, logger: logger) {
                var one: UInt64 = 1
                _ = write(socketRemoved, &one, 8)
            }
        } catch {
            listener?.remove()
            close(socketRemoved)
            throw error
        }
        self.device = device
        self.interface = interface
        self.socketRemoved = socketRemoved
        self.logger = logger
        self.link = link
        follow()
    }

    /// As wireguard-go.
    private static let peerCapacity = 65536

    /// Serves until something ends it. `end` becomes readable when that is asked for.
    public mutating func run(until end: Int32) -> End {
        while true {
            var waiting = [end, device.failureDescriptor, socketRemoved, link.descriptor].map {
                pollfd(fd: $0, events: Int16(POLLIN), revents: 0)
            }
            guard poll(&waiting, nfds_t(waiting.count), -1) > 0 else { continue }
            if waiting[0].revents != 0 { return .asked }
            if waiting[1].revents != 0 {
                guard let failure = device.failure else { return .interfaceGone }
                // How the kernel says that there is no interface behind a descriptor any more.
                return failure == EBADFD || failure == ENODEV ? .interfaceGone : .failed(failure)
            }
            if waiting[2].revents != 0 { return .socketRemoved }
            if waiting[3].revents != 0 {
                do {
                    guard try link.read() else { return .interfaceGone }
                } catch {
                    // The interface may be fine; what it does is not heard of any more.
                    logger.error("the interface cannot be followed", metadata: ["error": "\(error)"])
                    return .failed(EIO)
                }
                follow()
            }
        }
    }

    /// Closes the socket and takes the interface away, unless somebody else has it open as well.
    public consuming func end() {
        server.stop()
        device.carry(nil)
        device.stop()
        close(socketRemoved)
    }

    /// Brings the engine to where the interface is.
    private func follow() {
        if link.mtu > WireGuardDevice.longestPacket {
            logger.warning(
                "packets are at most \(WireGuardDevice.longestPacket) bytes long here, whatever the MTU: longer datagrams of the peers are lost",
                metadata: ["interface": "\(interfaceName)", "mtu": "\(link.mtu)"])
        }
        do {
            try interface.setMTU(UInt16(clamping: link.mtu))
            try interface.setUp(link.isUp)
        } catch {
            // The interface stays; another port may be set, or the interface taken down and up again.
            logger.error("the interface does not come \(link.isUp ? "up" : "down")", metadata: ["error": "\(error)"])
        }
    }
}
