/// A network prefix with its host bits zero, such as `10.8.0.0/24`.
public struct IPPrefix: Hashable, Sendable, Comparable {
    public let address: IPAddress
    /// 0...32 for IPv4, 0...128 for IPv6.
    public let length: Int

    /// nil if the length is out of range or a host bit is set.
    public init?(_ address: IPAddress, length: Int) {
        guard (0...address.family.bitCount).contains(length) else { return nil }
        guard address.value & ~Self.mask(address.family, length) == 0 else { return nil }
        self.address = address
        self.length = length
    }

    /// The prefix of this length that holds `address`: host bits are cleared.
    public init?(containing address: IPAddress, length: Int) {
        guard (0...address.family.bitCount).contains(length) else { return nil }
        self.address = IPAddress(family: address.family, value: address.value & Self.mask(address.family, length))
        self.length = length
    }

    /// The host prefix: /32 or /128.
    public init(_ host: IPAddress) {
        address = host
        length = host.family.bitCount
    }

    public var family: IPAddress.Family { address.family }
    public var isHost: Bool { length == family.bitCount }
    public var first: IPAddress { address }
    public var last: IPAddress {
        let ones = family == .v4 ? UInt128(UInt32.max) : UInt128.max
        return IPAddress(family: family, value: address.value | (ones & ~Self.mask(family, length)))
    }

    public func contains(_ other: IPAddress) -> Bool {
        other.family == family && other.value & Self.mask(family, length) == address.value
    }
    public func contains(_ other: IPPrefix) -> Bool { other.length >= length && contains(other.address) }
    public func overlaps(_ other: IPPrefix) -> Bool { contains(other) || other.contains(self) }

    public static func < (left: IPPrefix, right: IPPrefix) -> Bool {
        (left.address, left.length) < (right.address, right.length)
    }

    static func mask(_ family: IPAddress.Family, _ length: Int) -> UInt128 {
        let bits = family.bitCount
        guard length > 0 else { return 0 }
        let all = family == .v4 ? UInt128(UInt32.max) : UInt128.max
        return all & ~(length == bits ? 0 : (UInt128(1) << UInt128(bits - length)) - 1)
    }
}
