import Addresses
import CDataPath

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// Owner of the C data path. Every unsafe call into it stands in this file and in Engine+GRE.swift.
///
/// One thread at a time may call it (the control loop); the workers run on threads of their own. Commands that find a ring
/// full wait here, in order, until `flush` finds room: a session's commands are never reordered or lost.
public struct Engine: ~Copyable, Sendable {
    private nonisolated(unsafe) let engine: OpaquePointer
    private nonisolated(unsafe) let events: UnsafeMutableBufferPointer<cw_event>
    private var backlog: [Command] = []
    private var backlogStart = 0
    /// nil unless the configuration asked for it. It may be kept and called from anywhere.
    public let wireGuard: WireGuardEngine?

    /// How GRE comes in.
    public let gre: GREBackend
    /// What was wanted and could not be had for it, with the reasons, where something else serves instead.
    public let greRefusals: [String]

    /// How many of the host's own addresses users can be kept off.
    public static let mostLocalAddresses = Int(CW_MAX_LOCAL_ADDRESSES)
    /// How many events one `poll` takes at most.
    public static let pollBatch = 64

    public init(_ configuration: EngineConfiguration) throws(EngineError) {
        var native = configuration.native
        var engine: OpaquePointer?
        do {
            try Self.openDescriptors(configuration, &native)
            var (backend, refusals) = try Self.openReception(configuration, &native)
            var status = cw_engine_create(&native, &engine)
            if status == .CW_SYSTEM, backend.isBesideRaw, !configuration.gre.isRequired {
                backend = .raw(because: EngineError(.system(errno), "map packet rings").description)
                Self.closeReception(&native)
                status = cw_engine_create(&native, &engine)
            }
            try EngineError.check(status, "create the data path")
            gre = backend
            greRefusals = refusals
        } catch {
            Self.closeDescriptors(&native)
            throw error
        }
        self.engine = engine!
        wireGuard = cw_engine_wireguard(engine!).map(WireGuardEngine.init)
        events = .allocate(capacity: Self.pollBatch)
        events.initialize(repeating: cw_event())
    }

    deinit {
        wireGuard?.end()
        cw_engine_destroy(engine)
        events.deallocate()
    }

    public func start() throws(EngineError) { try EngineError.check(cw_engine_start(engine), "start the data path's workers") }
    public func stop() { cw_engine_stop(engine) }

    /// Readable while events wait.
    public var eventDescriptor: Int32 { cw_engine_event_fd(engine) }
    /// The instruction-set kernels in use, for example `scalar`.
    public var instructionSet: String { String(cString: cw_engine_isa(engine)) }
    /// Commands that wait for room in a ring.
    public var waiting: Int { backlog.count - backlogStart }

    /// Hands commands over in order. What does not fit waits for `flush`.
    /// - Throws: `EngineError.invalid` for a command outside its range; it is discarded, the ones behind it go on.
    public mutating func submit(_ commands: [Command]) throws(EngineError) {
        enqueue(commands)
        try flush()
    }

    /// Takes commands that the next `flush` hands over.
    public mutating func enqueue(_ commands: [Command]) { backlog.append(contentsOf: commands) }

    public mutating func submit(_ command: Command) throws(EngineError) { try submit([command]) }

    public mutating func flush() throws(EngineError) {
        guard waiting > 0 else { return }
        // Each worker is woken once for all of them.
        defer { cw_engine_publish(engine) }
        while backlogStart < backlog.count {
            let status = backlog[backlogStart].withNative { native in
                withUnsafePointer(to: native) { cw_engine_put(engine, $0) }
            }
            if status == .CW_FULL { return }
            let command = backlog[backlogStart]
            backlogStart += 1
            if status != .CW_OK {
                try EngineError.check(status, "\(command.name) for session \(command.session)")
            }
        }
        backlog.removeAll(keepingCapacity: backlog.count <= 1024)
        backlogStart = 0
    }

    /// Gives back memory that a burst of commands has left behind. To be called now and then.
    public mutating func trim() { cw_engine_trim(engine) }

    /// Takes up to `pollBatch` waiting events.
    public func poll() -> [Event] {
        let count = cw_engine_poll(engine, events.baseAddress, events.count)
        return (0..<count).compactMap { index in
            withUnsafeMutablePointer(to: &events[index]) { Event($0) }
        }
    }

    /// Counters of each session, nil where the session is unknown.
    public func counters(of sessions: [UInt64]) -> [Counters?] {
        guard !sessions.isEmpty else { return [] }
        var out = [cw_counters](repeating: cw_counters(), count: sessions.count)
        var found = [Bool](repeating: false, count: sessions.count)
        cw_engine_session_counters(engine, sessions, sessions.count, &out, &found)
        return zip(out, found).map { $1 ? Counters($0) : nil }
    }

    /// Packets that belong to no session.
    public func totals() -> Counters {
        var out = cw_counters()
        cw_engine_counters(engine, &out)
        return Counters(out)
    }

    /// GRE packets that have left so far.
    public func departures() -> GREDepartures {
        var out = cw_departures()
        cw_engine_departures(engine, &out)
        return GREDepartures(atInterface: out.at_interface, throughStack: out.through_stack)
    }

    // MARK: Descriptors

    private static func openDescriptors(_ configuration: EngineConfiguration, _ native: inout cw_engine_config) throws(EngineError) {
        for worker in 0..<configuration.workers {
            var gre: Int32 = -1
            var tun: Int32 = -1
            let opened = cw_open_gre(4, UInt32(worker), UInt32(configuration.workers), &gre)
            withDescriptors(&native) { gres, _ in gres[worker] = gre }
            try EngineError.check(opened, "open the raw GRE socket (CAP_NET_RAW is needed)")
            guard let interface = configuration.interface else { continue }
            let made = cw_open_tun(interface, &tun)
            withDescriptors(&native) { _, tuns in tuns[worker] = tun }
            try EngineError.check(made, "create the TUN interface \(interface) (CAP_NET_ADMIN and /dev/net/tun are needed)")
        }
    }

    private static func closeDescriptors(_ native: inout cw_engine_config) {
        closeReception(&native)
        withDescriptors(&native) { gres, tuns in
            for descriptor in Array(gres) + Array(tuns) where descriptor >= 0 { closeDescriptor(descriptor) }
        }
    }

    private static func withDescriptors(
        _ native: inout cw_engine_config, _ body: (UnsafeMutableBufferPointer<Int32>, UnsafeMutableBufferPointer<Int32>) -> Void
    ) {
        withUnsafeMutableBytes(of: &native.gre_fd) { gre in
            withUnsafeMutableBytes(of: &native.tun_fd) { tun in
                body(gre.bindMemory(to: Int32.self), tun.bindMemory(to: Int32.self))
            }
        }
    }
}

extension Command {
    /// Calls `body` with the C form of the command, whose pointers are valid during the call only.
    func withNative<R>(_ body: (cw_command) -> R) -> R {
        var native = cw_command()
        native.session = session
        switch kind {
        case .open(let parameters):
            native.type = .CW_OPEN
            native.open.local_call_id = parameters.localCallID
            native.open.peer_call_id = parameters.peerCallID
            native.open.flags = parameters.flags.rawValue
            native.open.local_address = cw_address(parameters.localAddress)
            native.open.peer_address = cw_address(parameters.peerAddress)
        case .openNative(let parameters):
            native.type = .CW_OPEN_NATIVE
            // No key of another length gets in: identity 0 is refused by the core.
            native.open_native.identity = parameters.peer.count == WireGuardSecret.length ? parameters.identity.handle : 0
            withUnsafeMutableBytes(of: &native.open_native.peer) { $0.copyBytes(from: parameters.peer.prefix($0.count)) }
        case .update(let update):
            native.type = .CW_UPDATE
            if let flags = update.flags {
                native.update.mask |= UInt32(CW_UPDATE_FLAGS)
                native.update.flags = flags.rawValue
            }
            if let mtu = update.mtu {
                native.update.mask |= UInt32(CW_UPDATE_MTU)
                native.update.mtu = mtu
            }
            if let peer = update.peerAddress {
                native.update.mask |= UInt32(CW_UPDATE_PEER_ADDRESS)
                native.update.peer_address = cw_address(peer)
            }
            if let rate = update.rateBitsPerSecond {
                native.update.mask |= UInt32(CW_UPDATE_RATE)
                native.update.rate_bits_per_second = rate
            }
        case .rekey(let direction, let encryption):
            native.type = .CW_REKEY
            native.rekey.direction = direction == .receive ? .CW_RECEIVE : .CW_TRANSMIT
            if let encryption {
                native.rekey.key_bits = encryption.keyBits
                native.rekey.flags = encryption.stateless ? UInt32(CW_MPPE_STATELESS) : 0
                withUnsafeMutableBytes(of: &native.rekey.start_key) { $0.copyBytes(from: encryption.startKey.prefix($0.count)) }
            }
        case .bind(let binding):
            native.type = .CW_BIND
            native.bind.gateway_address = cw_address(binding.gatewayAddress)
            native.bind.tunnel = binding.tunnel
            native.bind.mtu = binding.mtu
            native.bind.identity = binding.identity?.handle ?? 0
            // One too many is refused by the core, not left out.
            native.bind.prefix_count = UInt16(clamping: binding.prefixes.count)
            withUnsafeMutableBytes(of: &native.bind.prefixes) { bytes in
                for (slot, prefix) in zip(bytes.bindMemory(to: cw_prefix.self).indices, binding.prefixes) {
                    bytes.bindMemory(to: cw_prefix.self)[slot] = cw_prefix(prefix)
                }
            }
        case .unbind: native.type = .CW_UNBIND
        case .close: native.type = .CW_CLOSE
        case .export: native.type = .CW_EXPORT
        case .inject(let pppProtocol, let payload):
            native.type = .CW_INJECT
            native.inject.protocol = pppProtocol
            native.inject.length = UInt16(clamping: payload.count)
            return payload.withUnsafeBufferPointer {
                native.inject.payload = $0.baseAddress
                return body(native)
            }
        case .importState(let state, let identity):
            native.type = .CW_IMPORT
            native.import_state.identity = identity?.handle ?? 0
            native.import_state.length = UInt32(clamping: state.count)
            return state.withUnsafeBufferPointer {
                native.import_state.state = $0.baseAddress
                return body(native)
            }
        case .tunnel(let index, let mtu, let up):
            native.type = .CW_TUNNEL
            native.tunnel.index = index
            native.tunnel.mtu = mtu
            native.tunnel.up = up
        case .sources(let allowed, let blocked):
            native.type = .CW_SOURCES
            native.sources.allowed_count = UInt32(allowed.count)
            native.sources.blocked_count = UInt32(blocked.count)
            return allowed.map(cw_prefix.init).withUnsafeBufferPointer { allowed in
                blocked.map(cw_prefix.init).withUnsafeBufferPointer { blocked in
                    native.sources.allowed = allowed.baseAddress
                    native.sources.blocked = blocked.baseAddress
                    return body(native)
                }
            }
        case .localAddresses(let addresses):
            native.type = .CW_LOCAL_ADDRESSES
            native.local_addresses.count = UInt32(addresses.count)
            return addresses.map(cw_address.init).withUnsafeBufferPointer {
                native.local_addresses.addresses = $0.baseAddress
                return body(native)
            }
        }
        defer { withUnsafeMutableBytes(of: &native.rekey.start_key) { _ = $0.initializeMemory(as: UInt8.self, repeating: 0) } }
        return body(native)
    }
}

extension Event {
    /// nil for an event that needs nothing from the gateway.
    fileprivate init?(_ native: UnsafeMutablePointer<cw_event>) {
        let session = native.pointee.session
        func payload() -> [UInt8] {
            let length = min(Int(native.pointee.length), Int(CW_SESSION_STATE_SIZE))
            return Array(UnsafeBufferPointer(start: cw_event_payload(native), count: length))
        }
        switch native.pointee.type {
        case .CW_EVENT_CONTROL: self = .control(session: session, protocol: native.pointee.protocol, payload: payload())
        case .CW_EVENT_DECRYPT_LOST: self = .decryptionLost(session: session)
        case .CW_EVENT_ADDRESS_CHANGED:
            guard let address = IPAddress(native.pointee.address) else { return nil }
            self = .addressChanged(session: session, address)
        case .CW_EVENT_CLOSED: self = .closed(session: session, Counters(native.pointee.counters))
        case .CW_EVENT_EXPORTED: self = .exported(session: session, state: payload())
        case .CW_EVENT_REFUSED:
            let status = cw_status(rawValue: UInt32(bitPattern: native.pointee.reason)) ?? .CW_INVALID
            self = .refused(session: session, command: native.pointee.refused, reason: String(cString: cw_status_text(status)))
        case .CW_EVENT_WORKER_FAILED:
            self = .workerFailed(worker: Int(native.pointee.worker), errno: native.pointee.reason)
        case .CW_EVENT_UNKNOWN_CALL:
            guard let address = IPAddress(native.pointee.address) else { return nil }
            self = .unknownCall(source: address, callID: native.pointee.call_id)
        }
    }
}
