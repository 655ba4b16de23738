import Foundation

struct Failed: Error { let code: Int32 }

/// Runs `body` on a new thread in a new network namespace, which ends with it.
func apart(loopback: Bool = false, _ body: @escaping @Sendable () throws -> Void) async throws {
    try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
        Thread.detachNewThread {
            continuation.resume(
                with: Result {
                    // unshare(2) is not among the functions that Glibc's module shows to Swift.
                    typealias Unshare = @convention(c) (CInt) -> CInt
                    let newNetwork: CInt = 0x4000_0000
                    guard let symbol = dlsym(nil, "unshare"), unsafeBitCast(symbol, to: Unshare.self)(newNetwork) == 0 else {
                        throw Failed(code: errno)
                    }
                    if loopback { try raiseLoopback() }
                    try body()
                })
        }
    }
}

/// An Ethernet interface that lives until `end`.
struct Tap {
    private let descriptor: Int32

    init(_ name: String) throws {
        descriptor = open("/dev/net/tun", O_RDWR | O_CLOEXEC)
        var request = [UInt8](repeating: 0, count: 40)
        request.replaceSubrange(0..<name.utf8.count, with: Array(name.utf8))
        request[16] = 0x02 // IFF_TAP
        let setInterface: UInt = 0x4004_54CA // TUNSETIFF
        guard ioctl(descriptor, setInterface, &request) == 0 else { throw Failed(code: errno) }
    }

    func end() { close(descriptor) }
}

private func raiseLoopback() throws {
    let descriptor = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    defer { close(descriptor) }
    // struct ifreq: the name in 16 bytes, then the flags; 40 bytes in all.
    var request = [UInt8](repeating: 0, count: 40)
    request.replaceSubrange(0..<2, with: Array("lo".utf8))
    request[16] = UInt8(IFF_UP)
    let setFlags: UInt = 0x8914 // SIOCSIFFLAGS
    guard ioctl(descriptor, setFlags, &request) == 0 else { throw Failed(code: errno) }
}
