import ArgumentParser
import Documents
import Gateway

/// What happened to each session between two looks at the gateway. A value: looks and the time between them come in, text comes out.
struct TopTable {
    enum Order: String, CaseIterable, ExpressibleByArgument {
        case rate, incoming = "in", outgoing = "out", packets, drops, uptime, user
    }

    /// One session; rates are means of the time between the looks.
    struct Row: Encodable, Equatable {
        var id: UInt64
        var kind: String
        var user: String?
        var state: String
        var address: String?
        var tunnel: String?
        var uptimeSeconds: Int
        var bitsPerSecondIn: Double
        var bitsPerSecondOut: Double
        var packetsPerSecondIn: Double
        var packetsPerSecondOut: Double
        var dropsPerSecond: Double
        /// Since the session began.
        var drops: UInt64

        var bitsPerSecond: Double { bitsPerSecondIn + bitsPerSecondOut }
    }

    let rows: [Row]

    init(_ before: [SessionView], _ now: [SessionView], seconds: Double, by order: Order) {
        let earlier = Dictionary(before.map { ($0.id, $0) }, uniquingKeysWith: { first, _ in first })
        rows = now.map { session in
            // A session that was not there has counted since its beginning, which lies between the looks; so has one whose gateway began anew
            // and gave the same number to somebody else.
            let old = earlier[session.id].flatMap { $0.user == session.user && $0.startedAt == session.startedAt ? $0 : nil }
            func rate(_ counter: (SessionView) -> UInt64) -> Double {
                let count = counter(session), before = old.map(counter) ?? 0
                return Double(count >= before ? count - before : count) / seconds
            }
            return Row(
                id: session.id, kind: session.kind, user: session.user, state: session.state, address: session.innerAddress.map { "\($0)" },
                tunnel: session.tunnel, uptimeSeconds: session.uptimeSeconds, bitsPerSecondIn: rate { $0.bytesIn } * 8,
                bitsPerSecondOut: rate { $0.bytesOut } * 8, packetsPerSecondIn: rate { $0.packetsIn }, packetsPerSecondOut: rate { $0.packetsOut },
                dropsPerSecond: rate { $0.drops.values.reduce(0, +) }, drops: session.drops.values.reduce(0, +))
        }.sorted { order.puts($0, before: $1) }
    }

    // MARK: Text

    static let header = ["USER", "KIND", "STATE", "ADDRESS", "TUNNEL", "UPTIME", "IN", "OUT", "PPS IN", "PPS OUT", "DROPS/S", "DROPS"]

    var summary: String {
        let kinds = Dictionary(grouping: rows, by: \.kind).map { "\($1.count) \($0)" }.sorted()
        func sum(_ rate: KeyPath<Row, Double>) -> Double { rows.reduce(0) { $0 + $1[keyPath: rate] } }
        return "\(rows.count) sessions\(kinds.isEmpty ? "" : " (\(kinds.joined(separator: ", ")))"): \(Self.rateText(sum(\.bitsPerSecondIn))) in, "
            + "\(Self.rateText(sum(\.bitsPerSecondOut))) out, \(Self.countText(sum(\.dropsPerSecond))) drops/s"
    }

    /// The summary, the header and the first `limit` sessions, a line each.
    func lines(limit: Int) -> [String] {
        let table = textTable(
            Self.header,
            rows.prefix(limit).map { row in
                [
                    row.user ?? "-", row.kind, row.state, row.address ?? "-", row.tunnel ?? "-", durationText(row.uptimeSeconds),
                    Self.rateText(row.bitsPerSecondIn), Self.rateText(row.bitsPerSecondOut), Self.countText(row.packetsPerSecondIn),
                    Self.countText(row.packetsPerSecondOut), Self.countText(row.dropsPerSecond), "\(row.drops)",
                ]
            })
        return [summary] + table
    }

    /// In place of what the terminal shows, cut to its size; the header stands out, and so does who loses packets.
    func screen(columns: Int, lines height: Int, colours: Bool) -> String {
        // Home; each line wipes what was right of it, the last one what was below.
        let texts = lines(limit: max(0, height - 3)).enumerated().map { index, line in
            let text = String(line.prefix(columns))
            guard colours, index > 0 else { return text + "\u{1B}[K" }
            if index == 1 { return "\u{1B}[7m\(text)\u{1B}[0m\u{1B}[K" }
            return (rows[index - 2].dropsPerSecond > 0 ? "\u{1B}[33m\(text)\u{1B}[0m" : text) + "\u{1B}[K"
        }
        return "\u{1B}[H" + texts.joined(separator: "\r\n") + "\r\n\u{1B}[J"
    }

    /// `0`, `0.4`, `1200`.
    static func countText(_ count: Double) -> String {
        let tenths = (count * 10).rounded()
        return tenths == 0 || tenths >= 100 ? "\(Int(count.rounded()))" : "\(tenths / 10)"
    }

    /// `312 bit/s`, `1.5 Mbit/s`: decimal units, as lines are sold.
    static func rateText(_ rate: Double) -> String {
        var value = rate
        for unit in ["bit/s", "kbit/s", "Mbit/s"] {
            // What would be shown as 1000.0 is 1.0 of the next unit.
            if value < (unit == "bit/s" ? 999.5 : 999.95) { return unit == "bit/s" ? "\(Int(value.rounded())) bit/s" : "\((value * 10).rounded() / 10) \(unit)" }
            value /= 1000
        }
        return "\((value * 10).rounded() / 10) Gbit/s"
    }
}

extension TopTable.Order {
    /// The most first; names in their order. Who is equal stays where they are: by session.
    fileprivate func puts(_ one: TopTable.Row, before other: TopTable.Row) -> Bool {
        func more(_ value: (TopTable.Row) -> Double) -> Bool {
            let values = (value(one), value(other))
            return values.0 == values.1 ? one.id < other.id : values.0 > values.1
        }
        switch self {
        case .rate: return more { $0.bitsPerSecond }
        case .incoming: return more { $0.bitsPerSecondIn }
        case .outgoing: return more { $0.bitsPerSecondOut }
        case .packets: return more { $0.packetsPerSecondIn + $0.packetsPerSecondOut }
        case .drops: return one.dropsPerSecond == other.dropsPerSecond ? more { Double($0.drops) } : one.dropsPerSecond > other.dropsPerSecond
        case .uptime: return more { Double($0.uptimeSeconds) }
        case .user: return (one.user ?? "", one.id) < (other.user ?? "", other.id)
        }
    }
}
