import Addresses
import Migration

/// Where everything is kept that has to outlive the process: users, their phases and waves, peers, leases, sessions, traffic, events.
///
/// Every call may fail, and one that fails has changed nothing. Each change is one transaction whose rules are constraints of the schema, so
/// that several gateways can share a store; every row that belongs to one gateway names it. Times are given by the caller: seconds since the
/// Unix epoch. No caller waits for the disk more than once to open a session.
public protocol Store: Sendable {
    // MARK: Users
    /// Makes users known; those who are known already are left alone, or come back if they were removed. How many were new.
    func addUsers(_ names: [String], origin: UserOrigin, at now: UnixTime, by actor: Actor) async throws(StoreError) -> Int
    /// Their history stays.
    func removeUser(_ name: String, at now: UnixTime, by actor: Actor) async throws(StoreError)
    func setNote(_ note: String, of user: String, at now: UnixTime, by actor: Actor) async throws(StoreError)
    func user(_ name: String) async throws(StoreError) -> StoredUser?
    /// In the order of names. `limit`: 1...1000.
    func users(_ filter: UserFilter, after: String?, limit: Int) async throws(StoreError) -> Page<StoredUser, String>
    func devices(of user: String) async throws(StoreError) -> [StoredDevice]

    // MARK: Sessions
    /// One transaction: user, device, lease, session and phase. Throws `addressTaken` or `alreadyConnected` where another session stands.
    /// The same opening again is the same session.
    func openSession(_ opening: SessionOpening, _ rules: MigrationRules) async throws(StoreError) -> SessionOpened
    /// Several at once, each with its own answer: one that is refused is no matter to the others. Throws if none was written.
    func openSessions(_ openings: [SessionOpening], _ rules: MigrationRules) async throws(StoreError) -> [Result<SessionOpened, StoreError>]
    /// The changes of phase that follow.
    func closeSessions(_ closings: [SessionClosing], _ rules: MigrationRules) async throws(StoreError) -> [String: PhaseChange]
    /// All that has gone through open sessions so far; also says that this gateway lives.
    func record(totals: [SessionID: Traffic], at now: UnixTime) async throws(StoreError)
    /// Sessions of gateways that have not said since then that they live: they hold addresses that others want. By gateway, how many.
    func endSessionsOfTheDead(silentSince: UnixTime) async throws(StoreError) -> [String: Int]
    /// Takes away what is older than it has to be kept, in short transactions; where there is much, the rest with the next call.
    func prune(_ retention: Retention, at now: UnixTime) async throws(StoreError)
    /// The newest first.
    func sessions(_ filter: SessionFilter, before: SessionID?, limit: Int) async throws(StoreError) -> Page<StoredSession, SessionID>
    /// Addresses that stay with their users, of this gateway.
    func leases() async throws(StoreError) -> [Lease]

    // MARK: Migration
    /// What decides about log-ins, of every user who is not simply in `legacy` without wave or exception.
    func loginFacts() async throws(StoreError) -> [String: LoginFacts]
    /// A sign of life of users' own peers.
    func nativeSeen(_ users: [String], by witness: String, at now: UnixTime, _ rules: MigrationRules) async throws(StoreError) -> [String: PhaseChange]
    /// Reads one user, lets `body` change the value, writes it with the change and its event: one transaction.
    func change(
        _ user: String, by actor: Actor, _ body: @Sendable @escaping (inout UserMigration) -> PhaseChange?
    ) async throws(StoreError) -> PhaseChange?
    /// Time has passed: everybody whose phase follows from it.
    func settle(at now: UnixTime, _ rules: MigrationRules) async throws(StoreError) -> [String: PhaseChange]
    func setExemption(_ exemption: Exemption?, of user: String, at now: UnixTime, by actor: Actor) async throws(StoreError)
    func phasePolicies() async throws(StoreError) -> [Phase: Policy]
    /// nil takes it away.
    func setPolicy(_ policy: Policy?, of phase: Phase, at now: UnixTime, by actor: Actor) async throws(StoreError)

    func waves() async throws(StoreError) -> [Wave]
    func createWave(_ wave: Wave, at now: UnixTime, by actor: Actor) async throws(StoreError)
    func deleteWave(_ name: String, at now: UnixTime, by actor: Actor) async throws(StoreError)
    /// All or nobody: unknown users are named. nil: into no wave.
    func assign(_ users: [String], to wave: String?, at now: UnixTime, by actor: Actor) async throws(StoreError)
    /// Lets `body` command a wave; what it says about members is carried out in the same transaction, except invitations, which are returned:
    /// the members in `legacy` that need one.
    func change(
        wave: String, at now: UnixTime, by actor: Actor, _ rules: MigrationRules,
        _ body: @Sendable @escaping (inout Wave) throws(Wave.Problem) -> [Wave.Action]
    ) async throws(StoreError) -> WaveOutcome
    /// The same for all waves whose time has come.
    func tickWaves(at now: UnixTime, _ rules: MigrationRules) async throws(StoreError) -> WaveOutcome
    func status(at now: UnixTime, days: Int, blockers: Int) async throws(StoreError) -> MigrationStatus

    // MARK: Links
    /// A peer of the gateway's under that key, if there is one, becomes the user's when it is handed over.
    func link(_ link: NewPeerLink, at now: UnixTime, by actor: Actor) async throws(StoreError) -> PeerLink
    /// The peers that the gateway speaks for: those are all. Who is new is linked, who is not named any more is revoked; keys that users hold
    /// are left alone. How many changed.
    func setGatewayLinks(_ links: [NewPeerLink], at now: UnixTime) async throws(StoreError) -> Int
    func revoke(_ id: LinkID, at now: UnixTime, by actor: Actor) async throws(StoreError)
    /// Of one user or of all, revoked ones included, in the order in which they were made.
    func links(of user: String?, after: LinkID?, limit: Int) async throws(StoreError) -> Page<PeerLink, LinkID>

    // MARK: Events
    func record(_ events: [NewEvent]) async throws(StoreError)
    /// The newest first.
    func events(user: String?, before: Int64?, limit: Int) async throws(StoreError) -> Page<StoredEvent, Int64>
    func phaseChanges(of user: String) async throws(StoreError) -> [PhaseChange]
}

/// What a command to a wave, or its date, led to.
public struct WaveOutcome: Sendable, Equatable {
    public var changes: [String: PhaseChange] = [:]
    /// Members who have to be handed a configuration.
    public var toInvite: [String] = []
    public init() {}
}
