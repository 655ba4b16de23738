/// A message for the kernel as a value: what a builder returns and a socket sends.
public struct NetlinkRequest: Equatable, Sendable {
    public var type: UInt16
    public var flags: UInt16
    public var payload: [UInt8]
    /// For error texts: "create interface wg0 (wireguard)".
    public var operation: String

    public init(type: UInt16, flags: UInt16, payload: [UInt8], operation: String) {
        self.type = type
        self.flags = flags
        self.payload = payload
        self.operation = operation
    }

    /// NLM_F_REQUEST is always set.
    public func encoded(sequence: UInt32, port: UInt32 = 0, extraFlags: UInt16 = 0) -> [UInt8] {
        var writer = MessageWriter()
        writer.fixed(UInt32(NetlinkMessage.headerLength + payload.count))
        writer.fixed(type)
        writer.fixed(flags | extraFlags | NetlinkFlags.request)
        writer.fixed(sequence)
        writer.fixed(port)
        return writer.bytes + payload
    }
}
