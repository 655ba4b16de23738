import GRDB
import Migration

extension SQLiteStore {
    public func record(_ events: [NewEvent]) async throws(StoreError) {
        try await write { db, gateway in for event in events { try Self.insert(event, db, gateway) } }
    }

    public func events(user: String?, before: Int64?, limit: Int) async throws(StoreError) -> Page<StoredEvent, Int64> {
        let limit = Self.bounded(limit)
        return try await read { db in
            var arguments: StatementArguments = [before ?? .max]
            if let user { arguments += [user] }
            arguments += [limit]
            let events = try db.rows(Self.eventsQuery(ofUser: user != nil), arguments).map { row in
                StoredEvent(
                    id: row["id"], at: row["at"], gateway: row["gateway_name"], actor: Actor(name: row["actor"], source: row["source"]),
                    kind: row["kind"], user: row["user"], wave: row["wave"], text: row["text"])
            }
            return Page(elements: events, next: events.count == limit ? events.last?.id : nil)
        }
    }

    static func eventsQuery(ofUser: Bool) -> String {
        """
        SELECT e.*, g.name AS gateway_name FROM events e JOIN gateways g ON g.id = e.gateway
        WHERE e.id < ? \(ofUser ? "AND e.user = ?" : "") ORDER BY e.id DESC LIMIT ?
        """
    }

    static func insert(_ event: NewEvent, _ db: Database, _ gateway: Int64) throws {
        try db.run(
            "INSERT INTO events (at, gateway, actor, source, kind, user, wave, text) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [event.at, gateway, event.actor.name, event.actor.source, event.kind, event.user, event.wave, event.text])
    }
}
