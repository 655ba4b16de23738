#if canImport(Glibc)
    import Glibc
#else
    import Musl
#endif

/// Builds the payload of a netlink message: fixed fields, then attributes, each padded to four bytes.
/// An attribute's length field has 16 bits, so callers that write lists keep a nest below 64 KiB.
public struct MessageWriter: Sendable {
    public private(set) var bytes: [UInt8] = []

    public init() {}

    public var count: Int { bytes.count }

    public mutating func fixed<Number: FixedWidthInteger>(_ number: Number) {
        withUnsafeBytes(of: number) { bytes.append(contentsOf: $0) }
    }

    public mutating func attribute(_ type: UInt16, _ value: some Collection<UInt8>) {
        header(type, value.count)
        bytes.append(contentsOf: value)
        pad()
    }

    public mutating func attribute<Number: FixedWidthInteger>(_ type: UInt16, number: Number) {
        header(type, MemoryLayout<Number>.size)
        fixed(number)
        pad()
    }

    /// NUL-terminated, as the kernel's NLA_NUL_STRING wants it.
    public mutating func attribute(_ type: UInt16, text: String) {
        attribute(type, Array(text.utf8) + [0])
    }

    public mutating func nest(_ type: UInt16, _ body: (inout MessageWriter) throws -> Void) rethrows {
        let start = bytes.count
        header(type | AttributeFlags.nested, 0)
        try body(&self)
        let length = UInt16(bytes.count - start)
        withUnsafeBytes(of: length) { bytes.replaceSubrange(start..<start + 2, with: $0) }
    }

    /// Overwrites the bytes before they are freed; for messages that carry keys.
    public mutating func wipe() { bytes.wipe() }

    private mutating func header(_ type: UInt16, _ length: Int) {
        precondition(length + 4 <= UInt16.max)
        fixed(UInt16(length + 4))
        fixed(type)
    }

    private mutating func pad() {
        while bytes.count % 4 != 0 { bytes.append(0) }
    }
}

extension [UInt8] {
    /// Zeroes the storage (the compiler may not drop it) and empties the array.
    public mutating func wipe() {
        withUnsafeMutableBytes { buffer in
            if let base = buffer.baseAddress { explicit_bzero(base, buffer.count) }
        }
        removeAll()
    }
}
