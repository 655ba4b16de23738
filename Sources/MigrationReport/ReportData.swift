import Devices
import Foundation
import Migration
import Store

extension MigrationReport {
    // MARK: JSON

    /// An object with sorted names; times are seconds since the Unix epoch, days count from it.
    public var json: [UInt8] {
        get throws {
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
            return [UInt8](try encoder.encode(document))
        }
    }

    private struct Document: Encodable {
        struct Day: Encodable { var day: Int, counts: [String: Int], done: Int, remaining: Int }
        struct Wave: Encodable { var name: String, state: String, startsAt: UnixTime?, refusesAt: UnixTime?, counts: [String: Int] }
        struct Blocker: Encodable { var user: String, phase: String, device: String?, legacyAt: UnixTime?, bytes: Int64 }
        struct Device: Encodable { var kind: String, users: Int, wireGuard: String }
        struct Expectation: Encodable { var state: String, day: Int? = nil, perDay: Double? = nil }
        struct User: Encodable {
            var name: String, phase: String, since: UnixTime, setBy: String, confirmed: Bool, wave: String?, device: String?
            var legacyAt: UnixTime?, nativeSince: UnixTime?, nativeAt: UnixTime?, exemptUntil: UnixTime?
        }

        var instance: String, at: UnixTime, total: Int, done: Int, counts: [String: Int], unassigned: [String: Int]
        var trend: [Day], forecast: Expectation, setByHand: Int, exempt: Int, waves: [Wave], blockers: [Blocker], devices: [Device]
        var next: [Step], users: [User]
    }

    private static func named(_ counts: [Phase: Int]) -> [String: Int] {
        Dictionary(uniqueKeysWithValues: Phase.allCases.map { ($0.rawValue, counts[$0] ?? 0) })
    }

    private var document: Document {
        let expectation: Document.Expectation =
            switch forecast {
            case .done: .init(state: "done")
            case .ends(let day, let perDay): .init(state: "ends", day: day, perDay: perDay)
            case .stalled: .init(state: "stalled")
            case .unknown: .init(state: "unknown")
            }
        return Document(
            instance: instance, at: at, total: total, done: done, counts: Self.named(status.counts), unassigned: Self.named(status.unassigned),
            trend: status.trend.map { .init(day: $0.day, counts: Self.named($0.counts), done: $0.done, remaining: $0.remaining) },
            forecast: expectation, setByHand: status.setByHand, exempt: status.exempt,
            waves: status.waves.map {
                .init(
                    name: $0.wave.name, state: $0.wave.state.rawValue, startsAt: $0.wave.startsAt, refusesAt: $0.wave.refusesAt,
                    counts: Self.named($0.counts))
            },
            blockers: status.blockers.map { .init(user: $0.user, phase: $0.phase.rawValue, device: $0.device, legacyAt: $0.legacyAt, bytes: $0.bytes) },
            devices: status.devices.map {
                .init(kind: $0.kind, users: $0.users, wireGuard: (DeviceKind(rawValue: $0.kind) ?? .unknown).wireGuard.rawValue)
            },
            next: steps,
            users: users.map { user in
                let migration = user.migration
                return .init(
                    name: user.name, phase: migration.phase.rawValue, since: migration.since, setBy: Self.text(migration.mover),
                    confirmed: !migration.isSetByHand, wave: user.wave, device: user.lastDevice?.kind, legacyAt: migration.legacyAt,
                    nativeSince: migration.nativeSince, nativeAt: migration.nativeAt, exemptUntil: user.exemption?.until)
            })
    }

    // MARK: CSV (RFC 4180)

    /// One line for each user.
    public var csv: String {
        ([Self.userHeader] + users.map(userRow)).map { $0.map(Self.cell).joined(separator: ",") + "\r\n" }.joined()
    }

    /// A cell that a spreadsheet would take for a formula gets an apostrophe: names of users and devices come from strangers.
    static func cell(_ text: String) -> String {
        let first = text.unicodeScalars.first
        let isFormula = text != "-" && (first.map { "=+-@\t\r".unicodeScalars.contains($0) } ?? false)
        let plain = isFormula ? "'" + text : text
        return plain.unicodeScalars.contains { ",\"\r\n".unicodeScalars.contains($0) } ? "\"" + plain.replacingOccurrences(of: "\"", with: "\"\"") + "\"" : plain
    }
}
