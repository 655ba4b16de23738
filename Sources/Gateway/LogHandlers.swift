import Foundation
import Logging
import Settings
import Synchronization

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// The level that log lines need, changed by a reload while loggers are in use everywhere.
public final class LogThreshold: Sendable {
    private let value: Mutex<Logger.Level>

    public init(_ level: Logger.Level) { value = Mutex(level) }
    public convenience init(_ configuration: CausewayConfiguration) {
        self.init(Logger.Level(rawValue: configuration.logLevel.rawValue) ?? .info)
    }

    public var level: Logger.Level {
        get { value.withLock { $0 } }
        set { value.withLock { $0 = newValue } }
    }
}

/// Entries on standard error: for people (with the time, or with systemd's priority prefix under the journal, see
/// sd-daemon(3)), or one JSON object.
struct LineLogHandler: LogHandler {
    /// Set on one logger only: overrules the threshold that all share.
    private var ownLevel: Logger.Level?
    private let threshold: LogThreshold
    var metadata: Logger.Metadata = [:]
    let format: CausewayConfiguration.LogFormat
    let underJournal: Bool

    init(threshold: LogThreshold, format: CausewayConfiguration.LogFormat, underJournal: Bool) {
        self.threshold = threshold
        self.format = format
        self.underJournal = underJournal
    }

    init(logLevel: Logger.Level, format: CausewayConfiguration.LogFormat, underJournal: Bool) {
        self.init(threshold: LogThreshold(logLevel), format: format, underJournal: underJournal)
    }

    var logLevel: Logger.Level {
        get { ownLevel ?? threshold.level }
        set { ownLevel = newValue }
    }

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        var message = "\(event.message)"
        let facts = metadata.merging(event.metadata ?? [:]) { $1 }
        if !facts.isEmpty { message += " (" + facts.sorted { $0.key < $1.key }.map { "\($0.key): \($0.value)" }.joined(separator: ", ") + ")" }
        let line = Array(text(event.level, message, at: Date()).utf8)
        // Nobody reads standard error any more, or the disk is full: that must not end the gateway.
        _ = line.withUnsafeBytes { write(STDERR_FILENO, $0.baseAddress!, $0.count) }
    }

    /// ISO 8601 in UTC, to a thousandth; by hand, since thousands of log-ins a second write some lines each.
    static func time(_ date: Date) -> String {
        let milliseconds = Int((date.timeIntervalSince1970 * 1000).rounded())
        var seconds = time_t(milliseconds / 1000)
        var parts = tm()
        gmtime_r(&seconds, &parts)
        func digits(_ number: some BinaryInteger, _ count: Int) -> String {
            let text = String(number)
            return String(repeating: "0", count: max(0, count - text.count)) + text
        }
        return "\(digits(parts.tm_year + 1900, 4))-\(digits(parts.tm_mon + 1, 2))-\(digits(parts.tm_mday, 2))T"
            + "\(digits(parts.tm_hour, 2)):\(digits(parts.tm_min, 2)):\(digits(parts.tm_sec, 2)).\(digits(milliseconds % 1000, 3))Z"
    }

    /// The journal reads a priority from each line, so a message of several lines repeats it; for people they are indented.
    func text(_ level: Logger.Level, _ message: String, at date: Date) -> String {
        let time = Self.time(date)
        switch format {
        case .json:
            let entry = ["time": time, "level": "\(level)", "message": message]
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            return ((try? String(decoding: encoder.encode(entry), as: UTF8.self)) ?? "") + "\n"
        case .text:
            let lines = message.split(whereSeparator: \.isNewline)
            if underJournal { return lines.map { "<\(level.priority)>\($0)\n" }.joined() }
            return "\(time) \(level): " + lines.joined(separator: "\n    ") + "\n"
        }
    }
}

extension Logger.Level {
    fileprivate var priority: Int {
        switch self {
        case .trace, .debug: 7
        case .info: 6
        case .notice: 5
        case .warning: 4
        case .error: 3
        case .critical: 2
        }
    }
}

extension CausewayConfiguration {
    /// A logger as the configuration wants it.
    public func makeLogger(_ threshold: LogThreshold) -> Logger {
        let underJournal = ProcessInfo.processInfo.environment["JOURNAL_STREAM"] != nil
        return Logger(label: "causeway") { [logFormat] _ in
            LineLogHandler(threshold: threshold, format: logFormat, underJournal: underJournal)
        }
    }
}
