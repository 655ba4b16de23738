import Addresses
import Foundation
import GRDB
import Migration

extension SQLiteStore {
    public func link(_ link: NewPeerLink, at now: UnixTime, by actor: Actor) async throws(StoreError) -> PeerLink {
        try await write { db, gateway in
            guard link.publicKey.count == 32 else { throw StoreError.unfit("a public key has 32 bytes") }
            let user = try Self.userRow(db, link.user, origin: .command, at: now)
            if link.isHandedOver {
                try db.run("UPDATE links SET revoked_at = ? WHERE public_key = ? AND holder = 'gateway' AND revoked_at IS NULL", [now, Data(link.publicKey)])
            }
            do { try Self.insert(link, of: user, at: now, db) } catch let error as DatabaseError where error.extendedResultCode == .SQLITE_CONSTRAINT_UNIQUE {
                throw StoreError.keyTaken
            }
            let id = db.lastInsertedRowID
            try Self.insert(NewEvent(at: now, actor: actor, kind: "link", user: link.user, text: "peer \(id) \(link.isHandedOver ? "handed over" : "linked") in tunnel \"\(link.tunnel)\""), db, gateway)
            return PeerLink(
                id: LinkID(id), user: link.user, publicKey: link.publicKey, tunnel: link.tunnel, allowedIPs: link.allowedIPs, holder: link.holder,
                createdAt: now, handedOverAt: link.isHandedOver ? now : nil)
        }
    }

    private static func insert(_ link: NewPeerLink, of user: Int64, at now: UnixTime, _ db: Database) throws {
        try db.run(
            "INSERT INTO links (user, public_key, tunnel, allowed_ips, holder, created_at, handed_over_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                user, Data(link.publicKey), link.tunnel, link.allowedIPs.map(\.description).joined(separator: ","), link.holder.rawValue, now,
                link.isHandedOver ? now : nil,
            ])
    }

    public func setGatewayLinks(_ links: [NewPeerLink], at now: UnixTime) async throws(StoreError) -> Int {
        try await write { db, gateway in
            // By key, live ones of users included: a key belongs to one live peer.
            var live: [[UInt8]: (id: Int64, isOurs: Bool, allowed: String)] = [:]
            for row in try db.rows("SELECT id, public_key, holder, allowed_ips FROM links WHERE revoked_at IS NULL") {
                live[[UInt8](row["public_key"] as Data)] = (row["id"], row["holder"] == "gateway", row["allowed_ips"])
            }
            var changed = 0, wanted: Set<[UInt8]> = []
            for link in links where link.holder == .gateway && wanted.insert(link.publicKey).inserted {
                if let known = live[link.publicKey] {
                    guard known.isOurs, known.allowed != link.allowedIPs.map(\.description).joined(separator: ",") else { continue }
                    try db.run("UPDATE links SET revoked_at = ? WHERE id = ?", [now, known.id])
                }
                // Whoever is no user (any more) has no peer either.
                guard let user = try db.row("SELECT id FROM users WHERE name = ? AND removed_at IS NULL", [link.user])?["id"] as Int64? else { continue }
                try Self.insert(link, of: user, at: now, db)
                changed += 1
            }
            for (key, known) in live where known.isOurs && !wanted.contains(key) {
                try db.run("UPDATE links SET revoked_at = ? WHERE id = ?", [now, known.id])
                changed += 1
            }
            if changed > 0 {
                try Self.insert(NewEvent(at: now, actor: .gateway, kind: "link", text: "peers that the gateway speaks for: \(changed) changed, \(wanted.count) now"), db, gateway)
            }
            return changed
        }
    }

    public func revoke(_ id: LinkID, at now: UnixTime, by actor: Actor) async throws(StoreError) {
        try await write { db, gateway in
            let user = try db.row("SELECT u.name FROM links l JOIN users u ON u.id = l.user WHERE l.id = ?", [id.value])
            guard let user: String = user?["name"] else { throw StoreError.noSuch("peer \(id)") }
            try db.run("UPDATE links SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", [now, id.value])
            guard db.changesCount == 1 else { throw StoreError.unfit("peer \(id) of user \"\(user)\" cannot be revoked: it was before") }
            try Self.insert(NewEvent(at: now, actor: actor, kind: "link", user: user, text: "peer \(id) revoked"), db, gateway)
        }
    }

    public func links(of user: String?, after: LinkID?, limit: Int) async throws(StoreError) -> Page<PeerLink, LinkID> {
        let limit = Self.bounded(limit)
        return try await read { db in
            var arguments: StatementArguments = [after?.value ?? 0]
            if let user { arguments += [user] }
            arguments += [limit]
            let links = try db.rows(Self.linksQuery(ofUser: user != nil), arguments).map(PeerLink.init)
            return Page(elements: links, next: links.count == limit ? links.last?.id : nil)
        }
    }

    static func linksQuery(ofUser: Bool) -> String {
        """
        SELECT l.*, u.name AS user_name FROM links l JOIN users u ON u.id = l.user
        WHERE l.id > ? \(ofUser ? "AND l.user = (SELECT id FROM users WHERE name = ?)" : "") ORDER BY l.id LIMIT ?
        """
    }
}

extension PeerLink {
    fileprivate init(row: Row) {
        let allowed: String = row["allowed_ips"]
        self.init(
            id: LinkID(row["id"]), user: row["user_name"], publicKey: [UInt8](row["public_key"] as Data), tunnel: row["tunnel"],
            allowedIPs: allowed.split(separator: ",").compactMap { IPPrefix(String($0)) }, holder: Holder(rawValue: row["holder"]) ?? .user,
            createdAt: row["created_at"], handedOverAt: row["handed_over_at"], revokedAt: row["revoked_at"])
    }
}
