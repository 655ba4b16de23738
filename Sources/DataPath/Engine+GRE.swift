import Addresses
import CDataPath

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

// What takes GRE before the raw sockets do: opened before the engine is created, which then owns it.

extension GREReception {
    var isRequired: Bool { if case .rings(_, required: true) = self { true } else { false } }
}

extension GREBackend {
    var isBesideRaw: Bool { if case .raw = self { false } else { true } }
}

extension Engine {
    static func openReception(
        _ configuration: EngineConfiguration, _ native: inout cw_engine_config
    ) throws(EngineError) -> (GREBackend, refusals: [String]) {
        let workers = UInt32(clamping: configuration.workers)
        do {
            switch configuration.gre {
            case .raw: return (.raw(because: nil), [])
            case .rings(let rings, _): return (.packet(addresses: try openRings(rings, workers: workers, &native)), [])
            case .xdp(let rings): return try openXDP(rings, workers: workers, &native)
            }
        } catch {
            closeReception(&native)
            if configuration.gre.isRequired { throw error }
            return (.raw(because: error.description), [])
        }
    }

    /// The rule first: what arrives in between is the raw sockets'.
    static func closeReception(_ native: inout cw_engine_config) {
        closeRings(&native)
        withUnsafeMutableBytes(of: &native.frame_fd) { closeAll($0.bindMemory(to: Int32.self)) }
        cw_xdp_destroy(native.xdp)
        native.xdp = nil
    }

    // MARK: XDP

    private static func openXDP(
        _ rings: GRERings, workers: UInt32, _ native: inout cw_engine_config
    ) throws(EngineError) -> (GREBackend, refusals: [String]) {
        var interfaces: [XDPInterface] = []
        var refusals: [String] = []
        var left = rings
        try EngineError.check(cw_xdp_create(workers, &native.xdp), "keep XDP programs")
        for (index, addresses) in Dictionary(grouping: rings.addresses.filter(canTake), by: \.interface).sorted(by: { $0.key < $1.key }) {
            do {
                interfaces.append(try openXDP(index, addresses.map(\.address), native.xdp))
                left.addresses.removeAll { $0.interface == index }
            } catch {
                refusals.append("no XDP program at \(interfaceName(index)): \(error)")
            }
        }
        guard !interfaces.isEmpty else { return (.packet(addresses: try openRings(left, workers: workers, &native)), refusals) }
        try openFrames(workers: workers, &native)
        left.addresses.removeAll { !canTake($0) }
        guard !left.addresses.isEmpty else { return (.xdp(interfaces, packetAddresses: 0), refusals) }
        do {
            return (.xdp(interfaces, packetAddresses: try openRings(left, workers: workers, &native)), refusals)
        } catch {
            closeRings(&native)
            return (.xdp(interfaces, packetAddresses: 0), refusals + ["no packet rings beside XDP: \(error)"])
        }
    }

    private static func openXDP(_ interface: UInt32, _ addresses: [IPAddress], _ xdp: OpaquePointer?) throws(EngineError) -> XDPInterface {
        guard addresses.count <= Int(CW_MAX_TAP_ADDRESSES) else {
            throw EngineError(.system(E2BIG), "take GRE for \(addresses.count) addresses (\(CW_MAX_TAP_ADDRESSES) at most)")
        }
        var one = cw_xdp_config()
        one.interface = interface
        one.address_count = UInt32(addresses.count)
        one.mode = .CW_XDP_BEST
        withUnsafeMutableBytes(of: &one.addresses) { bytes in
            let slots = bytes.bindMemory(to: cw_address.self)
            for (slot, address) in zip(slots.indices, addresses) { slots[slot] = cw_address(address) }
        }
        var report = cw_xdp_report()
        let status = cw_xdp_add(xdp, &one, &report)
        try EngineError.check(status, report.failed.map { String(cString: $0) } ?? "set up an XDP program")
        return XDPInterface(
            name: interfaceName(interface), native: report.native, zeroCopy: report.zero_copy, queues: Int(report.queues), memory: Int(report.memory))
    }

    private static func interfaceName(_ index: UInt32) -> String {
        withUnsafeTemporaryAllocation(of: CChar.self, capacity: Int(IF_NAMESIZE)) { name in
            if_indextoname(index, name.baseAddress) == nil ? "interface \(index)" : String(cString: name.baseAddress!)
        }
    }

    // MARK: Rings

    private static func canTake(_ entry: GRERings.Address) -> Bool { entry.address.family == .v4 && cw_tap_possible(entry.interface) }

    private static func openRings(_ rings: GRERings, workers: UInt32, _ native: inout cw_engine_config) throws(EngineError) -> Int {
        let possible = rings.addresses.filter(canTake)
        guard !possible.isEmpty else {
            throw EngineError(.system(ENODEV), "take GRE at an interface (no listening address is on an Ethernet interface)")
        }
        guard possible.count <= Int(CW_MAX_TAP_ADDRESSES) else {
            throw EngineError(.system(E2BIG), "take GRE at the interfaces of \(possible.count) addresses (\(CW_MAX_TAP_ADDRESSES) at most)")
        }
        var taps = cw_tap_config()
        taps.address_count = UInt32(possible.count)
        withUnsafeMutableBytes(of: &taps.addresses) { bytes in
            let slots = bytes.bindMemory(to: cw_tap_address.self)
            for (slot, entry) in zip(slots.indices, possible) {
                slots[slot] = cw_tap_address(interface: entry.interface, address: cw_address(entry.address))
            }
        }
        // One byte stays zero: the end of the name.
        withUnsafeMutableBytes(of: &taps.table) { $0.copyBytes(from: rings.table.utf8.prefix($0.count - 1)) }
        let opened = withUnsafeMutableBytes(of: &native.tap_fd) { cw_open_gre_taps(&taps, workers, $0.bindMemory(to: Int32.self).baseAddress) }
        try EngineError.check(opened, "open packet rings for GRE (CAP_NET_RAW is needed)")
        try EngineError.check(
            cw_open_gre_rule(&taps, &native.tap_rule_fd),
            "make the nftables table \(rings.table) at the interfaces' ingress (CAP_NET_ADMIN and Linux 5.12 are needed, and nobody else's table of that name)")
        try openFrames(workers: workers, &native)
        return possible.count
    }

    private static func openFrames(workers: UInt32, _ native: inout cw_engine_config) throws(EngineError) {
        for worker in 0..<Int(workers) {
            let opened = withUnsafeMutableBytes(of: &native.frame_fd) { bytes in
                let descriptors = bytes.bindMemory(to: Int32.self)
                return descriptors[worker] >= 0 ? .CW_OK : cw_open_gre_frames(&descriptors[worker])
            }
            try EngineError.check(opened, "open a packet socket to send GRE by (CAP_NET_RAW is needed)")
        }
    }

    private static func closeRings(_ native: inout cw_engine_config) {
        if native.tap_rule_fd >= 0 { closeDescriptor(native.tap_rule_fd) }
        native.tap_rule_fd = -1
        withUnsafeMutableBytes(of: &native.tap_fd) { closeAll($0.bindMemory(to: Int32.self)) }
    }

    private static func closeAll(_ descriptors: UnsafeMutableBufferPointer<Int32>) {
        for (slot, descriptor) in descriptors.enumerated() where descriptor >= 0 {
            closeDescriptor(descriptor)
            descriptors[slot] = -1
        }
    }
}
