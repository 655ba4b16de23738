import Devices
import Foundation
import Migration
import Store

/// How far the migration is, for those who run it and for those who asked for its date. A value: what was read from the store comes in,
/// documents come out.
public struct MigrationReport: Sendable, Equatable {
    /// Name of the gateway.
    public var instance: String
    public var at: UnixTime
    public var status: MigrationStatus
    /// Everybody, for the tables and the CSV; empty: the figures alone.
    public var users: [StoredUser]

    public init(instance: String, at: UnixTime, status: MigrationStatus, users: [StoredUser] = []) {
        self.instance = instance
        self.at = at
        self.status = status
        self.users = users
    }

    public var total: Int { status.counts.values.reduce(0, +) }
    public var done: Int { status.counts.reduce(0) { $0 + ($1.key.isDone ? $1.value : 0) } }
    public var forecast: Forecast { Forecast(trend: status.trend) }

    /// Kinds of devices of users who are not done, that cannot become WireGuard peers as they are.
    public var stuckDevices: [(kind: DeviceKind, users: Int)] {
        status.devices.compactMap { device in
            DeviceKind(rawValue: device.kind).flatMap { [.no, .afterUpgrade].contains($0.wireGuard) ? ($0, device.users) : nil }
        }
    }

    /// What time will bring, the earliest first.
    public struct Step: Sendable, Equatable, Codable {
        public var at: UnixTime
        public var text: String
    }

    public var steps: [Step] {
        var steps: [Step] = []
        for wave in status.waves.map(\.wave) {
            if wave.state == .scheduled, let start = wave.startsAt { steps.append(Step(at: start, text: "wave \"\(wave.name)\" starts")) }
            guard [.scheduled, .running, .done].contains(wave.state), let date = wave.policy.refuseAfter else { continue }
            if wave.policy.grace > 0 { steps.append(Step(at: date, text: "wave \"\(wave.name)\": last days of grace begin")) }
            if let refusal = wave.refusesAt { steps.append(Step(at: refusal, text: "wave \"\(wave.name)\": PPTP is refused")) }
        }
        return steps.filter { $0.at > at }.sorted { ($0.at, $0.text) < ($1.at, $1.text) }
    }

    var forecastText: String {
        switch forecast {
        case .done: "nobody needs PPTP any more"
        case .ends(let day, let pace): "at \(String(format: "%.1f", pace)) users a day the last one is done on \(Self.date(day: day))"
        case .stalled: "at the pace of the last 30 days it never ends"
        case .unknown: "too early to tell: fewer than two days are known"
        }
    }

    var percentDone: Int { total == 0 ? 100 : done * 100 / total }

    // MARK: Times are UTC

    static func date(day: Int) -> String { String(time(UnixTime(day) * 86_400).prefix(10)) }
    static func time(_ time: UnixTime) -> String {
        // RFC 3339 without seconds, for people.
        String(ISO8601DateFormatter().string(from: Date(timeIntervalSince1970: TimeInterval(time))).prefix(16)).replacingOccurrences(of: "T", with: " ")
    }
    static func bytes(_ count: Int64) -> String {
        switch count {
        case 1_000_000_000...: String(format: "%.1f GB", Double(count) / 1e9)
        case 1_000_000...: String(format: "%.1f MB", Double(count) / 1e6)
        case 1_000...: String(format: "%.1f kB", Double(count) / 1e3)
        default: "\(count) B"
        }
    }
}
