import Authentication
import Glibc

/// Identities in one file of a directory of ours, which is replaced as a whole: a crash leaves the old one or the new one.
///
/// Several processes may use it at a time, the gateway and a command of its administrator: a change is made under a lock, to what
/// the file says then.
public actor FileIdentityStore: IdentityStore {
    /// Inside the state directory.
    public static let fileName = "identities.json"
    /// More than half a million identities.
    static let maxFileSize = 256 << 20
    /// A handshake that is so many seconds younger than the one in the file is worth a new file.
    static let handshakeGrain: Int64 = 3600

    private let files: StateFiles
    private let now: @Sendable () -> Int64
    private var byID: [Identity.ID: Identity] = [:]
    /// Handshakes that the file does not have yet.
    private var recent: [Identity.ID: Int64] = [:]
    /// Which file `byID` was read from.
    private var stamp: StateFiles.Stamp?

    /// - Parameters:
    ///   - directory: made when the first identity is stored.
    ///   - owner: an account that gets what root makes here; nil if this process has no other.
    ///   - now: seconds since the Unix epoch.
    public init(directory: String, owner: StateOwner? = nil, now: @escaping @Sendable () -> Int64 = { Int64(time(nil)) }) {
        files = StateFiles(directory: directory, name: Self.fileName, owner: owner)
        self.now = now
    }

    public func identities() async throws -> [Identity] {
        try refresh()
        return byID.values.map(current).sorted { $0.id < $1.id }
    }

    public func identity(_ id: Identity.ID) async throws -> Identity? {
        try refresh()
        return byID[id].map(current)
    }

    public func provision(_ plan: IdentityPlan) async throws -> IdentityChange {
        let now = now()
        return try await change { identities in try Provisioning.carryOut(plan, on: &identities, now: now, makeKey: KeyPair.init) }
    }

    public func record(handshakes: [Identity.ID: Int64]) async throws {
        try refresh()
        var isNews = false
        for (id, time) in handshakes {
            guard let known = byID[id], time > (recent[id] ?? known.handshakeAt ?? .min) else { continue }
            recent[id] = time
            if known.handshakeAt.map({ time - $0 >= Self.handshakeGrain }) ?? true { isNews = true }
        }
        if isNews { try await change { _ in } }
    }

    public func prune(tunnel: String?) async throws -> [Identity.ID] {
        try await change { identities in
            let gone = identities.values.filter { $0.isRetired && (tunnel == nil || $0.id.tunnel == tunnel) }.map(\.id).sorted()
            for id in gone { identities[id] = nil }
            return gone
        }
    }

    /// Changes what the file says now, and the file with it.
    private func change<Result>(_ body: (inout [Identity.ID: Identity]) throws -> Result) async throws -> Result {
        let lock = try await files.lock()
        defer { lock.release() }
        try refresh()
        var changed = byID
        for (id, time) in recent { changed[id]?.handshakeAt = time }
        let result = try body(&changed)
        guard changed != byID else { return result }
        stamp = try files.replace(with: IdentityFile.text(of: changed.values.sorted { $0.id < $1.id }))
        byID = changed
        recent = [:]
        return result
    }

    private func refresh() throws {
        let latest = try files.stamp()
        guard latest != stamp else { return }
        guard latest != nil else {
            byID = [:]
            stamp = nil
            return
        }
        let (contents, read) = try files.read(limit: Self.maxFileSize)
        let identities = try IdentityFile.parse(contents, path: files.path)
        byID = Dictionary(identities.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        recent = recent.filter { id, time in byID[id].map { time > $0.handshakeAt ?? .min } ?? false }
        stamp = read
    }

    private func current(_ identity: Identity) -> Identity {
        var identity = identity
        if let time = recent[identity.id] { identity.handshakeAt = time }
        return identity
    }
}
