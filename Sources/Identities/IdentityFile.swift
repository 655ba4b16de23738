import Addresses
import Authentication
import Glibc
import WireGuard

/// The file that identities are kept in: JSON, one identity a line.
///
///     {"version":1,"identities":[
///     {"tunnel":"hub","kind":"user","name":"ann","privateKey":"…","publicKey":"…","addresses":["10.8.0.10"],
///      "createdAt":1790000000,"generation":1,"handshakeAt":1790000300,"retiredAt":1790009999,"handedOverAt":1790009000}
///     ]}
///
/// `handshakeAt`, `retiredAt` and `handedOverAt` are left out where there is none, and `privateKey` of one that was handed over and wiped. Written and read here, byte by byte: private keys do not pass
/// through strings, which nobody can wipe.
enum IdentityFile {
    static let version: Int64 = 1

    // ---- Writing ----

    static func text(of identities: some Collection<Identity>) -> Secret {
        var text: [UInt8] = []
        // Enough: it must not be moved while it grows, which would leave keys behind.
        text.reserveCapacity(64 + identities.reduce(0) { $0 + longest($1) })
        text += "{\"version\":\(version),\"identities\":[".utf8
        var separator = "\n"
        for identity in identities {
            text += separator.utf8
            write(identity, onto: &text)
            separator = ",\n"
        }
        text += "\n]}\n".utf8
        defer { text.withUnsafeMutableBytes { explicit_bzero($0.baseAddress!, $0.count) } }
        return Secret(text)
    }

    /// An upper bound for what `write` makes of it.
    private static func longest(_ identity: Identity) -> Int {
        // A byte of a name becomes at most six: \u0000.
        440 + 6 * (identity.id.tunnel.utf8.count + identity.id.name.utf8.count) + 48 * identity.addresses.count
    }

    private static func write(_ identity: Identity, onto text: inout [UInt8]) {
        text += "{\"tunnel\":".utf8
        write(identity.id.tunnel, onto: &text)
        text += ",\"kind\":\"\(identity.id.kind.rawValue)\",\"name\":".utf8
        write(identity.id.name, onto: &text)
        if !identity.isWiped {
            text += ",\"privateKey\":\"".utf8
            identity.privateKey.withUnsafeBytes { WireGuardKey.encode($0, onto: &text) }
            text += "\"".utf8
        }
        text += ",\"publicKey\":\"\(identity.publicKey)\",\"addresses\":[".utf8
        text += identity.addresses.map { "\"\($0)\"" }.joined(separator: ",").utf8
        text += "],\"createdAt\":\(identity.createdAt),\"generation\":\(identity.generation)".utf8
        if let time = identity.handshakeAt { text += ",\"handshakeAt\":\(time)".utf8 }
        if let time = identity.retiredAt { text += ",\"retiredAt\":\(time)".utf8 }
        if let time = identity.handedOverAt { text += ",\"handedOverAt\":\(time)".utf8 }
        text += "}".utf8
    }

    private static func write(_ name: String, onto text: inout [UInt8]) {
        text.append(UInt8(ascii: "\""))
        for byte in name.utf8 {
            switch byte {
            case UInt8(ascii: "\""), UInt8(ascii: "\\"): text += [UInt8(ascii: "\\"), byte]
            case 0..<0x20: text += "\\u00\(byte < 16 ? "0" : "")\(String(byte, radix: 16))".utf8
            default: text.append(byte)
            }
        }
        text.append(UInt8(ascii: "\""))
    }

    // ---- Reading ----

    static func parse(_ contents: Secret, path: String) throws(IdentityError) -> [Identity] {
        do {
            return try contents.withUnsafeBytes { bytes in
                var json = JSONReader(bytes)
                return try document(&json)
            }
        } catch let error as JSONReader.Failure {
            throw IdentityError("\(path):\(error.line): \(error.message)")
        } catch {
            throw IdentityError("\(path): \(error)")
        }
    }

    private static func document(_ json: inout JSONReader) throws -> [Identity] {
        var identities: [Identity]?
        var found: Int64?
        try json.object { key, json in
            switch key {
            case "version":
                found = try json.integer()
                guard found == version else { throw json.failure("version \(found!) is not known to this causeway, which writes \(version)") }
            case "identities": identities = try list(&json)
            default: throw json.failure("unknown key \"\(key)\"")
            }
        }
        try json.end()
        guard found != nil, let identities else { throw json.failure("version or identities are missing") }
        return identities
    }

    private static func list(_ json: inout JSONReader) throws -> [Identity] {
        var identities: [Identity] = []
        var ids: Set<Identity.ID> = []
        try json.array { json in
            let identity = try identity(&json)
            guard ids.insert(identity.id).inserted else { throw json.failure("\(identity.id) is listed twice") }
            identities.append(identity)
        }
        return identities
    }

    private static func identity(_ json: inout JSONReader) throws -> Identity {
        var tunnel: String?, name: String?, kind: Identity.Kind?
        var privateKey: Secret?, publicKey: PublicKey?
        var addresses: [IPAddress] = []
        var createdAt: Int64?, generation: UInt64?
        var handshakeAt: Int64?, retiredAt: Int64?, handedOverAt: Int64?
        try json.object { key, json in
            switch key {
            case "tunnel": tunnel = try json.string()
            case "kind": kind = Identity.Kind(rawValue: try json.string())
            case "name": name = try json.string()
            case "privateKey":
                privateKey = try json.withRawString(WireGuardKey.decode)
                guard privateKey != nil else { throw json.failure("a privateKey that is no base64 of 32 bytes") }
            case "publicKey":
                // Not by PublicKey's own way from text, which takes locked pages for each.
                publicKey = try json.withRawString(WireGuardKey.decode)?.withUnsafeBytes { PublicKey(bytes: $0) }
            case "addresses":
                try json.array { json in
                    guard let address = IPAddress(try json.string()) else { throw json.failure("expected an IP address") }
                    addresses.append(address)
                }
            case "createdAt": createdAt = try json.integer()
            case "generation": generation = UInt64(exactly: try json.integer())
            case "handshakeAt": handshakeAt = try json.integer()
            case "retiredAt": retiredAt = try json.integer()
            case "handedOverAt": handedOverAt = try json.integer()
            default: throw json.failure("unknown key \"\(key)\"")
            }
        }
        guard let privateKey = privateKey ?? (handedOverAt == nil ? nil : Secret([])) else {
            throw json.failure("an identity without a privateKey that was not handed over")
        }
        guard let tunnel, let kind, let name, let publicKey, let createdAt, let generation else {
            throw json.failure("an identity without a right tunnel, kind, name, publicKey, createdAt or generation")
        }
        return Identity(
            id: .init(tunnel: tunnel, kind: kind, name: name), publicKey: publicKey, privateKey: privateKey, addresses: addresses,
            createdAt: createdAt, generation: generation, handshakeAt: handshakeAt, retiredAt: retiredAt, handedOverAt: handedOverAt)
    }
}
