import Addresses

/// An ICMP echo in its IPv4 packet (RFC 792), as a raw socket with a header of our own takes and gives it.
struct EchoPacket: Equatable {
    var source: IPAddress
    var destination: IPAddress
    var identifier: UInt16
    var sequence: UInt16

    private static let headerLength = 20
    /// As ping(8) sends by default.
    static let dataLength = 56
    private static let icmp: UInt8 = 1
    private static let request: UInt8 = 8
    private static let reply: UInt8 = 0

    init(source: IPAddress, destination: IPAddress, identifier: UInt16, sequence: UInt16) {
        self.source = source
        self.destination = destination
        self.identifier = identifier
        self.sequence = sequence
    }

    /// The request. The kernel fills in the header's checksum, identification and total length (raw(7)).
    var requestBytes: [UInt8] {
        var packet: [UInt8] = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, Self.icmp, 0, 0] + source.bytes + destination.bytes
        var message: [UInt8] = [Self.request, 0, 0, 0]
        message += [UInt8(identifier >> 8), UInt8(truncatingIfNeeded: identifier), UInt8(sequence >> 8), UInt8(truncatingIfNeeded: sequence)]
        message += data
        let sum = Self.checksum(message)
        message[2] = UInt8(sum >> 8)
        message[3] = UInt8(truncatingIfNeeded: sum)
        packet += message
        return packet
    }

    /// A reply whose data is what our request carried; nil for everything else.
    init?(reply packet: some Collection<UInt8>) {
        let packet = Array(packet)
        guard packet.count >= Self.headerLength, packet[0] >> 4 == 4, packet[9] == Self.icmp else { return nil }
        let header = Int(packet[0] & 15) * 4
        guard header >= Self.headerLength, packet.count == header + 8 + Self.dataLength else { return nil }
        let message = packet[header...]
        guard message[header] == Self.reply, message[header + 1] == 0, Self.checksum(message) == 0,
            let source = IPAddress(bytes: packet[12..<16]), let destination = IPAddress(bytes: packet[16..<20])
        else { return nil }
        self.init(
            source: source, destination: destination, identifier: UInt16(message[header + 4]) << 8 | UInt16(message[header + 5]),
            sequence: UInt16(message[header + 6]) << 8 | UInt16(message[header + 7]))
        // Addressed the other way round, the request would have had this data.
        let request = EchoPacket(source: destination, destination: source, identifier: identifier, sequence: sequence)
        guard message.dropFirst(8).elementsEqual(request.data) else { return nil }
    }

    /// Differs for each session and request, so that a reply cannot be taken for another's.
    private var data: [UInt8] {
        let seed = source.bytes + destination.bytes + [UInt8(sequence >> 8), UInt8(truncatingIfNeeded: sequence)]
        return (0..<Self.dataLength).map { UInt8(truncatingIfNeeded: $0) ^ seed[$0 % seed.count] }
    }

    /// RFC 1071: 0 over a message with a correct checksum.
    static func checksum(_ bytes: some Collection<UInt8>) -> UInt16 {
        var sum: UInt32 = 0
        var high = true
        for byte in bytes {
            sum += high ? UInt32(byte) << 8 : UInt32(byte)
            high.toggle()
        }
        while sum >> 16 != 0 { sum = sum & 0xFFFF + sum >> 16 }
        return ~UInt16(sum)
    }
}
