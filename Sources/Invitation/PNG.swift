/// Black and white pictures as PNG (RFC 2083), one bit for each pixel, deflate blocks that are stored (RFC 1951 section 3.2.4): nothing to
/// link with, and small enough.
enum PNG {
    /// `isWhite` is asked for each row and column.
    static func encode(width: Int, height: Int, isWhite: (Int, Int) -> Bool) -> [UInt8] {
        precondition((1...0xFFFF).contains(width) && (1...0xFFFF).contains(height))
        var rows: [UInt8] = []
        for row in 0..<height {
            rows.append(0)  // Filter type none (section 6.1).
            for start in stride(from: 0, to: width, by: 8) {
                rows.append((0..<8).reduce(0) { $0 << 1 | (start + $1 < width && isWhite(row, start + $1) ? 1 : 0) })
            }
        }
        // Bit depth 1, colour type 0 (greyscale), deflate, filter method 0, not interlaced (section 4.1.1).
        let header = bigEndian(UInt32(width)) + bigEndian(UInt32(height)) + [1, 0, 0, 0, 0]
        return [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A] + chunk("IHDR", header) + chunk("IDAT", zlib(rows)) + chunk("IEND", [])
    }

    private static func chunk(_ type: String, _ data: [UInt8]) -> [UInt8] {
        let body = Array(type.utf8) + data
        return bigEndian(UInt32(data.count)) + body + bigEndian(crc(body))
    }

    /// RFC 1950: 32 KB window, no dictionary, and the checksum of what is inside.
    private static func zlib(_ data: [UInt8]) -> [UInt8] {
        var result: [UInt8] = [0x78, 0x01]
        let longest = 0xFFFF
        for start in stride(from: 0, to: data.count, by: longest) {
            let block = data[start..<min(start + longest, data.count)]
            let length = UInt16(block.count)
            result.append(block.endIndex == data.count ? 1 : 0)
            for field in [length, ~length] { result += [UInt8(field & 255), UInt8(field >> 8)] }
            result += block
        }
        return result + bigEndian(adler(data))
    }

    private static func adler(_ data: [UInt8]) -> UInt32 {
        var a: UInt32 = 1, b: UInt32 = 0
        for byte in data {
            a = (a + UInt32(byte)) % 65_521
            b = (b + a) % 65_521
        }
        return b << 16 | a
    }

    /// Section 15: the CRC of ISO 3309.
    private static func crc(_ data: [UInt8]) -> UInt32 {
        ~data.reduce(UInt32.max) { crc, byte in (0..<8).reduce(crc ^ UInt32(byte)) { value, _ in value >> 1 ^ (value & 1 == 1 ? 0xEDB8_8320 : 0) } }
    }

    private static func bigEndian(_ value: UInt32) -> [UInt8] { [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) } }
}
