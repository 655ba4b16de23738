@testable import Netlink

/// Bytes written as hexadecimal text with spaces.
func hex(_ text: String) -> [UInt8] {
    let digits = text.filter(\.isHexDigit)
    return stride(from: 0, to: digits.count, by: 2).map { offset in
        let start = digits.index(digits.startIndex, offsetBy: offset)
        return UInt8(digits[start...digits.index(after: start)], radix: 16)!
    }
}

/// A message as the kernel would send it.
func message(_ type: UInt16, flags: UInt16 = 0, _ payload: [UInt8]) -> NetlinkMessage {
    NetlinkMessage(type: type, flags: flags, sequence: 1, port: 0, payload: payload[...])
}
