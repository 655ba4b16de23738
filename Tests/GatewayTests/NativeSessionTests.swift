import Addresses
import Testing

@testable import Gateway
@testable import SessionMapper
@testable import WireGuard

/// Who has an address that a native peer and PPTP both claim: see NativeSession.
@Suite struct NativeSessionTests {
    let start = ContinuousClock.now

    func session() -> NativeSession {
        NativeSession(
            id: 7,
            user: NativeUser(
                name: "eve", publicKey: PublicKey(bytes: [UInt8](repeating: 1, count: 32))!, address: IPAddress("10.8.0.9")!,
                prefixes: [IPPrefix("192.168.9.0/24")!], tunnel: "hub"))
    }

    /// A look at a peer whose last handshake was so many seconds ago; nil: none.
    func look(
        _ session: inout NativeSession, handshakeAgo: Int?, shared: Bool = true, at seconds: Int = 0, linger: Int = 180
    ) -> NativeSession.Step {
        let peer = PeerStatus(
            publicKey: session.user.publicKey, latestHandshake: handshakeAgo.map { .seconds(100_000 - $0) })
        return session.observed(
            peer, isShared: shared, linger: .seconds(linger), wallClock: .seconds(100_000), now: start + .seconds(seconds))
    }
    func bound(_ session: NativeSession) -> NativeSession {
        var session = session
        session.assignment = .init(
            user: "eve", address: IPAddress("10.8.0.9")!, gateway: IPAddress("10.8.0.1")!, prefixes: session.user.allPrefixes, tunnel: "hub",
            pool: nil)
        return session
    }

    @Test func theAddressComesFirst() {
        #expect(session().user.allPrefixes == [IPPrefix("10.8.0.9/32")!, IPPrefix("192.168.9.0/24")!])
    }

    @Test(arguments: [(nil, NativeSession.Step.none, false), (0, .bind, true), (179, .bind, true), (180, .none, false)] as [(Int?, NativeSession.Step, Bool)])
    func aHandshakeOfTheLastThreeMinutesTakesTheAddress(_ handshakeAgo: Int?, _ step: NativeSession.Step, _ lives: Bool) {
        var session = session()
        #expect(look(&session, handshakeAgo: handshakeAgo) == step)
        #expect(session.isLive == lives)
    }

    @Test func onceIsEnough() {
        var waiting = session()
        waiting.isBinding = true
        #expect(look(&waiting, handshakeAgo: 1) == .none)
        var has = bound(session())
        #expect(look(&has, handshakeAgo: 1) == .none)
    }

    @Test func aSilentPeerKeepsASharedUplink() {
        var session = bound(session())
        _ = look(&session, handshakeAgo: 1)
        #expect(look(&session, handshakeAgo: 200, at: 100_000) == .none)
        #expect(!session.isLive)
    }

    @Test func anUplinkOfItsOwnIsLetGoOfAfterAWhile() {
        var session = bound(session())
        _ = look(&session, handshakeAgo: 1, shared: false)
        #expect(look(&session, handshakeAgo: 180, shared: false, at: 200) == .none)
        #expect(look(&session, handshakeAgo: 300, shared: false, at: 379) == .none)
        #expect(look(&session, handshakeAgo: 360, shared: false, at: 380) == .letGo)
    }

    @Test func aPeerThatTheListenerDoesNotHaveIsSilent() {
        var session = session()
        #expect(session.observed(nil, isShared: true, linger: .zero, wallClock: .seconds(1), now: start) == .none)
        #expect(!session.isLive)
    }
}
