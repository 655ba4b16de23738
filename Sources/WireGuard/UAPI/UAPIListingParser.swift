import Addresses

/// What a userspace WireGuard device answers to `get=1` (https://www.wireguard.com/xplatform/), as far as it is about its peers. Keys of
/// the interface and preshared keys are passed over. A line that is not known is passed over too: a newer device may say more.
struct UAPIListingParser {
    enum Problem: Error, Equatable { case line(Int, String), refused(errno: String), cutShort }

    /// In the order of the keys. `bytes` is the whole answer, with its last, empty line.
    static func peers(_ bytes: [UInt8]) throws(Problem) -> [PeerStatus] {
        var peers: [PublicKey: PeerStatus] = [:], peer: PeerStatus?, number = 0, start = bytes.startIndex
        while let end = bytes[start...].firstIndex(of: 0x0A) {
            let line = bytes[start..<end]
            start = end + 1
            number += 1
            guard let equals = line.firstIndex(of: UInt8(ascii: "=")) else { throw .line(number, "no \"=\"") }
            let key = String(decoding: line[..<equals], as: UTF8.self), value = line[(equals + 1)...]
            if key == "errno" {
                guard value.elementsEqual([UInt8(ascii: "0")]) else { throw .refused(errno: String(decoding: value.prefix(16), as: UTF8.self)) }
                guard bytes[start...].elementsEqual([0x0A]) else { throw .cutShort }
                if let peer { peers[peer.publicKey] = peer }
                return peers.values.sorted { $0.publicKey < $1.publicKey }
            }
            if key == "public_key" {
                if let peer { peers[peer.publicKey] = peer }
                guard let secret = decodeKey(hexadecimal: value) else { throw .line(number, "no public key") }
                peer = PeerStatus(publicKey: secret.withBytes { PublicKey(bytes: $0)! })
            } else {
                guard try read(key, value, number, into: &peer) else { throw .line(number, "no \(key)") }
            }
        }
        throw .cutShort
    }

    /// Whether the value is one.
    private static func read(_ key: String, _ value: ArraySlice<UInt8>, _ number: Int, into peer: inout PeerStatus?) throws(Problem) -> Bool {
        // What stands before the first peer is about the interface.
        guard peer != nil else { return true }
        switch key {
        case "endpoint": peer!.endpoint = endpoint(String(decoding: value, as: UTF8.self))
        case "last_handshake_time_sec":
            guard let seconds = Int64(digits: value) else { return false }
            if seconds > 0 { peer!.latestHandshake = .seconds(seconds) }
        case "rx_bytes":
            guard let count = UInt64(digits: value) else { return false }
            peer!.receivedBytes = count
        case "tx_bytes":
            guard let count = UInt64(digits: value) else { return false }
            peer!.sentBytes = count
        case "persistent_keepalive_interval":
            guard let seconds = UInt16(digits: value) else { return false }
            peer!.keepalive = seconds
        case "preshared_key": peer!.hasPresharedKey = !value.allSatisfy { $0 == UInt8(ascii: "0") }
        case "allowed_ip":
            let text = String(decoding: value, as: UTF8.self)
            guard let slash = text.lastIndex(of: "/"), let address = IPAddress(String(text[..<slash])), let length = Int(text[text.index(after: slash)...]),
                let prefix = IPPrefix(containing: address, length: length)
            else { return false }
            peer!.allowedIPs.insert(prefix)
        default: break
        }
        return true
    }

    /// With or without a zone, which is the hub's own business.
    private static func endpoint(_ text: String) -> Endpoint? {
        guard let percent = text.firstIndex(of: "%"), let bracket = text.lastIndex(of: "]"), percent < bracket else { return Endpoint(text) }
        return Endpoint(text[..<percent] + String(text[bracket...]))
    }
}

extension FixedWidthInteger {
    /// Decimal digits and nothing else.
    fileprivate init?(digits: ArraySlice<UInt8>) {
        guard !digits.isEmpty, digits.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        self.init(String(decoding: digits, as: UTF8.self))
    }
}
