import Foundation
import Logging
import Settings

/// One line for each entry on standard error: for people (with the time, or with systemd's priority prefix under the journal, see
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
        let time = Date().formatted(Date.ISO8601FormatStyle(includingFractionalSeconds: true))
        let line: String
        switch format {
        case .json:
            let entry = ["time": time, "level": "\(event.level)", "message": "\(event.message)"]
            let encoder = JSONEncoder()
            encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
            line = (try? String(decoding: encoder.encode(entry), as: UTF8.self)) ?? ""
        case .text:
            line = underJournal ? "<\(event.level.priority)>\(event.message)" : "\(time) \(event.level): \(event.message)"
        }
        FileHandle.standardError.write(Data((line + "\n").utf8))
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
