import Addresses

/// Every user this gateway knows by itself: a snapshot, replaced as a whole when the configuration is read again.
public struct UserDirectory: Sendable, Equatable {
    /// Where an entry was written: `/etc/causeway/chap-secrets:12`.
    public struct Origin: Sendable, Hashable, CustomStringConvertible {
        public var file: String
        public var line: Int

        public init(file: String, line: Int) {
            self.file = file
            self.line = line
        }

        public var description: String { "\(file):\(line)" }
    }

    /// A password as the administrator gave it.
    public enum Credential: Sendable, Equatable {
        case password(Secret)
        /// 16 bytes: MD4 of the password in UTF-16LE.
        case ntHash(Secret)
    }

    public struct Entry: Sendable, Equatable {
        /// nil: the wildcard `*`, any user.
        public var name: [UInt8]?
        /// nil: the wildcard `*`, whatever name we gave in the challenge.
        public var server: [UInt8]?
        /// The NT hashes that let the user in; a second one only for passwords outside ASCII (see `MSCHAPv2.bytewiseNTHash`).
        public var ntHashes: [Secret]
        public var attributes: UserAttributes
        public var origin: Origin

        public init(name: [UInt8]?, server: [UInt8]?, credential: Credential, attributes: UserAttributes, origin: Origin) {
            self.name = name
            self.server = server
            self.attributes = attributes
            self.origin = origin
            switch credential {
            case .password(let password):
                ntHashes =
                    [MSCHAPv2.ntHash(password: password)] + (MSCHAPv2.bytewiseNTHash(password: password).map { [$0] } ?? [])
            case .ntHash(let hash):
                ntHashes = [hash]
            }
        }

        /// Where it was written makes no difference: a line that moved is the same entry.
        public static func == (left: Entry, right: Entry) -> Bool {
            (left.name, left.server) == (right.name, right.server) && left.ntHashes == right.ntHashes
                && left.attributes == right.attributes
        }

        /// For messages.
        public var displayName: String { name.map(printableUserName) ?? "*" }
    }

    /// In the order they were added; of two that match a log-in equally well, the earlier one counts.
    public private(set) var entries: [Entry]
    private var indexesByName: [[UInt8]: [Int]]
    private var wildcardIndexes: [Int]

    public init(_ entries: [Entry] = []) {
        self.entries = entries
        indexesByName = [:]
        wildcardIndexes = []
        for (index, entry) in entries.enumerated() {
            if let name = entry.name { indexesByName[name, default: []].append(index) } else { wildcardIndexes.append(index) }
        }
    }

    /// The entry that decides about a log-in, by pppd's rule: a named user beats `*`, then a named server beats `*`, then the
    /// first one.
    ///
    /// A name with a domain is looked for as it is and then without the domain.
    public func entry(userName: [UInt8], serverName: String) -> Entry? {
        if let index = bestIndex(userName, Array(serverName.utf8)), entries[index].name != nil { return entries[index] }
        let bare = Array(MSCHAPv2.withoutDomain(userName))
        return bestIndex(bare, Array(serverName.utf8)).map { entries[$0] }
    }

    private func bestIndex(_ name: [UInt8], _ server: [UInt8]) -> Int? {
        for candidates in [indexesByName[name] ?? [], wildcardIndexes] {
            if let index = candidates.first(where: { entries[$0].server == server }) { return index }
            if let index = candidates.first(where: { entries[$0].server == nil }) { return index }
        }
        return nil
    }
}
