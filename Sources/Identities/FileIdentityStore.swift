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
    /// In the order of their ids.
    private var all: [Identity] = []
    private var indexByID: [Identity.ID: Int] = [:]
    /// Handshakes that the file does not have yet.
    private var recent: [Identity.ID: Int64] = [:]
    /// Which file `all` was read from.
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
        return recent.isEmpty ? all : all.map(current)
    }

    public func identity(_ id: Identity.ID) async throws -> Identity? {
        try refresh()
        return indexByID[id].map { current(all[$0]) }
    }

    public func provision(_ plan: IdentityPlan) async throws -> IdentityChange {
        let now = now()
        return try await change { identities in try Provisioning.carryOut(plan, on: &identities, now: now, makeKey: KeyPair.init) }
    }

    public func undo(_ change: IdentityChange) async throws {
        guard !change.isEmpty else { return }
        try await self.change { identities in
            for id in change.created { identities[id] = nil }
            for var identity in change.before {
                identity.handshakeAt = [identity.handshakeAt, identities[identity.id]?.handshakeAt].compactMap { $0 }.max()
                identities[identity.id] = identity
            }
        }
    }

    public func record(handshakes: [Identity.ID: Int64]) async throws {
        try refresh()
        var isNews = false
        for (id, time) in handshakes {
            guard let known = indexByID[id].map({ all[$0] }), time > (recent[id] ?? known.handshakeAt ?? .min) else { continue }
            recent[id] = time
            if known.handshakeAt.map({ time - $0 >= Self.handshakeGrain }) ?? true { isNews = true }
        }
        if isNews { try await change { _ in } }
    }

    public func handOver(_ id: Identity.ID) async throws -> Identity {
        let now = now()
        return try await change(id) { identity in
            guard !identity.isRetired else { throw IdentityError("\(id) is not in the configuration any more") }
            guard !identity.isWiped else { throw IdentityError("\(id) was handed over, and its key is not here any more") }
            if identity.handedOverAt == nil {
                identity.handedOverAt = now
                identity.generation += 1
            }
            return identity
        }
    }

    public func wipe(_ id: Identity.ID) async throws {
        try await change(id) { identity in
            guard identity.isHandedOver else { throw IdentityError("\(id) was not handed over") }
            identity.privateKey = Secret([])
        }
    }

    public func takeBack(_ id: Identity.ID) async throws {
        try await change(id) { identity in
            try identity.expectTakeBack(renewing: false)
            identity.handedOverAt = nil
            identity.generation += 1
        }
    }

    public func renew(_ id: Identity.ID) async throws {
        try await change(id) { identity in
            try identity.expectTakeBack(renewing: true)
            let key = KeyPair()
            identity.privateKey = key.privateKey
            identity.publicKey = key.publicKey
            identity.handedOverAt = nil
            identity.handshakeAt = nil
            identity.generation += 1
        }
    }

    @discardableResult
    private func change<Result>(_ id: Identity.ID, _ body: (inout Identity) throws -> Result) async throws -> Result {
        try await change { identities in
            guard var identity = identities[id] else { throw IdentityError("there is no identity of \(id)") }
            defer { identities[id] = identity }
            return try body(&identity)
        }
    }

    public func prune(tunnel: String?) async throws -> [Identity.ID] {
        try await change { identities in
            let gone = identities.values.filter { $0.isRetired && !$0.isHandedOver && (tunnel == nil || $0.id.tunnel == tunnel) }.map(\.id).sorted()
            for id in gone { identities[id] = nil }
            return gone
        }
    }

    /// Changes what the file says now, and the file with it.
    private func change<Result>(_ body: (inout [Identity.ID: Identity]) throws -> Result) async throws -> Result {
        let lock = try await files.lock()
        defer { lock.release() }
        try refresh()
        var byID = Dictionary(uniqueKeysWithValues: all.lazy.map { ($0.id, $0) })
        for (id, time) in recent { byID[id]?.handshakeAt = time }
        let result = try body(&byID)
        let changed = byID.values.sorted { $0.id < $1.id }
        guard changed != all else { return result }
        stamp = try files.replace(with: IdentityFile.text(of: changed))
        adopt(changed)
        recent = [:]
        return result
    }

    private func refresh() throws {
        let latest = try files.stamp()
        guard latest != stamp else { return }
        guard latest != nil else {
            adopt([])
            stamp = nil
            return
        }
        let (contents, read) = try files.read(limit: Self.maxFileSize)
        // As we write it, it is in order already, which costs next to nothing then.
        adopt(try IdentityFile.parse(contents, path: files.path).sorted { $0.id < $1.id })
        recent = recent.filter { id, time in indexByID[id].map { time > all[$0].handshakeAt ?? .min } ?? false }
        stamp = read
    }

    private func adopt(_ identities: [Identity]) {
        all = identities
        indexByID = Dictionary(uniqueKeysWithValues: identities.indices.lazy.map { (identities[$0].id, $0) })
    }

    private func current(_ identity: Identity) -> Identity {
        var identity = identity
        if let time = recent[identity.id] { identity.handshakeAt = time }
        return identity
    }
}
