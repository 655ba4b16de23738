import Addresses
import Foundation
import GRDB
import Migration

// How values lie in columns.

extension IPAddress {
    /// The column is a blob of 4 or 16 bytes by constraint.
    init(column bytes: Data) { self = IPAddress(bytes: bytes) ?? .anyV6 }
    var column: Data { Data(bytes) }
}

extension Mover {
    init(kind: String, name: String) {
        switch kind {
        case "wave": self = .wave(name)
        case "administrator": self = .administrator(name)
        default: self = .evidence
        }
    }
    var kind: String {
        switch self {
        case .evidence: "evidence"
        case .wave: "wave"
        case .administrator: "administrator"
        }
    }
    var name: String {
        switch self {
        case .evidence: ""
        case .wave(let name), .administrator(let name): name
        }
    }
}

/// A policy is one text: it is read and written whole, and nobody asks for its parts.
enum PolicyText {
    static func encode(_ policy: Policy) throws -> String {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys]
        return String(decoding: try encoder.encode(policy), as: UTF8.self)
    }
    static func decode(_ text: String) throws -> Policy {
        do { return try JSONDecoder().decode(Policy.self, from: Data(text.utf8)) } catch {
            throw StoreError.unusable("a policy cannot be read: \(text)")
        }
    }
}

extension UserMigration {
    /// Columns of `users`, and `open`: the number of live PPTP sessions.
    static let columns = """
        u.id, u.name, u.phase, u.phase_since, u.mover_kind, u.mover, u.legacy_at, u.native_since, u.native_at, u.invited_at, u.set_by_hand, u.held,
        (SELECT count(*) FROM sessions s WHERE s.user = u.id AND s.kind = 'pptp' AND s.closed_at IS NULL) AS open
        """

    init(row: Row) {
        self.init(
            phase: Phase(rawValue: row["phase"]) ?? .legacy, since: row["phase_since"], mover: Mover(kind: row["mover_kind"], name: row["mover"]),
            legacyAt: row["legacy_at"], openLegacySessions: row["open"], nativeSince: row["native_since"], nativeAt: row["native_at"],
            invitedAt: row["invited_at"], isSetByHand: row["set_by_hand"], isHeld: row["held"])
    }

    func save(_ db: Database, user: Int64) throws {
        try db.cachedStatement(
            sql: """
                UPDATE users SET phase = ?, phase_since = ?, mover_kind = ?, mover = ?, legacy_at = ?, native_since = ?, native_at = ?, invited_at = ?,
                    set_by_hand = ?, held = ? WHERE id = ?
                """
        ).execute(arguments: [
            phase.rawValue, since, mover.kind, mover.name, legacyAt, nativeSince, nativeAt, invitedAt, isSetByHand, isHeld, user,
        ])
    }
}

extension Database {
    func rows(_ sql: String, _ arguments: StatementArguments = []) throws -> [Row] {
        try Row.fetchAll(cachedStatement(sql: sql), arguments: arguments)
    }
    func row(_ sql: String, _ arguments: StatementArguments = []) throws -> Row? {
        try Row.fetchOne(cachedStatement(sql: sql), arguments: arguments)
    }
    func run(_ sql: String, _ arguments: StatementArguments = []) throws {
        try cachedStatement(sql: sql).execute(arguments: arguments)
    }
}
