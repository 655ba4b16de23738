/// Base64 of 32 bytes, the way WireGuard's tools write keys.
public enum WireGuardKey {
    public static let length = 32
    public static let maxFileSize = 4096

    /// The text itself, if it is a key.
    public static func canonical(_ text: String) -> String? { text.utf8.count == 44 && decode(text) != nil ? text : nil }

    /// 43 digits and `=`, with white space around them allowed; nil if the last digit has bits that no byte uses.
    public static func decode(_ text: String) -> Secret? {
        var text = text
        return text.withUTF8 { decode(UnsafeRawBufferPointer($0)) }
    }

    /// The same for bytes. Not generic: where identities are read there are very many keys, and another module's generics are slow.
    public static func decode(_ text: UnsafeRawBufferPointer) -> Secret? {
        let isSpace = { (byte: UInt8) in byte == 32 || (9...13).contains(byte) }
        var digits = text.drop(while: isSpace)[...]
        guard let end = digits.firstIndex(of: UInt8(ascii: "=")) else { return nil }
        guard digits[digits.index(after: end)...].allSatisfy(isSpace) else { return nil }
        digits = digits[..<end]
        guard digits.count == 43 else { return nil }
        var valid = true
        let secret = Secret(count: length) { buffer in
            var bits: UInt32 = 0
            var held = 0
            var count = 0
            for digit in digits {
                guard let value = value(of: digit) else {
                    valid = false
                    return
                }
                bits = bits << 6 | value
                held += 6
                if held >= 8 {
                    held -= 8
                    buffer[count] = UInt8(truncatingIfNeeded: bits >> UInt32(held))
                    count += 1
                }
            }
            valid = bits & 0b11 == 0
        }
        return valid ? secret : nil
    }

    /// What `decode` takes, appended to bytes that the caller wipes.
    public static func encode(_ key: UnsafeRawBufferPointer, onto text: inout [UInt8]) {
        let start = text.count
        var bits: UInt32 = 0
        var held = 0
        for byte in key {
            bits = bits << 8 | UInt32(byte)
            held += 8
            while held >= 6 {
                held -= 6
                text.append(digit(bits >> UInt32(held) & 63))
            }
        }
        if held > 0 { text.append(digit(bits << UInt32(6 - held) & 63)) }
        while !(text.count - start).isMultiple(of: 4) { text.append(UInt8(ascii: "=")) }
    }

    /// Without a table: which line of one was read can show in the cache.
    private static func digit(_ value: UInt32) -> UInt8 {
        switch value {
        case 0..<26: UInt8(ascii: "A") + UInt8(value)
        case 26..<52: UInt8(ascii: "a") + UInt8(value - 26)
        case 52..<62: UInt8(ascii: "0") + UInt8(value - 52)
        case 62: UInt8(ascii: "+")
        default: UInt8(ascii: "/")
        }
    }

    private static func value(of digit: UInt8) -> UInt32? {
        switch digit {
        case UInt8(ascii: "A")...UInt8(ascii: "Z"): UInt32(digit - UInt8(ascii: "A"))
        case UInt8(ascii: "a")...UInt8(ascii: "z"): UInt32(digit - UInt8(ascii: "a")) + 26
        case UInt8(ascii: "0")...UInt8(ascii: "9"): UInt32(digit - UInt8(ascii: "0")) + 52
        case UInt8(ascii: "+"): 62
        case UInt8(ascii: "/"): 63
        default: nil
        }
    }
}
