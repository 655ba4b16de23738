import Addresses
import CDataPath

extension cw_address {
    init(_ address: IPAddress) {
        self.init()
        family = address.family.rawValue
        withUnsafeMutableBytes(of: &bytes) { $0.copyBytes(from: address.bytes) }
    }
}

extension IPAddress {
    /// nil for family 0 (none).
    init?(_ native: cw_address) {
        guard let family = IPAddress.Family(rawValue: native.family) else { return nil }
        self.init(bytes: withUnsafeBytes(of: native.bytes) { Array($0.prefix(family.byteCount)) })
    }
}

extension cw_prefix {
    init(_ prefix: IPPrefix) {
        self.init()
        address = cw_address(prefix.address)
        length = UInt8(prefix.length)
    }
}
