import Addresses

/// TCP ports that somebody listens on, as /proc/net/tcp has them: addresses as a hexadecimal number in this host's byte order.
public struct ListeningPorts: Sendable {
    private var sockets: [(address: UInt32, port: UInt16)] = []

    public init(procNetTCP text: String) {
        for line in text.split(separator: "\n").dropFirst() {
            let fields = line.split(separator: " ")
            // 0A is TCP_LISTEN.
            guard fields.count > 3, fields[3] == "0A" else { continue }
            let local = fields[1].split(separator: ":")
            guard local.count == 2, let address = UInt32(local[0], radix: 16), let port = UInt16(local[1], radix: 16) else { continue }
            sockets.append((address, port))
        }
    }

    /// Whether nobody else could listen there: a socket for all addresses takes the port of each, and the other way round.
    public func holds(_ address: IPAddress, _ port: UInt16) -> Bool {
        let wanted = Self.number(address)
        return sockets.contains { $0.port == port && ($0.address == 0 || wanted == 0 || $0.address == wanted) }
    }

    private static func number(_ address: IPAddress) -> UInt32? {
        let parts = "\(address)".split(separator: ".").compactMap { UInt8($0) }
        guard parts.count == 4 else { return nil }
        return parts.withUnsafeBytes { $0.loadUnaligned(as: UInt32.self) }
    }
}
