/// A minute of the week in local time: 0 is Monday 00:00, 10,079 is Sunday 23:59.
public struct WeekMinute: Sendable, Hashable {
    public var value: Int

    /// - Parameter value: taken modulo a week.
    public init(_ value: Int) { self.value = ((value % Self.week) + Self.week) % Self.week }

    /// Of a moment in a zone that is `offset` seconds east of Greenwich then.
    public init(at time: UnixTime, offset: Int) {
        // The epoch was a Thursday.
        let minutes = (time + UnixTime(offset)) / 60 - ((time + UnixTime(offset)) % 60 < 0 ? 1 : 0)
        self.init(Int((minutes % UnixTime(Self.week))) + 3 * Self.day)
    }

    static let day = 1440
    static let week = 7 * day
}

/// Hours of the week, as an administrator writes them: `mon-fri 08:00-18:00, sat 09:00-12:00`. A span that ends before it begins goes on
/// into the next day; `24:00` ends the day.
public struct WeeklyHours: Sendable, Equatable, Hashable, CustomStringConvertible {
    private struct Span: Sendable, Equatable, Hashable {
        var firstDay, lastDay, start, end: Int
    }

    private var spans: [Span]

    /// Why a text is no list of hours, in words for an administrator.
    public struct Problem: Error, Equatable, CustomStringConvertible {
        public var description: String
    }

    static let longest = 1000

    public init(_ text: String) throws(Problem) {
        guard text.utf8.count <= Self.longest else { throw Problem(description: "longer than \(Self.longest) characters") }
        spans = []
        for part in text.split(separator: ",", omittingEmptySubsequences: false) {
            spans.append(try Self.span(part.trimmed))
        }
    }

    public func contains(_ minute: WeekMinute) -> Bool {
        spans.contains { span in
            let length = span.end > span.start ? span.end - span.start : span.end + WeekMinute.day - span.start
            var day = span.firstDay
            while true {
                if WeekMinute(minute.value - day * WeekMinute.day - span.start).value < length { return true }
                guard day != span.lastDay else { return false }
                day = (day + 1) % 7
            }
        }
    }

    public var description: String {
        spans.map { span in
            let days = span.firstDay == span.lastDay ? Self.days[span.firstDay] : "\(Self.days[span.firstDay])-\(Self.days[span.lastDay])"
            return "\(days) \(Self.clock(span.start))-\(Self.clock(span.end))"
        }.joined(separator: ", ")
    }

    private static let days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]

    private static func span(_ text: Substring) throws(Problem) -> Span {
        let words = text.split(separator: " ")
        let wanted = "\"\(text)\" is not like \"mon-fri 08:00-18:00\""
        guard words.count == 2 else { throw Problem(description: wanted) }
        let dayNames = words[0].split(separator: "-", omittingEmptySubsequences: false).map { days.firstIndex(of: $0.lowercased()) }
        let clocks = words[1].split(separator: "-", omittingEmptySubsequences: false).map(minute)
        guard (1...2).contains(dayNames.count), let first = dayNames[0], let last = dayNames[dayNames.count - 1], clocks.count == 2,
            let start = clocks[0], let end = clocks[1]
        else { throw Problem(description: wanted) }
        guard start != end, start < WeekMinute.day else { throw Problem(description: "\"\(text)\" has no length") }
        return Span(firstDay: first, lastDay: last, start: start, end: end)
    }

    private static func minute(_ text: Substring) -> Int? {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, parts.allSatisfy({ $0.utf8.count == 2 && $0.utf8.allSatisfy { (48...57).contains($0) } }),
            let hour = Int(parts[0]), let minute = Int(parts[1]), minute < 60, hour < 24 || (hour == 24 && minute == 0)
        else { return nil }
        return hour * 60 + minute
    }

    private static func clock(_ minute: Int) -> String {
        let two = { (value: Int) in value < 10 ? "0\(value)" : "\(value)" }
        return "\(two(minute / 60)):\(two(minute % 60))"
    }
}

extension WeeklyHours: Codable {
    public init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        do throws(Problem) { try self.init(text) } catch {
            throw DecodingError.dataCorrupted(.init(codingPath: decoder.codingPath, debugDescription: error.description))
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

extension Substring {
    fileprivate var trimmed: Substring {
        let head = drop { $0 == " " }
        return head.lastIndex { $0 != " " }.map { head[...$0] } ?? head[..<head.startIndex]
    }
}
