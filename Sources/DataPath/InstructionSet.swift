import CDataPath

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// Which instructions engines and devices use: the best that the processor has, or what CAUSEWAY_ISA allows.
public enum InstructionSet {
    /// What is wrong with CAUSEWAY_ISA; nil: nothing. Then no engine and no device can be made.
    public static var complaint: String? {
        guard !cw_isa_setting_valid() else { return nil }
        let value = getenv("CAUSEWAY_ISA").map { String(cString: $0) } ?? ""
        let highest = String(cString: cw_isa_highest())
        return "CAUSEWAY_ISA=\(value): \(levels.joined(separator: ", ")) are the values that there are; the best that this processor has is \(highest)"
    }

    /// The kernels of ChaCha20-Poly1305, for example `avx512`.
    public static var cipherKernels: String { String(cString: cw_wg_cipher_kernels()) }

    /// From the lowest to the highest, whether the processor has them or not.
    static var levels: [String] {
        var levels: [String] = []
        while let name = cw_isa_level(UInt32(levels.count)) { levels.append(String(cString: name)) }
        return levels
    }
}
