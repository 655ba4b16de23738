import CDataPath

/// Packets and bytes of one session. Bytes are inner IP packet bytes; "in" is from the client.
public struct Counters: Sendable, Equatable, Codable {
    public var packetsIn: UInt64 = 0
    public var bytesIn: UInt64 = 0
    public var packetsOut: UInt64 = 0
    public var bytesOut: UInt64 = 0
    public var controlIn: UInt64 = 0
    public var controlOut: UInt64 = 0
    public var greIn: UInt64 = 0
    public var greOut: UInt64 = 0
    /// Put back in order.
    public var reordered: UInt64 = 0
    /// Sequence numbers that never arrived.
    public var lost: UInt64 = 0
    public var keyChanges: UInt64 = 0
    public var icmpSent: UInt64 = 0
    /// CLOCK_MONOTONIC nanoseconds of the last valid GRE packet; 0: none.
    public var lastInNanoseconds: UInt64 = 0
    /// Of the last data packet, either way; 0: none.
    public var lastDataNanoseconds: UInt64 = 0
    /// Dropped packets by cause; causes that did not happen are left out.
    public var drops: [String: UInt64] = [:]

    public init() {}
}

extension Counters {
    init(_ native: cw_counters) {
        packetsIn = native.packets_in
        bytesIn = native.bytes_in
        packetsOut = native.packets_out
        bytesOut = native.bytes_out
        controlIn = native.control_in
        controlOut = native.control_out
        greIn = native.gre_in
        greOut = native.gre_out
        reordered = native.reordered
        lost = native.lost
        keyChanges = native.key_changes
        icmpSent = native.icmp_sent
        lastInNanoseconds = native.last_in_nanoseconds
        lastDataNanoseconds = native.last_data_nanoseconds
        withUnsafeBytes(of: native.drops) { bytes in
            for (index, count) in bytes.bindMemory(to: UInt64.self).enumerated() where count > 0 {
                guard let cause = cw_drop(rawValue: UInt32(index)), let name = cw_drop_name(cause) else { continue }
                drops[String(cString: name)] = count
            }
        }
    }
}
