import Devices
import Documents
import Migration
import Store

extension MigrationReport {
    /// A screenful: `blockers` and `steps` are cut to what fits.
    public func statusText(rows: Int = 8) -> String { lines(rows: rows).joined(separator: "\n") + "\n" }

    /// Everything, for a file or a mail.
    public var text: String {
        var lines = lines(rows: .max)
        if !users.isEmpty { lines += ["", "EVERYBODY"] + textTable(Self.userHeader, users.map(userRow)) }
        return lines.joined(separator: "\n") + "\n"
    }

    private func lines(rows: Int) -> [String] {
        var lines = ["MIGRATION of \(instance), \(Self.time(at)) UTC"]
        lines.append("\(total) users, \(done) done (\(percentDone) %): " + Phase.allCases.map { "\($0.rawValue) \(status.counts[$0] ?? 0)" }.joined(separator: ", "))
        lines.append("[\(bar(width: 60))]")
        if status.trend.count > 1, let first = status.trend.first {
            lines.append("trend     \(sparkline)  done since \(Self.date(day: first.day)): \(first.done) to \(done)")
        }
        lines.append("forecast  \(forecastText)")
        if status.setByHand > 0 { lines.append("by hand   \(status.setByHand) phases were set by a person and nothing seen has confirmed them") }
        if status.exempt > 0 { lines.append("exempt    \(status.exempt) users, for now") }
        if !status.waves.isEmpty { lines += ["", "WAVES"] + textTable(waveHeader, waveRows) }
        if !status.blockers.isEmpty {
            lines += ["", "WHO STILL NEEDS PPTP (by its traffic in 30 days)"]
            lines += textTable(Self.blockerHeader, status.blockers.prefix(rows).map(blockerRow))
        }
        if !stuckDevices.isEmpty {
            lines += ["", "DEVICES THAT CANNOT MOVE AS THEY ARE"]
            lines += textTable(["device", "users", "what to do"], stuckDevices.prefix(rows).map { [$0.kind.rawValue, "\($0.users)", $0.kind.advice] })
        }
        if !steps.isEmpty { lines += ["", "NEXT"] + steps.prefix(rows).map { "\(Self.time($0.at))  \(printable($0.text))" } }
        return lines
    }

    /// The phases, one letter for each share of the users.
    func bar(width: Int) -> String {
        guard total > 0 else { return String(repeating: " ", count: width) }
        let letters: [(Phase, Character)] = [(.retired, "#"), (.migrated, "="), (.dual, "-"), (.invited, "."), (.legacy, " ")]
        var text = "", sum = 0
        for (phase, letter) in letters {
            sum += status.counts[phase] ?? 0
            text += String(repeating: letter, count: sum * width / total - text.count)
        }
        return text
    }

    /// The share that is done on each of the last thirty days.
    private var sparkline: String {
        let steps = Array("▁▂▃▄▅▆▇█")
        return String(status.trend.suffix(30).map { day in
            let all = day.done + day.remaining
            return steps[all == 0 ? 0 : day.done * (steps.count - 1) / all]
        })
    }

    // MARK: Rows that text and HTML share

    var waveHeader: [String] { ["wave", "state", "starts", "PPTP refused", "users", "done"] + Phase.allCases.map(\.rawValue) }
    var waveRows: [[String]] {
        func row(_ name: String, _ state: String, _ starts: UnixTime?, _ refuses: UnixTime?, _ counts: [Phase: Int]) -> [String] {
            let total = counts.values.reduce(0, +), done = counts.reduce(0) { $0 + ($1.key.isDone ? $1.value : 0) }
            return [name, state, starts.map(Self.time) ?? "-", refuses.map(Self.time) ?? "-", "\(total)", total == 0 ? "-" : "\(done * 100 / total) %"]
                + Phase.allCases.map { "\(counts[$0] ?? 0)" }
        }
        return status.waves.map { row($0.wave.name, $0.wave.state.rawValue, $0.wave.startsAt, $0.wave.refusesAt, $0.counts) }
            + (status.unassigned.values.contains { $0 > 0 } ? [row("(none)", "-", nil, nil, status.unassigned)] : [])
    }

    static let blockerHeader = ["user", "phase", "device", "last PPTP", "traffic"]
    func blockerRow(_ blocker: MigrationStatus.Blocker) -> [String] {
        [blocker.user, blocker.phase.rawValue, blocker.device ?? "-", blocker.legacyAt.map(Self.time) ?? "-", Self.bytes(blocker.bytes)]
    }

    static let userHeader = ["user", "phase", "since", "set by", "wave", "device", "last PPTP", "WireGuard since", "last WireGuard", "exempt until"]
    func userRow(_ user: StoredUser) -> [String] {
        let migration = user.migration
        return [
            user.name, migration.phase.rawValue, Self.time(migration.since), Self.text(migration.mover) + (migration.isSetByHand ? " (not confirmed)" : ""),
            user.wave ?? "-", user.lastDevice?.kind ?? "-", migration.legacyAt.map(Self.time) ?? "-", migration.nativeSince.map(Self.time) ?? "-",
            migration.nativeAt.map(Self.time) ?? "-", user.exemption.map { Self.time($0.until) } ?? "-",
        ]
    }

    static func text(_ mover: Mover) -> String {
        switch mover {
        case .evidence: "evidence"
        case .wave(let name): "wave \(name)"
        case .administrator(let name): name
        }
    }
}
