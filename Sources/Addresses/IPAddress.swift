/// An IPv4 or IPv6 address: 16 bytes and a family, the same shape inside and outside, in Swift, C and the database.
public struct IPAddress: Hashable, Sendable, Comparable {
    public enum Family: UInt8, Sendable, Codable {
        case v4 = 4
        case v6 = 6
        /// Address length in bytes.
        public var byteCount: Int { self == .v4 ? 4 : 16 }
        public var bitCount: Int { byteCount * 8 }
    }

    public let family: Family
    /// Big-endian value: the whole address for IPv6, the low 32 bits for IPv4.
    let value: UInt128

    init(family: Family, value: UInt128) {
        self.family = family
        self.value = value
    }

    public init(v4 value: UInt32) { self.init(family: .v4, value: UInt128(value)) }

    /// nil unless there are exactly 4 or 16 bytes (network byte order).
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == 4 || bytes.count == 16 else { return nil }
        self.init(family: bytes.count == 4 ? .v4 : .v6, value: bytes.reduce(0) { $0 << 8 | UInt128($1) })
    }

    public static let anyV4 = IPAddress(v4: 0)
    public static let anyV6 = IPAddress(family: .v6, value: 0)

    /// The address as 32 bits; nil for IPv6.
    public var v4: UInt32? { family == .v4 ? UInt32(truncatingIfNeeded: value) : nil }
    public var isUnspecified: Bool { value == 0 }
    public var isLoopback: Bool { family == .v4 ? value >> 24 == 127 : value == 1 }
    public var isMulticast: Bool { family == .v4 ? value >> 28 == 0xE : value >> 120 == 0xFF }
    public var isLinkLocal: Bool { family == .v4 ? value >> 16 == 0xA9FE : value >> 118 == 0xFE80 >> 6 }

    /// 4 or 16 bytes in network byte order.
    public var bytes: [UInt8] {
        let count = family.byteCount
        return (0..<count).map { UInt8(truncatingIfNeeded: value >> UInt128((count - 1 - $0) * 8)) }
    }

    public static func < (left: IPAddress, right: IPAddress) -> Bool {
        (left.family.rawValue, left.value) < (right.family.rawValue, right.value)
    }

    /// The address `distance` steps away; nil past the end of the family's space.
    public func advanced(by distance: Int) -> IPAddress? {
        let (moved, overflow) =
            distance >= 0
            ? value.addingReportingOverflow(UInt128(distance)) : value.subtractingReportingOverflow(UInt128(distance.magnitude))
        guard !overflow, family == .v6 || moved <= UInt128(UInt32.max) else { return nil }
        return IPAddress(family: family, value: moved)
    }
}
