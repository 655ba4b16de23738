import Glibc

/// Key material or a password: one heap buffer that is overwritten when the last owner lets go of it, and text that never shows
/// it.
///
/// The bytes leave only through `withUnsafeBytes`; whoever copies them out of there is responsible for the copy.
public struct Secret: Sendable {
    private let storage: Storage

    public var count: Int { storage.buffer.count }
    public var isEmpty: Bool { count == 0 }

    public init(_ bytes: some Collection<UInt8>) {
        self.init(count: bytes.count) { $0.copyBytes(from: bytes) }
    }

    /// A secret of `count` bytes, all zero when `fill` gets them.
    public init(count: Int, fill: (UnsafeMutableRawBufferPointer) -> Void) {
        storage = Storage(count: count)
        fill(storage.buffer)
    }

    /// The password of a user as UTF-8.
    public init(utf8 text: String) { self.init(text.utf8) }

    public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try withExtendedLifetime(storage) { try body(UnsafeRawBufferPointer(storage.buffer)) }
    }

    // Written once, in Secret.init before anybody else can see it; from then on only read until deinit.
    private final class Storage: @unchecked Sendable {
        let buffer: UnsafeMutableRawBufferPointer

        init(count: Int) {
            buffer = .allocate(byteCount: count, alignment: 16)
            buffer.initializeMemory(as: UInt8.self, repeating: 0)
        }

        deinit {
            if let start = buffer.baseAddress { explicit_bzero(start, buffer.count) }
            buffer.deallocate()
        }
    }
}

extension Secret: Equatable {
    /// Takes the same time wherever the first difference is; only the lengths may show.
    public static func == (left: Secret, right: Secret) -> Bool {
        left.withUnsafeBytes { left in right.withUnsafeBytes { constantTimeEqual(left, $0) } }
    }
}

extension Secret: CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    public var description: String { "<secret>" }
    public var debugDescription: String { description }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// Whether both hold the same bytes, in a time that depends on the lengths only.
public func constantTimeEqual(_ left: some Collection<UInt8>, _ right: some Collection<UInt8>) -> Bool {
    guard left.count == right.count else { return false }
    var difference: UInt8 = 0
    for (left, right) in zip(left, right) { difference |= left ^ right }
    return difference == 0
}
