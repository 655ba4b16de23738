/// What goes back over the socket. Each answer ends with errno and an empty line.
enum UAPIAnswer {
    static func result(_ refusal: UAPIRefusal? = nil) -> [UInt8] { Array("errno=\(refusal.map { -$0.code } ?? 0)\n\n".utf8) }

    /// Holds keys: wipe it after use. Fields and their order are those of wireguard-go: no private key, port or mark where there is
    /// none, a preshared key of zeros where there is none.
    static func listing(_ listing: InterfaceListing) -> [UInt8] {
        var text: [UInt8] = []
        // All of it at once: what an array grows out of is not wiped.
        text.reserveCapacity(256 + listing.peers.reduce(0) { $0 + 512 + $1.allowedIPs.count * 64 })
        func line(_ key: String, _ value: some CustomStringConvertible) {
            text.append(contentsOf: key.utf8)
            text.append(UInt8(ascii: "="))
            text.append(contentsOf: value.description.utf8)
            text.append(0x0A)
        }
        func line(_ key: String, secret bytes: UnsafeRawBufferPointer) {
            var value = hexadecimal(bytes)
            text.append(contentsOf: key.utf8)
            text.append(UInt8(ascii: "="))
            text.append(contentsOf: value)
            text.append(0x0A)
            value.wipe()
        }
        listing.privateKey?.withBytes { line("private_key", secret: $0) }
        if listing.listenPort != 0 { line("listen_port", listing.listenPort) }
        if listing.fwmark != 0 { line("fwmark", listing.fwmark) }
        let noKey = String(repeating: "0", count: keyLength * 2)
        for peer in listing.peers {
            peer.publicKey.bytes.withUnsafeBytes { line("public_key", secret: $0) }
            if let preshared = peer.presharedKey {
                preshared.withBytes { line("preshared_key", secret: $0) }
            } else {
                line("preshared_key", noKey)
            }
            line("protocol_version", 1)
            if let endpoint = peer.endpoint { line("endpoint", endpoint) }
            let handshake = (peer.latestHandshake ?? .zero).components
            line("last_handshake_time_sec", handshake.seconds)
            line("last_handshake_time_nsec", handshake.attoseconds / 1_000_000_000)
            line("tx_bytes", peer.sentBytes)
            line("rx_bytes", peer.receivedBytes)
            line("persistent_keepalive_interval", peer.keepalive)
            for prefix in peer.allowedIPs { line("allowed_ip", prefix) }
        }
        text.append(contentsOf: result())
        return text
    }
}
