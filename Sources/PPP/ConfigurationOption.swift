/// One option of a Configure packet: type, length, data (RFC 1661 section 6; LCP, CCP and IPCP share the layout).
public struct ConfigurationOption: Hashable, Sendable, Codable {
    public var type: UInt8
    public var data: [UInt8]

    public init(type: UInt8, data: [UInt8] = []) {
        self.type = type
        self.data = data
    }

    /// nil if any length is below 2 or reaches past the end: such a packet is not answered.
    static func parse(_ bytes: ArraySlice<UInt8>) -> [ConfigurationOption]? {
        var options: [ConfigurationOption] = []
        var rest = bytes
        while let type = rest.first {
            guard rest.count >= 2 else { return nil }
            let length = Int(rest[rest.startIndex + 1])
            guard length >= 2, length <= rest.count else { return nil }
            options.append(ConfigurationOption(type: type, data: Array(rest.dropFirst(2).prefix(length - 2))))
            rest = rest.dropFirst(length)
        }
        return options
    }

    /// The data is at most 253 bytes long in every option that was parsed, and in every one that we make.
    var bytes: [UInt8] { [type, UInt8(truncatingIfNeeded: data.count + 2)] + data }
}

extension [ConfigurationOption] {
    var bytes: [UInt8] { flatMap(\.bytes) }

    /// The options whose type has occurred before: LCP, CCP and IPCP options may not be repeated.
    var repeated: [ConfigurationOption] {
        var seen: Set<UInt8> = []
        return filter { !seen.insert($0.type).inserted }
    }
}

// ---- Big-endian fields ----

extension ConfigurationOption {
    init(type: UInt8, _ value: UInt16) { self.init(type: type, data: bigEndian(value)) }
    init(type: UInt8, _ value: UInt32) { self.init(type: type, data: bigEndian(value)) }

    var uint16: UInt16? { data.count == 2 ? UInt16(data[0]) << 8 | UInt16(data[1]) : nil }
    var uint32: UInt32? { data.count == 4 ? data.reduce(0) { $0 << 8 | UInt32($1) } : nil }
}

func bigEndian(_ value: UInt16) -> [UInt8] { [UInt8(value >> 8), UInt8(truncatingIfNeeded: value)] }
func bigEndian(_ value: UInt32) -> [UInt8] { bigEndian(UInt16(value >> 16)) + bigEndian(UInt16(truncatingIfNeeded: value)) }

/// Peers' text for people: what is not printable ASCII or UTF-8 is replaced.
func text(_ bytes: some Collection<UInt8>) -> String { String(decoding: bytes, as: UTF8.self) }
