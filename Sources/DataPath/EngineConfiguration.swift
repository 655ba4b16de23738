import CDataPath

/// Set-up of the data path. Defaults are the C core's.
public struct EngineConfiguration: Sendable {
    public enum Role: Sendable {
        /// PAC: the inner destination selects the session on the way back.
        case gateway
        /// PNS, for the legacy test client: the inner source selects the session.
        case client
    }

    public var role: Role
    /// Name of the TUN interface, at most 15 bytes; nil: none is made, and what should go there is dropped.
    public var interface: String?
    public var gre = GREReception.raw
    /// Worker threads, 1...64.
    public var workers = 1
    /// 1...65,535 sessions over all workers.
    public var sessionCapacity = 4096
    /// Packets in each receive, crypt and send step, 1...256.
    public var batchSize = 32
    /// GRE packets of one session held back to restore their order, 0...256.
    public var reorderPackets = 64
    /// Longest time that one is held, 0...1,000,000 µs.
    public var reorderMicroseconds = 50_000
    /// A GRE acknowledgment with no data to ride on leaves after this time, µs.
    public var acknowledgeMicroseconds = 100_000
    /// Each worker keeps to one processor of those that the process may use.
    public var pinWorkers = false
    /// Under load a worker looks for so long whether there is more before it sleeps, 0...1,000 µs.
    public var pollMicroseconds = 0
    public var allowUserToUser = false
    public var allowLocalDestinations = false
    /// nil: no WireGuard. Gateways only.
    public var wireGuard: WireGuardConfiguration?

    public init(role: Role, interface: String?) {
        self.role = role
        self.interface = interface
    }

    var native: cw_engine_config {
        var native = cw_engine_config()
        cw_engine_config_defaults(&native)
        native.role = role == .gateway ? .CW_ROLE_GATEWAY : .CW_ROLE_CLIENT
        native.worker_count = UInt32(clamping: workers)
        native.session_capacity = UInt32(clamping: sessionCapacity)
        native.batch_size = UInt32(clamping: batchSize)
        native.reorder_packets = UInt32(clamping: reorderPackets)
        native.reorder_microseconds = UInt32(clamping: reorderMicroseconds)
        native.ack_microseconds = UInt32(clamping: acknowledgeMicroseconds)
        native.pin_workers = pinWorkers
        native.poll_microseconds = UInt32(clamping: pollMicroseconds)
        native.allow_user_to_user = allowUserToUser
        native.allow_local_destinations = allowLocalDestinations
        if let wireGuard {
            native.wireguard = true
            native.wireguard_config = wireGuard.native
        }
        return native
    }
}
