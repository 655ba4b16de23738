import Addresses

/// One PPP link, either end (RFC 1661): frames, verdicts and time in, actions out.
///
/// Timers, all of them behind `deadline` and `timer`:
/// - restart timer of LCP, CCP and IPCP: 3 s; the first LCP requests are repeated after 0.5 s and 1 s
/// - CHAP: a challenge is repeated every 3 s, at most 10 times; the next challenge of a live link after `rechallengeInterval`
/// - LCP echo: every `echoInterval` while LCP is open; `echoFailures` unanswered ones end the link
/// - `authenticationTimeout` from the start, `negotiationTimeout` from the authentication to an open IPCP
/// - Protocol-Rejects: a bucket of 8, refilled by one per second
///
/// When an action list holds `terminated`, it is the last one, and the session stays silent from then on.
public struct PPPSession: Sendable {
    /// Frames from the data path, with address, control and protocol fields removed.
    public mutating func receive(protocol number: UInt16, payload: [UInt8], now: ContinuousClock.Instant) -> [PPPAction] { [] }
    /// To be called at `deadline` or later; early calls do no harm.
    public mutating func timer(now: ContinuousClock.Instant) -> [PPPAction] { [] }
    /// When `timer` has something to do; nil when nothing is pending.
    public var deadline: ContinuousClock.Instant? { nil }
    public init(configuration: PPPConfiguration, random: some RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()) {}
    public mutating func start(now: ContinuousClock.Instant) -> [PPPAction] { [] }
    /// Ends the link with a Terminate-Request; `terminated(reason)` follows when the peer has answered or had its time.
    public mutating func close(reason: TerminationReason, now: ContinuousClock.Instant) -> [PPPAction] { [] }
    /// The call or the connection is gone: the end at once, without a word to the peer.
    public mutating func lowerLayerDown(now: ContinuousClock.Instant) -> [PPPAction] { [] }
    /// The data path cannot recover its MPPE state: CCP is negotiated again, the network layer stays up.
    public mutating func decryptionLost(now: ContinuousClock.Instant) -> [PPPAction] { [] }
    /// Server: the answer to `authenticate`. An identifier that is no longer waited for is ignored.
    public mutating func authenticated(identifier: UInt8, _ verdict: AuthenticationVerdict, now: ContinuousClock.Instant) -> [PPPAction] { [] }
    /// Server: the answers to `allocateAddress`.
    public mutating func assign(_ assignment: AddressAssignment, now: ContinuousClock.Instant) -> [PPPAction] { [] }
    public mutating func refuseAddress(now: ContinuousClock.Instant) -> [PPPAction] { [] }
    /// Client: the answers to `challenged` (MS-CHAPv2) and to `verify`.
    public mutating func respond(
        identifier: UInt8, peerChallenge: [UInt8], ntResponse: [UInt8], userName: [UInt8], now: ContinuousClock.Instant
    ) -> [PPPAction] { [] }
    public mutating func verifiedSuccess(keys: MPPEStartKeys?, now: ContinuousClock.Instant) -> [PPPAction] { [] }
    public mutating func refusedSuccess(now: ContinuousClock.Instant) -> [PPPAction] { [] }
}
