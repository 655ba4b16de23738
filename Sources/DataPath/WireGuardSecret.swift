#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// A private or preshared key on its way into or out of the WireGuard engine. It prints as "(hidden)" and is wiped when the last user
/// lets go.
public final class WireGuardSecret: @unchecked Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// The length of every WireGuard key.
    public static let length = 32
    /// 32 zero bytes: no key.
    public static let none = WireGuardSecret(unchecked: [UInt8](repeating: 0, count: length))

    // Never written after init, so it may be read from any thread.
    private let bytes: UnsafeMutableRawBufferPointer

    /// nil unless there are exactly 32 bytes.
    public convenience init?(copying key: some Collection<UInt8>) {
        guard key.count == Self.length else { return nil }
        self.init(unchecked: key)
    }

    private init(unchecked key: some Collection<UInt8>) {
        bytes = .allocate(byteCount: Self.length, alignment: 16)
        bytes.copyBytes(from: key)
    }

    deinit {
        explicit_bzero(bytes.baseAddress!, bytes.count)
        bytes.deallocate()
    }

    public func withBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try body(UnsafeRawBufferPointer(bytes))
    }

    public var isNone: Bool { self == .none }

    /// Takes the same time for any two keys.
    public static func == (left: WireGuardSecret, right: WireGuardSecret) -> Bool {
        zip(left.bytes, right.bytes).reduce(UInt8(0)) { $0 | ($1.0 ^ $1.1) } == 0
    }

    public var description: String { "(hidden)" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: [:]) }
}
