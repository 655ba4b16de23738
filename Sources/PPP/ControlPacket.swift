/// Code, identifier, length, data: LCP and every protocol modelled on it, CHAP and PAP (RFC 1661 section 5).
struct ControlPacket: Equatable, Sendable, Codable {
    var code: UInt8
    var identifier: UInt8
    var data: ArraySlice<UInt8>

    init(code: UInt8, identifier: UInt8, data: [UInt8] = []) {
        self.code = code
        self.identifier = identifier
        self.data = data[...]
    }

    /// nil if the length field is below 4 or past the end. Bytes after the length are padding (RFC 1661 section 5).
    init?(_ payload: [UInt8]) {
        guard payload.count >= 4 else { return nil }
        let length = Int(payload[2]) << 8 | Int(payload[3])
        guard length >= 4, length <= payload.count else { return nil }
        code = payload[0]
        identifier = payload[1]
        data = payload[4..<length]
    }

    init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let packet = ControlPacket(try container.decode([UInt8].self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "not a control packet")
        }
        self = packet
    }

    func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(bytes)
    }

    static func == (left: ControlPacket, right: ControlPacket) -> Bool {
        left.code == right.code && left.identifier == right.identifier && left.data.elementsEqual(right.data)
    }

    var bytes: [UInt8] {
        let length = data.count + 4
        var bytes: [UInt8] = []
        bytes.reserveCapacity(length)
        bytes += [code, identifier, UInt8(truncatingIfNeeded: length >> 8), UInt8(truncatingIfNeeded: length)]
        bytes += data
        return bytes
    }
}
