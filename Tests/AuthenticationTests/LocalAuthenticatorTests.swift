import Addresses
import Synchronization
import Testing

@testable import Authentication

@Suite struct LocalAuthenticatorTests {
    private final class Clock: Sendable {
        private let value = Mutex(ContinuousClock.now)
        func now() -> ContinuousClock.Instant { value.withLock { $0 } }
        func advance(_ duration: Duration) { value.withLock { $0 += duration } }
    }

    private let clock = Clock()
    private let challenge = [UInt8](repeating: 1, count: 16)
    private let peerChallenge = [UInt8](repeating: 2, count: 16)

    private func authenticator(_ lines: String, failures: Int = 3) throws -> LocalAuthenticator {
        let clock = clock
        return LocalAuthenticator(
            directory: try directory(lines), limits: .init(failures: failures, lockTime: .seconds(60)), now: { clock.now() })
    }

    private func directory(_ lines: String) throws -> UserDirectory {
        let file = try SecretsFile.parse(Secret(utf8: lines), file: "s") { path throws(FileIssue) in
            throw FileIssue(file: path, message: "")
        }
        return UserDirectory(file.entries)
    }

    private func request(
        _ user: String, _ password: String, server: String = "causeway", from source: String = "192.0.2.1", hash: Secret? = nil
    ) -> AuthenticationRequest {
        let response = MSCHAPv2.ntResponse(
            authenticatorChallenge: challenge, peerChallenge: peerChallenge, userName: Array(user.utf8),
            ntHash: hash ?? MSCHAPv2.ntHash(password: Secret(utf8: password)))
        return AuthenticationRequest(
            userName: Array(user.utf8), source: IPAddress(source)!, serverName: server,
            proof: .msCHAPv2(
                identifier: 7, authenticatorChallenge: challenge, peerChallenge: peerChallenge, ntResponse: response))
    }

    private func accepted(_ result: AuthenticationResult) -> AcceptedUser? {
        if case .accept(let user) = result { user } else { nil }
    }
    private func rejected(_ result: AuthenticationResult) -> Rejection? {
        if case .reject(let rejection) = result { rejection } else { nil }
    }

    @Test func theRightPassword() async throws {
        let user = accepted(try await authenticator("ann * pw 10.8.0.7").authenticate(request("ann", "pw")))
        let hash = MSCHAPv2.ntHash(password: Secret(utf8: "pw"))
        let response = MSCHAPv2.ntResponse(
            authenticatorChallenge: challenge, peerChallenge: peerChallenge, userName: Array("ann".utf8), ntHash: hash)
        let client = MSCHAPv2.startKeys(ntHash: hash, ntResponse: response, role: .client)
        #expect(user?.name == "ann")
        #expect(user?.sendStartKey == client.receive)
        #expect(user?.receiveStartKey == client.send)
        #expect(user?.attributes.staticAddress == IPAddress("10.8.0.7"))
        let expected = MSCHAPv2.authenticatorResponse(
            authenticatorChallenge: challenge, peerChallenge: peerChallenge, ntResponse: response, userName: Array("ann".utf8),
            ntHash: hash)
        #expect(user?.successMessage == expected)
    }

    @Test func unknownAndWrongLookAlike() async throws {
        let authenticator = try authenticator("ann * pw *")
        let wrong = rejected(await authenticator.authenticate(request("ann", "no")))
        let unknown = rejected(await authenticator.authenticate(request("eve", "no")))
        #expect(wrong?.reason == .wrongPassword)
        #expect(unknown?.reason == .unknownUser)
        #expect(wrong?.code == .authenticationFailure && wrong?.code == unknown?.code)
        #expect(wrong?.retry == true && wrong?.retry == unknown?.retry)
        #expect(wrong?.message == unknown?.message)
    }

    @Test func aDomainIsLeftOut() async throws {
        #expect(accepted(try await authenticator("ann * pw *").authenticate(request("CORP\\ann", "pw")))?.name == "ann")
    }

    @Test func theServerColumnCounts() async throws {
        let authenticator = try authenticator("ann vpn pw *")
        #expect(accepted(await authenticator.authenticate(request("ann", "pw", server: "vpn"))) != nil)
        #expect(rejected(await authenticator.authenticate(request("ann", "pw")))?.reason == .unknownUser)
    }

    @Test func aWildcardUserKeepsTheNameTheyGave() async throws {
        #expect(accepted(try await authenticator("* * pw *").authenticate(request("X\\zoe", "pw")))?.name == "zoe")
    }

    @Test func noAddressIsNoDialIn() async throws {
        let authenticator = try authenticator("ann * pw -")
        let rejection = rejected(await authenticator.authenticate(request("ann", "pw")))
        #expect(rejection?.code == .noDialInPermission && rejection?.retry == false)
        // Whoever does not know the password does not learn that.
        #expect(rejected(await authenticator.authenticate(request("ann", "no")))?.code == .authenticationFailure)
    }

    @Test func lockedOutUntilTheTimeIsOver() async throws {
        let authenticator = try authenticator("ann * pw *")
        for _ in 0..<3 { _ = await authenticator.authenticate(request("ann", "no")) }
        let rejection = rejected(await authenticator.authenticate(request("ann", "pw")))
        #expect(rejection?.reason == .lockedOut && rejection?.retry == false && rejection?.code == .authenticationFailure)
        #expect(accepted(await authenticator.authenticate(request("ann", "pw", from: "192.0.2.9"))) != nil)
        clock.advance(.seconds(60))
        #expect(accepted(await authenticator.authenticate(request("ann", "pw"))) != nil)
    }

    @Test func replacedUsersCountAtOnceAndLocksStay() async throws {
        let authenticator = try authenticator("ann * pw *")
        for _ in 0..<3 { _ = await authenticator.authenticate(request("bob", "no")) }
        authenticator.replace(directory: try directory("bob * pw *\n"))
        #expect(rejected(await authenticator.authenticate(request("ann", "pw")))?.reason == .unknownUser)
        #expect(rejected(await authenticator.authenticate(request("bob", "pw")))?.reason == .lockedOut)
    }

    @Test func bothReadingsOfAPasswordOutsideASCII() async throws {
        let authenticator = try authenticator("ann * größe *")
        #expect(accepted(await authenticator.authenticate(request("ann", "größe"))) != nil)
        let bytewise = MSCHAPv2.bytewiseNTHash(password: Secret(utf8: "größe"))
        #expect(accepted(await authenticator.authenticate(request("ann", "", hash: bytewise))) != nil)
        #expect(accepted(await authenticator.authenticate(request("ann", "grösse"))) == nil)
    }

    @Test(arguments: [(15, 16, 24), (16, 17, 24), (16, 16, 23), (0, 0, 0)]) func wrongLengths(lengths: (Int, Int, Int))
        async throws
    {
        let proof = AuthenticationRequest.Proof.msCHAPv2(
            identifier: 0, authenticatorChallenge: [UInt8](repeating: 0, count: lengths.0),
            peerChallenge: [UInt8](repeating: 0, count: lengths.1), ntResponse: [UInt8](repeating: 0, count: lengths.2))
        let request = AuthenticationRequest(userName: Array("ann".utf8), source: .anyV4, serverName: "x", proof: proof)
        #expect(rejected(try await authenticator("ann * pw *").authenticate(request))?.reason == .malformed)
    }
}
