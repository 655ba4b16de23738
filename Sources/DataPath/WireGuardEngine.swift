import Addresses
import CDataPath
import Synchronization

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// The WireGuard side of an `Engine` (or of a device): ports, identities, peers, counters. Every unsafe call about them stands in
/// this file.
///
/// Any task may call it at any time; calls wait for each other, never for packets. It may outlive its owner: calls then throw an
/// error whose cause is `ended`.
public final class WireGuardEngine: Sendable {
    // The owner takes the pointer away before it destroys what it points to.
    private nonisolated(unsafe) let pointer: UnsafeMutablePointer<OpaquePointer?>
    private let lock = Mutex(())

    init(_ engine: OpaquePointer) {
        pointer = .allocate(capacity: 1)
        pointer.initialize(to: engine)
    }

    deinit { pointer.deallocate() }

    /// By the owner, before the engine is destroyed. Returns when no call is under way.
    func end() { lock.withLock { _ in pointer.pointee = nil } }

    private func call<Result>(
        _ operation: @autoclosure () -> String, _ body: (OpaquePointer) throws(EngineError) -> Result
    ) throws(EngineError) -> Result {
        let outcome: Swift.Result<Result, EngineError> = lock.withLock { _ in
            guard let engine = pointer.pointee else { return .failure(EngineError(.ended, operation())) }
            do throws(EngineError) { return .success(try body(engine)) } catch { return .failure(error) }
        }
        return try outcome.get()
    }

    /// A call whose only result is its status.
    private func perform(_ operation: @autoclosure () -> String, _ body: (OpaquePointer) -> cw_status) throws(EngineError) {
        try call(operation()) { engine throws(EngineError) in try EngineError.check(body(engine), operation()) }
    }

    // MARK: Ports

    /// - Throws: an error with cause `.system(EADDRINUSE)` and the like when the port cannot be had.
    public func openPort(_ configuration: PortConfiguration = PortConfiguration()) throws(EngineError) -> Port {
        var native = cw_wg_port_config()
        native.port = configuration.port
        native.ipv4 = configuration.ipv4
        native.ipv6 = configuration.ipv6
        native.fwmark = configuration.firewallMark
        var number: UInt32 = 0
        try perform("open UDP port \(configuration.port)") { cw_wg_port_open($0, &native, &number) }
        return Port(number: number)
    }

    /// - Throws: cause `.invalid` while identities use it.
    public func closePort(_ port: Port) throws(EngineError) {
        try perform("close a UDP port") { cw_wg_port_close($0, port.number) }
    }

    public func setFirewallMark(_ mark: UInt32, of port: Port) throws(EngineError) {
        try perform("set a firewall mark") { cw_wg_port_set_fwmark($0, port.number, mark) }
    }

    /// The UDP port; nil when it is not open.
    public func number(of port: Port) -> UInt16? {
        let number = try? call("read a UDP port") { cw_wg_port_number($0, port.number) }
        return number == 0 ? nil : number
    }

    // MARK: Identities

    /// `WireGuardSecret.none`: an identity that has no key yet.
    public func addIdentity(on port: Port, privateKey: WireGuardSecret) throws(EngineError) -> Identity {
        var handle: UInt32 = 0
        try perform("add a WireGuard identity") { engine in
            privateKey.withKey { cw_wg_identity_add(engine, port.number, $0, &handle) }
        }
        return Identity(handle: handle)
    }

    /// With its peers; keys are wiped. What is bound to it carries nothing from here on.
    public func remove(_ identity: Identity) throws(EngineError) {
        try perform("remove \(identity)") { cw_wg_identity_remove($0, identity.handle) }
    }

    /// Sessions end and are made anew; peers stay.
    public func setPrivateKey(_ key: WireGuardSecret, of identity: Identity) throws(EngineError) {
        try perform("set the key of \(identity)") { engine in
            key.withKey { cw_wg_identity_set_key(engine, identity.handle, $0) }
        }
    }

    public func setPort(_ port: Port, of identity: Identity) throws(EngineError) {
        try perform("move \(identity) to another port") { cw_wg_identity_set_port($0, identity.handle, port.number) }
    }

    /// Down, as `ip link set down`: no keys, nothing sent or received. New identities are up.
    public func setUp(_ up: Bool, _ identity: Identity) throws(EngineError) {
        try perform("set \(identity) \(up ? "up" : "down")") { cw_wg_identity_set_up($0, identity.handle, up) }
    }

    /// Bounds the padding; 0: 1,420.
    public func setMTU(_ mtu: UInt16, of identity: Identity) throws(EngineError) {
        try perform("set the MTU of \(identity)") { cw_wg_identity_set_mtu($0, identity.handle, mtu) }
    }

    public func info(of identity: Identity) throws(EngineError) -> IdentityInfo {
        var native = cw_wg_identity_info()
        defer { wipe(&native) }
        try perform("read \(identity)") { cw_wg_identity_read($0, identity.handle, &native) }
        return IdentityInfo(native)
    }

    // MARK: Peers

    /// Applies the changes in order. A peer with the identity's own public key is passed over.
    /// - Throws: for the first that is refused; the ones before it hold, the ones behind it were not looked at.
    public func setPeers(_ changes: [PeerChange], of identity: Identity) throws(EngineError) {
        guard changes.allSatisfy({ $0.publicKey.count == WireGuardSecret.length }) else {
            throw EngineError(.invalid, "change peers of \(identity): a public key is not 32 bytes long")
        }
        var natives = changes.map(\.native)
        defer { natives.withUnsafeMutableBytes { if let base = $0.baseAddress { explicit_bzero(base, $0.count) } } }
        let prefixes = changes.flatMap { $0.allowedIPs.map(cw_prefix.init) }
        let status = prefixes.withUnsafeBufferPointer { prefixes in
            var start = 0
            for (index, change) in changes.enumerated() {
                natives[index].allowed_ip_count = UInt32(change.allowedIPs.count)
                natives[index].allowed_ips = change.allowedIPs.isEmpty ? nil : prefixes.baseAddress.map { $0 + start }
                start += change.allowedIPs.count
            }
            return Result { () throws(EngineError) in
                var done = 0
                try perform("change peers of \(identity)") { cw_wg_set_peers($0, identity.handle, natives, natives.count, &done) }
            }
        }
        try status.get()
    }

    public func removeAllPeers(of identity: Identity) throws(EngineError) {
        try perform("remove the peers of \(identity)") { cw_wg_remove_all_peers($0, identity.handle) }
    }

    /// All peers, in the order of their making.
    public func peers(of identity: Identity) throws(EngineError) -> [PeerInfo] {
        try pages("read the peers of \(identity)", of: cw_wg_peer_info(), PeerInfo.init) { engine, cursor, page, capacity in
            cw_wg_peers_read(engine, identity.handle, cursor, page, capacity)
        }
    }

    /// What is to be watched of the peers of an identity, or (nil) of all. Costs little for thousands, and reads no key but the public ones.
    public func activity(of identity: Identity?) throws(EngineError) -> [PeerActivity] {
        try pages("read what peers do", of: cw_wg_activity(), PeerActivity.init) { engine, cursor, page, capacity in
            cw_wg_activity_read(engine, identity?.handle ?? UInt32(CW_WG_ALL_IDENTITIES), cursor, page, capacity)
        }
    }

    /// Page after page, until one is not full. The call is free for others in between.
    private func pages<Native: BitwiseCopyable, Element>(
        _ operation: @autoclosure () -> String, of empty: Native, _ element: (Native) -> Element,
        _ read: (OpaquePointer, UnsafeMutablePointer<cw_wg_cursor>, UnsafeMutablePointer<Native>, Int) -> Int
    ) throws(EngineError) -> [Element] {
        let capacity = 64
        var page = [Native](repeating: empty, count: capacity)
        defer { page.withUnsafeMutableBytes { explicit_bzero($0.baseAddress!, $0.count) } }
        var cursor = cw_wg_cursor()
        var elements: [Element] = []
        var count: Int
        repeat {
            count = try call(operation()) { read($0, &cursor, &page, capacity) }
            elements += page.prefix(count).map(element)
        } while count == capacity
        return elements
    }

    /// What the times in `PeerActivity` are measured by.
    public static var now: UInt64 {
        var time = timespec()
        clock_gettime(CLOCK_MONOTONIC, &time)
        return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
    }

    /// - Throws: cause `.notFound` when the identity has no such peer.
    public func peer(_ publicKey: [UInt8], of identity: Identity) throws(EngineError) -> PeerInfo {
        var native = cw_wg_peer_info()
        defer { wipe(&native) }
        try checkLength(publicKey)
        try perform("read a peer of \(identity)") { cw_wg_peer_read($0, identity.handle, publicKey, &native) }
        return PeerInfo(native)
    }

    public func allowedIPs(of publicKey: [UInt8], _ identity: Identity) throws(EngineError) -> [IPPrefix] {
        try checkLength(publicKey)
        var prefixes = [cw_prefix](repeating: cw_prefix(), count: 64)
        while true {
            let count = try call("read the allowed IPs of a peer of \(identity)") {
                cw_wg_allowed_ips_read($0, identity.handle, publicKey, &prefixes, prefixes.count)
            }
            if count < prefixes.count {
                return prefixes.prefix(count).compactMap { native in
                    IPAddress(native.address).flatMap { IPPrefix($0, length: Int(native.length)) }
                }
            }
            prefixes = [cw_prefix](repeating: cw_prefix(), count: 4 * prefixes.count)
        }
    }

    // MARK: Counters

    public func counters() throws(EngineError) -> Counters {
        var native = cw_wg_counters()
        try call("read the WireGuard counters") { cw_wg_counters_read($0, &native) }
        return Counters(native)
    }

    /// The public key that belongs to a private key.
    public static func publicKey(of privateKey: WireGuardSecret) -> [UInt8] {
        var clamped = [UInt8](unsafeUninitializedCapacity: WireGuardSecret.length) { buffer, count in
            privateKey.withBytes { UnsafeMutableRawBufferPointer(buffer).copyMemory(from: $0) }
            count = WireGuardSecret.length
        }
        defer { clamped.withUnsafeMutableBytes { explicit_bzero($0.baseAddress!, $0.count) } }
        var key = [UInt8](repeating: 0, count: WireGuardSecret.length)
        cw_wg_public_key(&clamped, &key)
        return key
    }

    private func checkLength(_ publicKey: [UInt8]) throws(EngineError) {
        guard publicKey.count == WireGuardSecret.length else {
            throw EngineError(.invalid, "find a peer: its public key is not 32 bytes long")
        }
    }
}

extension WireGuardSecret {
    fileprivate func withKey<Result>(_ body: (UnsafePointer<UInt8>) -> Result) -> Result {
        withBytes { body($0.baseAddress!.assumingMemoryBound(to: UInt8.self)) }
    }
}

private func wipe<Value: BitwiseCopyable>(_ value: inout Value) {
    withUnsafeMutableBytes(of: &value) { explicit_bzero($0.baseAddress!, $0.count) }
}
