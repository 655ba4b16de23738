import Addresses
import Netlink

@testable import WireGuard

/// Bytes written as hexadecimal text with spaces.
func hex(_ text: String) -> [UInt8] {
    let digits = text.filter(\.isHexDigit)
    return stride(from: 0, to: digits.count, by: 2).map { offset in
        let start = digits.index(digits.startIndex, offsetBy: offset)
        return UInt8(digits[start...digits.index(after: start)], radix: 16)!
    }
}

/// Keys that are easy to see in a dump: every byte the same (private keys come out clamped).
func publicKey(_ byte: UInt8) -> PublicKey { PublicKey(bytes: [UInt8](repeating: byte, count: 32))! }
func presharedKey(_ byte: UInt8) -> PresharedKey { PresharedKey(bytes: [UInt8](repeating: byte, count: 32))! }
func privateKey(_ byte: UInt8) -> PrivateKey { PrivateKey(bytes: [UInt8](repeating: byte, count: 32))! }
func repeated(_ byte: String) -> String { String(repeating: byte, count: 32) }

func prefix(_ text: String) -> IPPrefix { IPPrefix(text)! }
func endpoint(_ text: String) -> Endpoint { Endpoint(text)! }
