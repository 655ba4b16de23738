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

    func hook(
        _ log: Lines, patience: Duration = .seconds(20), grace: Duration = .seconds(2), pauses: ClosedRange<Duration> = .seconds(60) ... .seconds(60)
    ) -> HubHook {
        HubHook(
            logger: Logger(label: "hook") { _ in log },
            times: .init(patience: patience, grace: grace, firstPause: pauses.lowerBound, longestPause: pauses.upperBound))
    }

    func call(_ place: Place, _ text: String = "a") -> HubHook.Call { .init(tunnel: "hub", program: place.program, text: text) }

    /// Whether a process is there and not waiting for its parent's notice only.
    func isAlive(_ process: String) -> Bool {
        let status = (try? String(contentsOfFile: "/proc/\(process.trimmingCharacters(in: .whitespacesAndNewlines))/stat", encoding: .utf8)) ?? ""
        return !status.isEmpty && !status.contains(") Z ")
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
        #expect(ContinuousClock.now - began < .seconds(20), "the caller was kept waiting")
        await eventually("it was ended") { log.count == 1 }
        #expect(ContinuousClock.now - began < .seconds(40))
        #expect(log.text.contains("signal"))
    }

    @Test(.timeLimit(.minutes(1))) func aProgramThatIsNotThere() async throws {
        let log = Lines()
        await hook(log).tell([.init(tunnel: "hub", program: "/nonexistent/hook", text: "secret")])
        await eventually("it was tried") { log.count == 1 }
        #expect(log.text.contains("/nonexistent/hook: cannot start it: No such file or directory"))
        #expect(!log.text.contains("secret"))
    }

    // MARK: What it may do

    @Test(.timeLimit(.minutes(1))) func noCapabilityNoDescriptorNoSignalOfOurs() async throws {
        signal(SIGPIPE, SIG_IGN)
        let place = try Place("cat /proc/self/status >status; ls /proc/self/fd >descriptors; ps -o pgid= -p $$ >group; echo $$ >id")
        let leaked = open("/dev/null", O_RDONLY)
        defer { close(leaked) }
        #expect(leaked > 2 && fcntl(leaked, F_GETFD) & FD_CLOEXEC == 0)
        let log = Lines()
        await hook(log).tell([call(place)])
        await eventually("it has run") { log.count == 1 }
        let status = Dictionary(
            place.text("status").split(separator: "\n").map { line in
                let parts = line.split(separator: ":")
                return (String(parts[0]), parts.dropFirst().joined().trimmingCharacters(in: .whitespaces))
            }, uniquingKeysWith: { first, _ in first })
        for name in ["CapInh", "CapPrm", "CapEff", "CapAmb", "SigBlk"] { #expect(status[name] == "0000000000000000", "\(name)") }
        // Whether signals 32 and 33 are ignored is the C library's affair.
        let ignored = try #require(status["SigIgn"].flatMap { UInt64($0, radix: 16) })
        #expect(ignored & ~(3 << 31) == 0)
        #expect(status["NoNewPrivs"] == "1")
        // The fourth is the folder that ls reads.
        #expect(place.text("descriptors") == "0\n1\n2\n3\n")
        #expect(place.text("group").trimmingCharacters(in: .whitespacesAndNewlines) == place.text("id").trimmingCharacters(in: .whitespacesAndNewlines))
    }

    /// What it started goes with it: after its time, and when it has ended by itself.
    @Test(.timeLimit(.minutes(1)), arguments: ["sleep 600 & echo $! >child; wait", "(trap '' TERM; sleep 600) & echo $! >child", "sleep 600 & echo $! >child; exec sleep 600"])
    func itsGroupEndsWithIt(_ script: String) async throws {
        let place = try Place(script)
        let log = Lines()
        await hook(log, patience: .milliseconds(500)).tell([call(place)])
        await eventually("it was ended") { log.count == 1 }
        #expect(!place.text("child").isEmpty)
        await eventually("its child is gone") { !isAlive(place.text("child")) }
    }

    @Test(.timeLimit(.minutes(1))) func aFloodIsCounted() async throws {
        let place = try Place("cat >/dev/null; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo the end")
        let log = Lines()
        await hook(log).tell([call(place)])
        await eventually("it has run") { log.count == 1 }
        #expect(log.text.contains("has done its work"))
        #expect(log.text.contains("... and \(5_000_009 - HookOutput.mostKept) bytes more"))
        #expect(log.text.utf8.count < HookOutput.mostKept + 1000)
    }

    @Test(.timeLimit(.minutes(1))) func anEndlessFloodIsEnded() async throws {
        let place = try Place("exec yes")
        let log = Lines()
        await hook(log, patience: .milliseconds(300)).tell([call(place)])
        await eventually("it was ended") { log.count == 1 }
        #expect(log.text.contains("signal 15"))
        #expect(log.text.utf8.count < 3 * HookOutput.mostKept)
    }

    // MARK: Again

    @Test(.timeLimit(.minutes(1))) func aFailureIsTriedAgainUntilItSucceeds() async throws {
        let place = try Place("cat >>texts; echo >>rounds; [ $(wc -l <rounds) -ge 3 ] || exit 1")
        let log = Lines()
        let hook = hook(log, pauses: .milliseconds(20) ... .milliseconds(40))
        await hook.tell([call(place)])
        await eventually("it has succeeded") { log.text.contains("has done its work") }
        #expect(place.text("texts") == "aaa")
        #expect(log.count == 3)
        // The hub knows it now.
        await hook.tell([call(place)])
        await hook.stop()
        #expect(place.text("texts") == "aaa")
    }

    @Test(.timeLimit(.minutes(1))) func somethingNewIsNotKeptWaiting() async throws {
        let place = try Place("read text; echo \"$text\" >>texts; [ \"$text\" != a ]")
        let log = Lines()
        let hook = hook(log)
        await hook.tell([call(place, "a\n")])
        await eventually("it has failed") { log.count == 1 }
        #expect(log.text.contains("again in 60 s"))
        await hook.tell([call(place, "b\n")])
        await eventually("it has succeeded") { log.count == 2 }
        #expect(place.text("texts") == "a\nb\n")
        #expect(log.text.contains("has done its work"))
    }

    @Test(.timeLimit(.minutes(1))) func aTunnelWithoutOneIsNotTriedAgain() async throws {
        let place = try Place("cat >>texts; exit 1")
        let log = Lines()
        let hook = hook(log, pauses: .milliseconds(200) ... .milliseconds(200))
        await hook.tell([call(place)])
        await eventually("it has failed") { log.count == 1 }
        await hook.tell([])
        try await Task.sleep(for: .milliseconds(500))
        #expect(log.count == 1)
    }

    // MARK: The end

    @Test(.timeLimit(.minutes(1)), arguments: ["sleep 600 & echo $! >child; wait", "trap '' TERM; sleep 600 & echo $! >child; while :; do sleep 0.1; done"])
    func itEndsWithTheGateway(_ script: String) async throws {
        let place = try Place(script)
        let log = Lines()
        let hook = hook(log, grace: .milliseconds(500))
        await hook.tell([call(place)])
        await eventually("it runs") { !place.text("child").isEmpty }
        let began = ContinuousClock.now
        await hook.stop()
        #expect(ContinuousClock.now - began < .seconds(10))
        #expect(log.text.contains("was ended with the gateway"))
        await eventually("its child is gone") { !isAlive(place.text("child")) }
        await hook.tell([call(place, "b")])
        #expect(log.count == 1)
    }

    @Test(.timeLimit(.minutes(1))) func nothingIsTriedAgainAfterTheEnd() async throws {
        let place = try Place("cat >>texts; exit 1")
        let log = Lines()
        let hook = hook(log, pauses: .milliseconds(200) ... .milliseconds(200))
        await hook.tell([call(place)])
        await eventually("it has failed") { log.count == 1 }
        await hook.stop()
        try await Task.sleep(for: .milliseconds(500))
        #expect(log.count == 1)
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
