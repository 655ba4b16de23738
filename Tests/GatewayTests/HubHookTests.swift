import Foundation
import Logging
import Testing

@testable import Gateway

/// Programs of the administrator's, which are shell scripts here.
@Suite struct HubHookTests {
    /// A directory with the script; it is gone with the test.
    final class Place: Sendable {
        let path = FileManager.default.temporaryDirectory.appendingPathComponent("causeway-hook-\(UUID().uuidString)").path
        let program: String

        init(_ script: String) throws {
            program = path + "/hook"
            try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
            try "#!/bin/sh\ncd \(path)\n\(script)\n".write(toFile: program, atomically: true, encoding: .utf8)
            chmod(program, 0o700)
        }
        deinit { try? FileManager.default.removeItem(atPath: path) }

        func text(_ name: String) -> String { (try? String(contentsOfFile: path + "/" + name, encoding: .utf8)) ?? "" }
    }

    func hook(_ log: Lines, patience: Duration = .seconds(10)) -> HubHook {
        HubHook(logger: Logger(label: "hook") { _ in log }, patience: patience)
    }

    @Test(.timeLimit(.minutes(1))) func theTextComesOnStandardInput() async throws {
        let place = try Place("cat >text; echo \"$CAUSEWAY_TUNNEL\" >tunnel; env >environment; echo done >end")
        let log = Lines()
        let hook = hook(log)
        let text = String(repeating: "[Peer]\nPublicKey = x\n", count: 100_000)
        await hook.tell([.init(tunnel: "hub", program: place.program, text: text)])
        await eventually("it has run") { !log.text.isEmpty }
        #expect(place.text("text") == text)
        #expect(place.text("tunnel") == "hub\n")
        #expect(log.text.contains("has done its work"))
        // Nothing of ours but the tunnel's name.
        let names = Set(place.text("environment").split(separator: "\n").compactMap { $0.split(separator: "=").first.map(String.init) })
        #expect(names.subtracting(["CAUSEWAY_TUNNEL", "PATH", "PWD", "OLDPWD", "SHLVL", "_"]).isEmpty, "\(names)")
    }

    @Test(.timeLimit(.minutes(1))) func whatIsKnownIsNotToldAgain() async throws {
        let place = try Place("cat >>texts")
        let log = Lines()
        let hook = hook(log)
        for text in ["a", "a", "b", "b"] {
            let before = log.count
            await hook.tell([.init(tunnel: "hub", program: place.program, text: text)])
            if text != place.text("texts").suffix(1) { await eventually("it has run") { log.count > before } }
        }
        #expect(place.text("texts") == "ab")
    }

    /// One at a time; of what changes meanwhile the last is told.
    @Test(.timeLimit(.minutes(1))) func changesWaitForEachOther() async throws {
        let place = try Place("mkdir lock || echo twice >>texts; cat >>texts; sleep 0.4; rmdir lock")
        let log = Lines()
        let hook = hook(log)
        for text in ["a", "b", "c", "d"] { await hook.tell([.init(tunnel: "hub", program: place.program, text: text)]) }
        await eventually("both have run") { log.count == 2 }
        #expect(place.text("texts") == "ad")
    }

    @Test(.timeLimit(.minutes(1))) func aFailureIsLoggedAndToldAgain() async throws {
        let place = try Place("cat >>texts; echo first words; echo no such hub >&2; exit 3")
        let log = Lines()
        let hook = hook(log)
        for round in 1...2 {
            await hook.tell([.init(tunnel: "hub", program: place.program, text: "a")])
            await eventually("it has run") { log.count == round }
        }
        #expect(place.text("texts") == "aa")
        #expect(log.text.contains("exit code 3: no such hub"))
    }

    @Test(.timeLimit(.minutes(1)), arguments: ["exec sleep 60", "trap '' TERM; while :; do sleep 0.1; done"])
    func onlySoLong(_ script: String) async throws {
        let place = try Place(script)
        let log = Lines()
        let began = ContinuousClock.now
        await hook(log, patience: .milliseconds(200)).tell([.init(tunnel: "hub", program: place.program, text: "a")])
        #expect(ContinuousClock.now - began < .seconds(2), "the caller was kept waiting")
        await eventually("it was ended") { log.count == 1 }
        #expect(ContinuousClock.now - began < .seconds(10))
        #expect(log.text.contains("signal"))
    }

    @Test(.timeLimit(.minutes(1))) func aProgramThatIsNotThere() async throws {
        let log = Lines()
        await hook(log).tell([.init(tunnel: "hub", program: "/nonexistent/hook", text: "secret")])
        await eventually("it was tried") { log.count == 1 }
        #expect(log.text.contains("/nonexistent/hook"))
        #expect(!log.text.contains("secret"))
    }
}

/// What was logged.
final class Lines: LogHandler, @unchecked Sendable {
    private let lock = NSLock()
    private var lines: [String] = []
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.trace

    subscript(metadataKey key: String) -> Logger.Metadata.Value? {
        get { nil }
        set {}
    }
    var text: String { lock.withLock { lines.joined(separator: "\n") } }
    var count: Int { lock.withLock { lines.count } }

    func log(event: LogEvent) { lock.withLock { lines.append("\(event.message)") } }
}
