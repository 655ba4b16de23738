import Foundation
import Logging
import Settings

/// Entries on standard error: for people (with the time, or with systemd's priority prefix under the journal, see
/// sd-daemon(3)), or one JSON object.
struct LineLogHandler: LogHandler {
    var logLevel: Logger.Level
    var metadata: Logger.Metadata = [:]
    let format: CausewayConfiguration.LogFormat
    let underJournal: Bool

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { metadata[key] }
        set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
        FileHandle.standardError.write(Data(text(event.level, "\(event.message)", at: Date()).utf8))
    }

    /// The journal reads a priority from each line, so a message of several lines repeats it; for people they are indented.
    func text(_ level: Logger.Level, _ message: String, at date: Date) -> String {
        let time = date.formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
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
    public func makeLogger() -> Logger {
        let level = Logger.Level(rawValue: logLevel.rawValue) ?? .info
        let underJournal = ProcessInfo.processInfo.environment["JOURNAL_STREAM"] != nil
        return Logger(label: "causeway") { [logFormat] _ in
            LineLogHandler(logLevel: level, format: logFormat, underJournal: underJournal)
        }
    }
}
