import Addresses
import Testing

@testable import Authentication

@Suite struct LoginLimiterTests {
    private let start = ContinuousClock.now
    private let home = IPAddress("192.0.2.1")!
    private let away = IPAddress("192.0.2.2")!
    private let ann = Array("ann".utf8)
    private let bob = Array("bob".utf8)

    private func limiter(_ failures: Int = 3) -> LoginLimiter {
        LoginLimiter(limits: .init(failures: failures, lockTime: .seconds(60)))
    }

    private func fail(_ limiter: inout LoginLimiter, _ times: Int, _ user: [UInt8], _ source: IPAddress, at seconds: Int = 0) {
        for _ in 0..<times { limiter.failed(user: user, source: source, now: start + .seconds(seconds)) }
    }

    @Test func locksAfterTheLastFailure() {
        var limiter = limiter()
        fail(&limiter, 2, ann, home)
        #expect(limiter.permits(user: ann, source: home, now: start))
        fail(&limiter, 1, ann, home)
        #expect(!limiter.permits(user: ann, source: home, now: start))
        #expect(!limiter.permits(user: ann, source: home, now: start + .milliseconds(59_999)))
        #expect(limiter.permits(user: ann, source: home, now: start + .seconds(60)))
    }

    @Test func nobodyElseIsLockedOut() {
        var limiter = limiter()
        fail(&limiter, 3, ann, home)
        #expect(limiter.permits(user: ann, source: away, now: start))
        #expect(limiter.permits(user: bob, source: home, now: start))
    }

    @Test func aDomainIsNoWayAround() {
        var limiter = limiter()
        fail(&limiter, 3, ann, home)
        #expect(!limiter.permits(user: Array("X\\ann".utf8), source: home, now: start))
    }

    @Test func locksGrowUpToEightfold() {
        var limiter = limiter(1)
        var now = 0
        for expected in [60, 120, 240, 480, 480] {
            fail(&limiter, 1, ann, home, at: now)
            #expect(!limiter.permits(user: ann, source: home, now: start + .seconds(now + expected - 1)))
            #expect(limiter.permits(user: ann, source: home, now: start + .seconds(now + expected)))
            now += expected
        }
    }

    @Test func aGoodLogInForgets() {
        var limiter = limiter()
        fail(&limiter, 2, ann, home)
        limiter.succeeded(user: ann, source: home)
        fail(&limiter, 2, ann, home)
        #expect(limiter.permits(user: ann, source: home, now: start))
        limiter.succeeded(user: ann, source: home)
        #expect(limiter.recordCount == 0)
    }

    @Test func oldFailuresAreForgotten() {
        var limiter = limiter()
        fail(&limiter, 2, ann, home)
        fail(&limiter, 1, ann, home, at: 901)
        #expect(limiter.permits(user: ann, source: home, now: start + .seconds(901)))
        fail(&limiter, 2, ann, home, at: 902)
        #expect(!limiter.permits(user: ann, source: home, now: start + .seconds(902)))
    }

    @Test func zeroNeverLocks() {
        var limiter = limiter(0)
        fail(&limiter, 100, ann, home)
        #expect(limiter.permits(user: ann, source: home, now: start))
        #expect(limiter.recordCount == 0)
    }

    @Test func anIPv6HostCannotChangeItsAddress() {
        var limiter = limiter()
        for host in 1...3 { fail(&limiter, 1, ann, IPAddress("2001:db8::\(host)")!) }
        #expect(!limiter.permits(user: ann, source: IPAddress("2001:db8::ffff:1")!, now: start))
        #expect(limiter.permits(user: ann, source: IPAddress("2001:db8:0:1::1")!, now: start))
    }

    @Test func manyNamesFromOneSourceOnlyForgetItsOwn() {
        var limiter = limiter()
        fail(&limiter, 3, ann, away)
        for index in 0..<1000 { fail(&limiter, 1, Array("u\(index)".utf8), home, at: 1) }
        #expect(limiter.recordCount == 65)
        #expect(!limiter.permits(user: ann, source: away, now: start + .seconds(1)))
    }

    @Test func manySourcesAreBounded() {
        var limiter = LoginLimiter(limits: .init(failures: 1, maxSources: 100))
        for index in 0..<1000 {
            limiter.failed(user: ann, source: IPAddress(v4: 0x0A00_0000 + UInt32(index)), now: start + .milliseconds(index))
            #expect(limiter.recordCount <= 100)
        }
        // The latest are the ones that stay.
        #expect(!limiter.permits(user: ann, source: IPAddress(v4: 0x0A00_0000 + 999), now: start + .seconds(1)))
    }
}
