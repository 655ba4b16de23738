/// Where identities are kept. Every call may fail, and one that fails has changed nothing.
public protocol IdentityStore: Sendable {
    /// All of them, retired ones included, in the order of their ids.
    func identities() async throws -> [Identity]

    /// nil if there is none, retired or not.
    func identity(_ id: Identity.ID) async throws -> Identity?

    /// Makes what the plan needs and is not there yet, and retires what it does not need any more. All of it or nothing.
    func provision(_ plan: IdentityPlan) async throws -> IdentityChange

    /// Takes back what `provision` did, for a configuration that is not taken after all: what it made is gone, the others are as they were.
    func undo(_ change: IdentityChange) async throws

    /// Remembers when identities completed a handshake, in seconds since the Unix epoch. Meant to be told again and again: a store
    /// may keep news that do not matter much (a handshake after another of the same hour) to itself.
    func record(handshakes: [Identity.ID: Int64]) async throws

    /// The user's device becomes the one holder: what it returns is to be handed out once, and is not to be used any more. Asking again gives
    /// the same, until it is wiped.
    func handOver(_ id: Identity.ID) async throws -> Identity

    /// The device has been seen with it: the key is wiped here, for good.
    func wipe(_ id: Identity.ID) async throws

    /// We are its holder again. Throws if it was wiped.
    func takeBack(_ id: Identity.ID) async throws

    /// We are its holder again, with another key: whoever has the old one is nobody to a hub that is told.
    func renew(_ id: Identity.ID) async throws

    /// Forgets retired identities, of all tunnels or of one, for good, but for those that users hold: their keys and addresses are gone. Those it forgot.
    func prune(tunnel: String?) async throws -> [Identity.ID]
}

/// What `provision` did.
public struct IdentityChange: Sendable, Equatable {
    public var created: [Identity.ID] = []
    /// They have another address than before.
    public var readdressed: [Identity.ID] = []
    /// Retired before, needed again.
    public var revived: [Identity.ID] = []
    public var retired: [Identity.ID] = []
    /// As they were: all but those it created.
    var before: [Identity] = []

    public init() {}

    public var isEmpty: Bool { self == IdentityChange() }
    /// `2 created, 1 retired`
    public var summary: String {
        let counts = [(created, "created"), (readdressed, "with another address"), (revived, "in use again"), (retired, "retired")]
        return counts.filter { !$0.0.isEmpty }.map { "\($0.0.count) \($0.1)" }.joined(separator: ", ")
    }
}

/// Why identities cannot be had, in words for an administrator.
public struct IdentityError: Error, Sendable, Equatable, CustomStringConvertible {
    public var description: String

    public init(_ description: String) { self.description = description }
}
