import CNettle
import Glibc

// Swift faces of nettle's MD4 and SHA-1 and of the DES key layout, for MSCHAPv2.swift only. What could reveal a password stays in
// a Secret.

/// SHA-1 over several parts.
struct SHA1: ~Copyable {
    private var context = sha1_ctx()

    init() { nettle_sha1_init(&context) }

    deinit {
        var context = context
        wipe(&context)
    }

    mutating func update(_ bytes: some Sequence<UInt8>) {
        let bytes = Array(bytes)
        nettle_sha1_update(&context, bytes.count, bytes)
    }

    mutating func update(_ secret: Secret) {
        secret.withUnsafeBytes { nettle_sha1_update(&context, $0.count, $0.bindMemory(to: UInt8.self).baseAddress) }
    }

    mutating func digest() -> [UInt8] {
        var digest = [UInt8](repeating: 0, count: Int(SHA1_DIGEST_SIZE))
        nettle_sha1_digest(&context, digest.count, &digest)
        return digest
    }

    /// The first `count` bytes of the digest.
    mutating func secret(count: Int) -> Secret {
        Secret(count: count) { nettle_sha1_digest(&context, $0.count, $0.bindMemory(to: UInt8.self).baseAddress) }
    }
}

func md4(_ secret: Secret) -> Secret {
    secret.withUnsafeBytes { bytes in
        var context = md4_ctx()
        nettle_md4_init(&context)
        nettle_md4_update(&context, bytes.count, bytes.bindMemory(to: UInt8.self).baseAddress)
        defer { wipe(&context) }
        return Secret(count: Int(MD4_DIGEST_SIZE)) {
            nettle_md4_digest(&context, $0.count, $0.bindMemory(to: UInt8.self).baseAddress)
        }
    }
}

/// MD4 over UTF-16LE units: the NT hash of a password.
func md4(units: some Collection<UInt16>) -> Secret {
    md4(
        Secret(count: units.count * 2) { buffer in
            for (index, unit) in units.enumerated() {
                buffer.storeBytes(of: unit.littleEndian, toByteOffset: index * 2, as: UInt16.self)
            }
        })
}

/// 56 bits of key spread over 8 bytes with odd parity in the lowest bit of each (RFC 2759 section 8.6).
func desKey(_ bytes: some Collection<UInt8>) -> [UInt8] {
    let bits = bytes.reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
    return (0..<8).map { index in
        let septet = UInt8(truncatingIfNeeded: bits >> UInt64(49 - 7 * index)) & 0x7F
        return septet << 1 | (septet.nonzeroBitCount.isMultiple(of: 2) ? 1 : 0)
    }
}

func wipe<Value: BitwiseCopyable>(_ value: inout Value) {
    withUnsafeMutableBytes(of: &value) { explicit_bzero($0.baseAddress!, $0.count) }
}

func wipe(_ bytes: inout [UInt8]) {
    bytes.withUnsafeMutableBytes { if let start = $0.baseAddress { explicit_bzero(start, $0.count) } }
}
