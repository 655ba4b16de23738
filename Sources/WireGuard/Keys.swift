import CSodium

/// Bytes that are wiped when the last user lets go. libsodium keeps them on locked pages between guard pages and out of core dumps.
final class SecretBytes: @unchecked Sendable {
    // Never written after init, so it may be read from any thread.
    private let pointer: UnsafeMutableRawPointer
    let count: Int

    /// sodium_init may be called from any thread; the result is 1 when it was ready already.
    private static let sodiumIsReady = sodium_init() >= 0

    init(count: Int, fill: (UnsafeMutableRawBufferPointer) -> Void) {
        precondition(Self.sodiumIsReady, "libsodium cannot be initialised")
        guard let pointer = sodium_malloc(count) else { fatalError("no memory for \(count) secret bytes") }
        fill(UnsafeMutableRawBufferPointer(start: pointer, count: count))
        self.pointer = pointer
        self.count = count
    }

    deinit { sodium_free(pointer) }

    func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try body(UnsafeRawBufferPointer(start: pointer, count: count))
    }

    static func == (left: SecretBytes, right: SecretBytes) -> Bool {
        left.count == right.count && sodium_memcmp(left.pointer, right.pointer, left.count) == 0
    }
}

/// The length of every WireGuard key.
public let keyLength = 32

/// Who a WireGuard peer is: a Curve25519 public key. Its text is base64, as in `wg show`.
public struct PublicKey: Hashable, Sendable, Comparable, LosslessStringConvertible, Codable {
    public let bytes: [UInt8]

    /// nil unless there are exactly 32 bytes.
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == keyLength else { return nil }
        self.bytes = Array(bytes)
    }

    public init?(_ text: String) {
        guard let secret = decodeKey(base64: text) else { return nil }
        bytes = secret.withBytes { Array($0) }
    }

    public var description: String { bytes.withUnsafeBytes { base64($0) } }

    public static func < (left: PublicKey, right: PublicKey) -> Bool { left.bytes.lexicographicallyPrecedes(right.bytes) }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let key = PublicKey(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(
                in: container, debugDescription: "not a WireGuard public key (base64 of 32 bytes)")
        }
        self = key
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

/// A Curve25519 private key. It prints as "(hidden)" and is wiped from memory with its last copy.
public struct PrivateKey: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    let secret: SecretBytes

    /// A new random key.
    public init() {
        secret = SecretBytes(count: keyLength) { buffer in
            randombytes_buf(buffer.baseAddress!, keyLength)
            Self.clamp(buffer)
        }
    }

    /// nil unless there are exactly 32 bytes. Clamped as the kernel does it, so that keys compare equal after a round trip.
    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == keyLength else { return nil }
        secret = SecretBytes(count: keyLength) { buffer in
            buffer.copyBytes(from: bytes)
            Self.clamp(buffer)
        }
    }

    /// From base64, as `wg genkey` prints it.
    public init?(base64 text: String) {
        guard let secret = decodeKey(base64: text) else { return nil }
        self.secret = SecretBytes(count: keyLength) { buffer in
            secret.withBytes { buffer.copyMemory(from: $0) }
            Self.clamp(buffer)
        }
    }

    private static func clamp(_ buffer: UnsafeMutableRawBufferPointer) {
        buffer[0] &= 248
        buffer[31] = buffer[31] & 127 | 64
    }

    public var publicKey: PublicKey {
        var point = [UInt8](repeating: 0, count: keyLength)
        // Fails only for points of small order, never for the base point.
        _ = withBytes { crypto_scalarmult_curve25519_base(&point, $0.baseAddress!.assumingMemoryBound(to: UInt8.self)) }
        return PublicKey(bytes: point)!
    }

    public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try secret.withBytes(body)
    }

    /// The secret as base64, for a configuration file that is being written. Never for a log.
    public func exportBase64() -> String { withBytes(base64) }

    public static func == (left: PrivateKey, right: PrivateKey) -> Bool { left.secret == right.secret }
    public var description: String { "(hidden)" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}

/// A symmetric key mixed into the handshake of one peer. Hidden and wiped like a private key.
public struct PresharedKey: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    let secret: SecretBytes

    /// A new random key.
    public init() {
        secret = SecretBytes(count: keyLength) { randombytes_buf($0.baseAddress!, keyLength) }
    }

    public init?(bytes: some Collection<UInt8>) {
        guard bytes.count == keyLength else { return nil }
        secret = SecretBytes(count: keyLength) { $0.copyBytes(from: bytes) }
    }

    public init?(base64 text: String) {
        guard let secret = decodeKey(base64: text) else { return nil }
        self.secret = secret
    }

    /// All zeros is how the kernel and wireguard-go say that there is none.
    public var isZero: Bool { withBytes { sodium_is_zero($0.baseAddress!.assumingMemoryBound(to: UInt8.self), keyLength) == 1 } }

    public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try secret.withBytes(body)
    }
    public func exportBase64() -> String { withBytes(base64) }

    public static func == (left: PresharedKey, right: PresharedKey) -> Bool { left.secret == right.secret }
    public var description: String { "(hidden)" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}

// Constant-time conversions: table look-ups by secret bytes are what libsodium avoids.

func base64(_ bytes: UnsafeRawBufferPointer) -> String {
    var text = [CChar](repeating: 0, count: sodium_base64_encoded_len(bytes.count, Int32(sodium_base64_VARIANT_ORIGINAL)))
    sodium_bin2base64(
        &text, text.count, bytes.baseAddress!.assumingMemoryBound(to: UInt8.self), bytes.count,
        Int32(sodium_base64_VARIANT_ORIGINAL))
    defer { sodium_memzero(&text, text.count) }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

/// 32 bytes from exactly 44 characters of base64; nil for anything else.
func decodeKey(base64 text: String) -> SecretBytes? {
    guard text.utf8.count == 44 else { return nil }
    var valid = false
    let secret = SecretBytes(count: keyLength) { buffer in
        var length = 0
        let result = sodium_base642bin(
            buffer.baseAddress!.assumingMemoryBound(to: UInt8.self), keyLength, text, text.utf8.count, nil, &length, nil,
            Int32(sodium_base64_VARIANT_ORIGINAL))
        valid = result == 0 && length == keyLength
    }
    return valid ? secret : nil
}

/// Lower-case hexadecimal, the form of the UAPI socket.
func hexadecimal(_ bytes: UnsafeRawBufferPointer) -> [UInt8] {
    var text = [CChar](repeating: 0, count: bytes.count * 2 + 1)
    sodium_bin2hex(&text, text.count, bytes.baseAddress!.assumingMemoryBound(to: UInt8.self), bytes.count)
    defer { sodium_memzero(&text, text.count) }
    return text.dropLast().map { UInt8(bitPattern: $0) }
}

func decodeKey(hexadecimal text: Substring) -> SecretBytes? {
    guard text.utf8.count == keyLength * 2 else { return nil }
    let characters = String(text)
    var valid = false
    let secret = SecretBytes(count: keyLength) { buffer in
        var length = 0
        let result = sodium_hex2bin(
            buffer.baseAddress!.assumingMemoryBound(to: UInt8.self), keyLength, characters, characters.utf8.count, nil, &length,
            nil)
        valid = result == 0 && length == keyLength
    }
    return valid ? secret : nil
}
