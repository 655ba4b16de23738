import Addresses

/// The cross-platform userspace interface of WireGuard (https://www.wireguard.com/xplatform/): lines of key=value over a
/// Unix socket; a request and its answer each end with an empty line.
enum UAPIText {
    /// What came back does not follow the protocol, or is a refusal (errno).
    enum Failure: Error, Equatable {
        case malformed(String)
        case refused(code: Int32)
    }

    static let get = Array("get=1\n\n".utf8)

    /// Holds keys: wipe it after use.
    static func set(_ update: DeviceUpdate) -> [UInt8] {
        var text = Array("set=1\n".utf8)
        func line(_ key: String, _ value: String) { text += Array("\(key)=\(value)\n".utf8) }
        func line(_ key: String, secret bytes: UnsafeRawBufferPointer) {
            var value = hexadecimal(bytes)
            text += Array("\(key)=".utf8)
            text += value
            text.append(0x0A)
            value.wipe()
        }
        if let key = update.privateKey { key.withBytes { line("private_key", secret: $0) } }
        if let port = update.listenPort { line("listen_port", "\(port)") }
        if let mark = update.fwmark { line("fwmark", "\(mark)") }
        for peer in update.peers {
            peer.publicKey.bytes.withUnsafeBytes { line("public_key", secret: $0) }
            switch peer.kind {
            case .add: break
            case .change: line("update_only", "true")
            case .remove: line("remove", "true")
            }
            switch peer.preshared {
            case .set(let key): key.withBytes { line("preshared_key", secret: $0) }
            case .remove: line("preshared_key", String(repeating: "0", count: keyLength * 2))
            case nil: break
            }
            if let endpoint = peer.endpoint { line("endpoint", "\(endpoint)") }
            if let keepalive = peer.keepalive { line("persistent_keepalive_interval", "\(keepalive)") }
            if peer.replacesAllowedIPs { line("replace_allowed_ips", "true") }
            for prefix in peer.allowedIPs { line("allowed_ip", "\(prefix)") }
        }
        text.append(0x0A)
        return text
    }

    /// The answer to a set: nothing but errno.
    static func parseResult(_ text: [UInt8]) throws {
        let lines = try self.lines(text)
        guard lines.count == 1 else { throw Failure.malformed("\(lines.count) lines where one was expected") }
    }

    static func parseDevice(_ text: [UInt8]) throws -> DeviceState {
        var state = DeviceState()
        var current: PublicKey?
        var handshake: (seconds: Int64, nanoseconds: Int64) = (0, 0)
        for (key, value) in try lines(text) where key != "errno" {
            if key == "public_key" {
                guard let secret = decodeKey(hexadecimal: value) else { throw Failure.malformed("a public key") }
                current = secret.withBytes { PublicKey(bytes: $0) }
                state.peers[current!] = .init()
                handshake = (0, 0)
            } else if let peer = current {
                try read(key, value, into: &state.peers[peer]!, &handshake)
            } else {
                switch key {
                case "private_key":
                    guard let secret = decodeKey(hexadecimal: value) else { throw Failure.malformed("a private key") }
                    let isZero = secret.withBytes { $0.allSatisfy { $0 == 0 } }
                    state.privateKey = isZero ? nil : secret.withBytes { PrivateKey(bytes: $0) }
                case "listen_port": state.listenPort = try number(key, value)
                case "fwmark": state.fwmark = try number(key, value)
                // Later versions may say more.
                default: break
                }
            }
        }
        return state
    }

    private static func read(
        _ key: Substring, _ value: Substring, into peer: inout DeviceState.Peer,
        _ handshake: inout (seconds: Int64, nanoseconds: Int64)
    ) throws {
        switch key {
        case "preshared_key":
            guard let secret = decodeKey(hexadecimal: value), let preshared = secret.withBytes({ PresharedKey(bytes: $0) })
            else { throw Failure.malformed("a preshared key") }
            peer.presharedKey = preshared.isZero ? nil : preshared
        case "endpoint":
            guard let endpoint = Endpoint(String(value)) else { throw Failure.malformed("endpoint \(value)") }
            peer.endpoint = endpoint
        case "last_handshake_time_sec", "last_handshake_time_nsec":
            if key.hasSuffix("_nsec") {
                handshake.nanoseconds = try number(key, value)
            } else {
                handshake.seconds = try number(key, value)
            }
            guard handshake.nanoseconds >= 0, handshake.nanoseconds < 1_000_000_000 else {
                throw Failure.malformed("a handshake time")
            }
            peer.latestHandshake = handshake == (0, 0) ? nil : .seconds(handshake.seconds) + .nanoseconds(handshake.nanoseconds)
        case "rx_bytes": peer.receivedBytes = try number(key, value)
        case "tx_bytes": peer.sentBytes = try number(key, value)
        case "persistent_keepalive_interval": peer.keepalive = try number(key, value)
        case "allowed_ip":
            guard let prefix = IPPrefix(String(value)) else { throw Failure.malformed("allowed IP \(value)") }
            peer.allowedIPs.insert(prefix)
        default: break
        }
    }

    /// Key and value of each line up to the empty one. A refusal is thrown.
    private static func lines(_ text: [UInt8]) throws -> [(Substring, Substring)] {
        guard text.suffix(2) == [0x0A, 0x0A] else { throw Failure.malformed("the answer does not end with an empty line") }
        let pairs: [(Substring, Substring)] = try String(decoding: text.dropLast(2), as: UTF8.self).split(separator: "\n").map {
            line in
            guard let equals = line.firstIndex(of: "=") else { throw Failure.malformed("a line without =") }
            return (line[..<equals], line[line.index(after: equals)...])
        }
        guard let (key, value) = pairs.last, key == "errno" else { throw Failure.malformed("the answer does not end with errno") }
        let code: Int32 = try number(key, value)
        // wireguard-go reports -EINVAL as it is defined in Go: negative on some versions.
        guard code == 0 else { throw Failure.refused(code: code == .min ? code : abs(code)) }
        return pairs
    }

    private static func number<Number: FixedWidthInteger>(_ key: Substring, _ value: Substring) throws -> Number {
        guard let number = Number(value) else { throw Failure.malformed("\(key)=\(value)") }
        return number
    }
}
