import Addresses
import Migration
import Store

/// A log-in that was turned away, as far as it is written down.
public struct RefusedLogIn: Sendable, Hashable {
    /// nil: no such user. What a stranger calls himself is not a name of ours.
    public var user: String?
    public var reason: String
    public var source: IPAddress

    public init(user: String?, reason: String, source: IPAddress) {
        self.user = user
        self.reason = reason
        self.source = source
    }
}

/// Refused log-ins since they were last written: the same ones are one event, and somebody who tries everything does not fill the disk.
struct RefusedLogIns {
    /// Different ones; what comes after that is counted only.
    static let most = 64

    private var counts: [RefusedLogIn: Int] = [:]
    private var others = 0

    mutating func add(_ refusal: RefusedLogIn) {
        if counts[refusal] != nil || counts.count < Self.most { counts[refusal, default: 0] += 1 } else { others += 1 }
    }

    /// All of them, which are forgotten.
    mutating func take(at now: UnixTime) -> [NewEvent] {
        defer { self = Self() }
        func times(_ count: Int) -> String { count == 1 ? "" : " (\(count) times)" }
        var events = counts.sorted { ($0.key.user ?? "", "\($0.key.source)", $0.key.reason) < ($1.key.user ?? "", "\($1.key.source)", $1.key.reason) }
            .map { refusal, count in
                NewEvent(
                    at: now, actor: Actor(name: refusal.user ?? "", source: "\(refusal.source)"), kind: "refused-log-in", user: refusal.user,
                    text: "log-in refused\(times(count)): \(refusal.reason)")
            }
        if others > 0 { events.append(NewEvent(at: now, kind: "refused-log-in", text: "\(others) more log-ins refused, of other users or from elsewhere")) }
        return events
    }
}
