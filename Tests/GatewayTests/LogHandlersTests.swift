import Foundation
import Logging
import Settings
import Testing

@testable import Gateway

@Suite struct LogHandlersTests {
    let date = Date(timeIntervalSince1970: 1_700_000_000.25)
    let levels: [(Logger.Level, Int)] = [
        (.trace, 7), (.debug, 7), (.info, 6), (.notice, 5), (.warning, 4), (.error, 3), (.critical, 2),
    ]

    func handler(_ format: CausewayConfiguration.LogFormat, underJournal: Bool = false) -> LineLogHandler {
        LineLogHandler(logLevel: .info, format: format, underJournal: underJournal)
    }

    @Test func textHasTimeAndLevel() {
        for (level, _) in levels {
            #expect(handler(.text).text(level, "it is \"so\"", at: date) == "2023-11-14T22:13:20.250Z \(level): it is \"so\"\n")
        }
    }

    @Test func theTimeHasAllItsZeros() {
        #expect(LineLogHandler.time(Date(timeIntervalSince1970: 1_704_164_645.006)) == "2024-01-02T03:04:05.006Z")
        #expect(LineLogHandler.time(Date(timeIntervalSince1970: 1_704_164_645.9999)) == "2024-01-02T03:04:06.000Z")
    }

    /// sd-daemon(3): the priority in front; the journal has the time itself.
    @Test func theJournalGetsPriorities() {
        for (level, priority) in levels {
            #expect(handler(.text, underJournal: true).text(level, "a", at: date) == "<\(priority)>a\n")
        }
    }

    @Test func aMessageOfSeveralLines() {
        #expect(handler(.text).text(.error, "a:\nb\nc", at: date) == "2023-11-14T22:13:20.250Z error: a:\n    b\n    c\n")
        #expect(handler(.text, underJournal: true).text(.error, "a:\nb\r\nc\n", at: date) == "<3>a:\n<3>b\n<3>c\n")
    }

    @Test(arguments: [false, true]) func jsonIsOneObjectInOneLine(underJournal: Bool) throws {
        for (level, _) in levels {
            let message = "user \"a\\b\" of 10.0.0.0/8\nü \u{1B}[31m"
            let line = handler(.json, underJournal: underJournal).text(level, message, at: date)
            #expect(line.last == "\n")
            #expect(line.dropLast().allSatisfy { !$0.isNewline })
            let entry = try #require(try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: String])
            #expect(entry == ["time": "2023-11-14T22:13:20.250Z", "level": "\(level)", "message": message])
            #expect(line.contains("10.0.0.0/8"))
        }
    }

    @Test func theConfigurationChoosesTheLevel() {
        for level in CausewayConfiguration.LogLevel.allCases {
            var configuration = CausewayConfiguration()
            configuration.logLevel = level
            #expect(configuration.makeLogger(LogThreshold(configuration)).logLevel.rawValue == level.rawValue)
        }
    }
}
