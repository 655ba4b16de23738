import Addresses
import CDataPath

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// Owner of WireGuard alone over a TUN, without sessions: what the TUN brings leaves through the peers of one identity, and back.
/// Every unsafe call about devices stands in this file.
public struct WireGuardDevice: ~Copyable, Sendable {
    private nonisolated(unsafe) let device: OpaquePointer
    /// Another descriptor of the first queue: it keeps telling where the interface is.
    public let queue: Int32
    /// As the kernel has it: `wg%d` has become a name.
    public let interfaceName: String
    /// For ports, identities, peers. It may be kept and called from anywhere.
    public let wireGuard: WireGuardEngine

    /// Of the packets inside, either way. With a greater MTU, TCP keeps to it and local senders are told; datagrams of the peers are lost.
    public static let longestPacket = UInt32(CW_WG_LONGEST_PACKET)

    /// Creates the TUN `interface` with one queue for each worker, or attaches to it if nobody else has it open.
    public init(interface: String, workers: Int, _ configuration: WireGuardConfiguration = WireGuardConfiguration()) throws(EngineError) {
        var queues = [Int32](repeating: -1, count: max(1, workers))
        try EngineError.check(
            cw_open_tun_offload(interface, UInt32(queues.count), &queues),
            "create the TUN interface \(interface) (CAP_NET_ADMIN and /dev/net/tun are needed)")
        try self.init(queues: queues, configuration)
    }

    /// Takes over one open queue of a TUN that somebody else made, which is closed if this fails. One queue has one worker.
    public init(adopting queue: Int32, _ configuration: WireGuardConfiguration = WireGuardConfiguration()) throws(EngineError) {
        _ = fcntl(queue, F_SETFD, FD_CLOEXEC)
        _ = fcntl(queue, F_SETFL, fcntl(queue, F_GETFL) | O_NONBLOCK)
        try self.init(queues: [queue], configuration)
    }

    private init(queues: [Int32], _ configuration: WireGuardConfiguration) throws(EngineError) {
        let parts = try Self.create(queues, configuration)
        (device, queue, interfaceName) = parts
        wireGuard = WireGuardEngine(cw_device_wireguard(parts.device))
    }

    private static func create(_ queues: [Int32], _ configuration: WireGuardConfiguration) throws(EngineError)
        -> (device: OpaquePointer, queue: Int32, name: String)
    {
        let queue = fcntl(queues[0], F_DUPFD_CLOEXEC, 0)
        do throws(EngineError) {
            guard queue >= 0 else { throw EngineError(.system(errno), "watch the TUN") }
            let name = try name(of: queue)
            var native = cw_device_config()
            cw_device_config_defaults(&native)
            native.worker_count = UInt32(queues.count)
            native.wireguard = configuration.native
            withUnsafeMutableBytes(of: &native.tun_fd) { slots in queues.withUnsafeBytes { slots.copyBytes(from: $0) } }
            var device: OpaquePointer?
            try EngineError.check(cw_device_create(&native, &device), "create the WireGuard device")
            return (device!, queue, name)
        } catch {
            for descriptor in queues + [queue] where descriptor >= 0 { closeDescriptor(descriptor) }
            throw error
        }
    }

    deinit {
        wireGuard.end()
        cw_device_destroy(device)
        closeDescriptor(queue)
    }

    public func start() throws(EngineError) { try EngineError.check(cw_device_start(device), "start the workers") }
    public func stop() { cw_device_stop(device) }

    /// The identity whose packets the TUN carries; nil: every packet is answered with ICMP unreachable.
    public func carry(_ identity: WireGuardEngine.Identity?) { cw_device_set_identity(device, identity?.handle ?? 0) }

    /// Readable once the TUN has failed for good, for example because the interface was deleted.
    public var failureDescriptor: Int32 { cw_device_event_fd(device) }
    /// The errno of that.
    public var failure: Int32? {
        let code = cw_device_failure(device)
        return code == 0 ? nil : code
    }

    private static func name(of queue: Int32) throws(EngineError) -> String {
        var name = [CChar](repeating: 0, count: Int(CW_TUN_NAME_SIZE))
        try EngineError.check(cw_tun_name(queue, &name), "use descriptor \(queue) as a TUN")
        return String(decoding: name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
    }
}
