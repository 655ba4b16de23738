import Addresses
import CSodium

/// The lines of one `set` request (https://www.wireguard.com/xplatform/), one at a time. Nothing is carried out before the last
/// of them has been read, so that a request which is cut short or wrong in the middle changes nothing.
struct UAPIChangeParser {
    private(set) var change = InterfaceChange()
    /// The last of change.peers, kept apart: nothing is copied for each line.
    private var peer: InterfaceChange.Peer?

    /// A line without its end.
    mutating func read(_ line: ArraySlice<UInt8>) throws(UAPIRefusal) {
        guard let equals = line.firstIndex(of: UInt8(ascii: "=")) else { throw .notProtocol }
        let key = String(decoding: line[..<equals], as: UTF8.self)
        let value = line[(equals + 1)...]
        if key == "public_key" {
            finishPeer()
            peer = .init(publicKey: try Self.publicKey(value))
        } else if peer != nil {
            try readPeer(key, value)
        } else {
            try readDevice(key, value)
        }
    }

    /// What the lines asked for, after the empty one.
    mutating func finish() -> InterfaceChange {
        finishPeer()
        return change
    }

    private mutating func finishPeer() {
        if let peer { change.peers.append(peer) }
        peer = nil
    }

    private mutating func readDevice(_ key: String, _ value: ArraySlice<UInt8>) throws(UAPIRefusal) {
        switch key {
        case "private_key":
            let secret = try Self.secret(value)
            let isZero = secret.withBytes { $0.allSatisfy { $0 == 0 } }
            change.privateKey = isZero ? .remove : secret.withBytes { .set(PrivateKey(bytes: $0)!) }
        case "listen_port": change.listenPort = try Self.number(value)
        case "fwmark": change.fwmark = try Self.number(value)
        case "replace_peers":
            try Self.expectTrue(value)
            change.replacesPeers = true
        default: throw .invalid
        }
    }

    private mutating func readPeer(_ key: String, _ value: ArraySlice<UInt8>) throws(UAPIRefusal) {
        switch key {
        case "update_only":
            try Self.expectTrue(value)
            peer!.updatesOnly = true
        case "remove":
            try Self.expectTrue(value)
            peer!.isRemoved = true
        case "preshared_key":
            let secret = try Self.secret(value)
            let preshared = secret.withBytes { PresharedKey(bytes: $0)! }
            peer!.preshared = preshared.isZero ? .remove : .set(preshared)
        case "endpoint": peer!.endpoint = try Self.endpoint(value)
        case "persistent_keepalive_interval": peer!.keepalive = try Self.number(value)
        case "replace_allowed_ips":
            try Self.expectTrue(value)
            peer!.replacesAllowedIPs = true
            peer!.allowedIPs = []
            peer!.removedAllowedIPs = []
        case "allowed_ip": try readAllowedIP(value)
        case "protocol_version": guard value.elementsEqual([UInt8(ascii: "1")]) else { throw .invalid }
        default: throw .invalid
        }
    }

    /// `10.0.0.0/8`; `-10.0.0.0/8` takes it away, `+` says the same as nothing. Host bits are cleared.
    private mutating func readAllowedIP(_ value: ArraySlice<UInt8>) throws(UAPIRefusal) {
        var text = value
        let removes = text.first == UInt8(ascii: "-")
        if removes || text.first == UInt8(ascii: "+") { text = text.dropFirst() }
        guard let slash = text.lastIndex(of: UInt8(ascii: "/")),
            let address = IPAddress(String(decoding: text[..<slash], as: UTF8.self)),
            let prefix = IPPrefix(containing: address, length: Int(try Self.number(text[(slash + 1)...]) as UInt16))
        else { throw .invalid }
        if removes {
            peer!.removedAllowedIPs.append(prefix)
            peer!.allowedIPs.removeAll { $0 == prefix }
        } else {
            peer!.allowedIPs.append(prefix)
            if !peer!.removedAllowedIPs.isEmpty { peer!.removedAllowedIPs.removeAll { $0 == prefix } }
        }
    }

    // MARK: Values

    private static func expectTrue(_ value: ArraySlice<UInt8>) throws(UAPIRefusal) {
        guard value.elementsEqual("true".utf8) else { throw .invalid }
    }

    /// Decimal digits and nothing else.
    private static func number<Number: FixedWidthInteger>(_ value: ArraySlice<UInt8>) throws(UAPIRefusal) -> Number {
        guard !value.isEmpty, value.allSatisfy({ (0x30...0x39).contains($0) }), let number = Number(String(decoding: value, as: UTF8.self))
        else { throw .invalid }
        return number
    }

    private static func publicKey(_ value: ArraySlice<UInt8>) throws(UAPIRefusal) -> PublicKey {
        let secret = try self.secret(value)
        return secret.withBytes { PublicKey(bytes: $0)! }
    }

    private static func secret(_ value: ArraySlice<UInt8>) throws(UAPIRefusal) -> SecretBytes {
        guard let secret = decodeKey(hexadecimal: value) else { throw .invalid }
        return secret
    }

    /// `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%eth0]:51820`
    private static func endpoint(_ value: ArraySlice<UInt8>) throws(UAPIRefusal) -> PeerAddress {
        let text = String(decoding: value, as: UTF8.self)
        if let endpoint = Endpoint(text) { return PeerAddress(endpoint) }
        guard let percent = text.firstIndex(of: "%"), let bracket = text.lastIndex(of: "]"), percent < bracket else { throw .invalid }
        let zone = text[text.index(after: percent)..<bracket]
        guard let endpoint = Endpoint(text[..<percent] + String(text[bracket...])), !zone.isEmpty, endpoint.address.isLinkLocal else {
            throw .invalid
        }
        return PeerAddress(endpoint, zone: String(zone))
    }
}

/// 32 bytes from exactly 64 hexadecimal digits; nil for anything else.
func decodeKey(hexadecimal text: ArraySlice<UInt8>) -> SecretBytes? {
    guard text.count == keyLength * 2 else { return nil }
    var valid = false
    let secret = SecretBytes(count: keyLength) { buffer in
        text.withUnsafeBytes { characters in
            var length = 0
            let result = sodium_hex2bin(
                buffer.baseAddress!.assumingMemoryBound(to: UInt8.self), keyLength,
                characters.baseAddress!.assumingMemoryBound(to: CChar.self), characters.count, nil, &length, nil)
            valid = result == 0 && length == keyLength
        }
    }
    return valid ? secret : nil
}
