import Addresses
import Synchronization

/// The secrets files and the configuration's own users, behind the lock-out.
public final class LocalAuthenticator: Authenticator {
    private struct State {
        var directory: UserDirectory
        var limiter: LoginLimiter
    }

    private let state: Mutex<State>
    private let now: @Sendable () -> ContinuousClock.Instant
    /// What an unknown user's response is checked against, so that it costs what a known user's does. Nobody knows a password for
    /// it.
    private let decoy: Secret

    public init(
        directory: UserDirectory, limits: LoginLimiter.Limits, now: @escaping @Sendable () -> ContinuousClock.Instant = { .now }
    ) {
        state = Mutex(State(directory: directory, limiter: LoginLimiter(limits: limits)))
        self.now = now
        var generator = SystemRandomNumberGenerator()
        decoy = Secret((0..<16).map { _ in UInt8.random(in: 0...255, using: &generator) })
    }

    /// Takes a new set of users from the next log-in on. Lock-outs stay.
    public func replace(directory: UserDirectory) { state.withLock { $0.directory = directory } }

    /// Takes new lock-out limits from the next log-in on.
    public func replace(limits: LoginLimiter.Limits) { state.withLock { $0.limiter.limits = limits } }

    public nonisolated(nonsending) func authenticate(_ request: AuthenticationRequest) async -> AuthenticationResult {
        guard case .msCHAPv2(_, let authenticatorChallenge, let peerChallenge, let ntResponse) = request.proof,
            authenticatorChallenge.count == MSCHAPv2.challengeLength, peerChallenge.count == MSCHAPv2.challengeLength,
            ntResponse.count == MSCHAPv2.responseLength
        else { return .reject(Self.failure(retry: false, .malformed)) }

        let now = now()
        let (entry, allowed) = state.withLock {
            (
                $0.directory.entry(userName: request.userNameBytes, serverName: request.serverName),
                $0.limiter.permits(user: request.userNameBytes, source: request.source, now: now)
            )
        }
        // Known or not, locked out or not: one response is worked out for each candidate hash, and an unknown user has one
        // candidate.
        var match: Secret?
        for hash in entry?.ntHashes ?? [decoy] {
            let expected = MSCHAPv2.ntResponse(
                authenticatorChallenge: authenticatorChallenge, peerChallenge: peerChallenge, userName: request.userNameBytes,
                ntHash: hash)
            if constantTimeEqual(expected, ntResponse) { match = hash }
        }
        guard allowed else { return .reject(Self.failure(retry: false, .lockedOut)) }
        guard let entry, let hash = match else {
            state.withLock { $0.limiter.failed(user: request.userNameBytes, source: request.source, now: now) }
            return .reject(Self.failure(retry: true, entry == nil ? .unknownUser : .wrongPassword))
        }
        state.withLock { $0.limiter.succeeded(user: request.userNameBytes, source: request.source) }
        guard entry.attributes.address != .refused else {
            return .reject(
                Rejection(code: .noDialInPermission, retry: false, message: "No dial-in permission", reason: .noAddress))
        }
        let keys = MSCHAPv2.startKeys(ntHash: hash, ntResponse: ntResponse, role: .server)
        return .accept(
            AcceptedUser(
                name: printableUserName(entry.name ?? Array(MSCHAPv2.withoutDomain(request.userNameBytes))),
                successMessage: MSCHAPv2.authenticatorResponse(
                    authenticatorChallenge: authenticatorChallenge, peerChallenge: peerChallenge, ntResponse: ntResponse,
                    userName: request.userNameBytes, ntHash: hash),
                sendStartKey: keys.send, receiveStartKey: keys.receive, attributes: entry.attributes))
    }

    private static func failure(retry: Bool, _ reason: Rejection.Reason) -> Rejection {
        Rejection(code: .authenticationFailure, retry: retry, message: "Authentication failed", reason: reason)
    }
}
