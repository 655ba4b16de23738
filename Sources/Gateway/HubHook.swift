import CLinux
import Foundation
import Logging

/// Runs the administrator's program that tells a hub what it has to know: `hub-hook` of a tunnel. The text comes on its standard input,
/// the tunnel's name in CAUSEWAY_TUNNEL. One program runs at a time for each tunnel; what changes meanwhile is told once it has ended.
/// It never keeps the gateway waiting: after 30 s it is ended. One that fails is run again, after 5 s, then after twice as long each
/// time up to 5 min, until it succeeds or has something else to tell.
actor HubHook {
    struct Call: Sendable, Equatable {
        var tunnel: String
        var program: String
        /// May hold preshared keys: it is never logged, and kept only until the hub was told.
        var text: String
    }

    /// Limits of ours.
    struct Times {
        var patience = Duration.seconds(30)
        var grace = Duration.seconds(2)
        var firstPause = Duration.seconds(5)
        var longestPause = Duration.seconds(300)
    }

    /// What is known of one tunnel's hub.
    private struct Hub {
        /// What it was told last, as a hash; the seed is this process's own.
        var told: Int?
        /// What it has to be told; nil: it knows everything.
        var wanted: Call?
        var running: Task<Void, Never>?
        var failures = 0
        var retry: Task<Void, Never>?
    }

    private let logger: Logger
    private let times: Times
    /// Readable once the gateway stops.
    private let stopping: CInt
    private var isStopping = false
    private var hubs: [String: Hub] = [:]

    init(logger: Logger, times: Times = Times()) {
        self.logger = logger
        self.times = times
        stopping = clinux_eventfd()
    }

    deinit { if stopping >= 0 { close(stopping) } }

    /// What all hubs have to know now. Runs the programs whose text has changed, or which failed before. Returns at once.
    func tell(_ calls: [Call]) {
        for tunnel in hubs.keys where !calls.contains(where: { $0.tunnel == tunnel }) {
            hubs[tunnel]?.retry?.cancel()
            hubs[tunnel]?.wanted = nil
        }
        for call in calls where hubs[call.tunnel, default: Hub()].wanted != nil || hubs[call.tunnel]?.told != Self.hash(call) {
            if hubs[call.tunnel]?.wanted != call { hubs[call.tunnel]?.failures = 0 }
            hubs[call.tunnel, default: Hub()].wanted = call
            begin(call.tunnel)
        }
    }

    /// Ends what runs, and runs nothing any more.
    func stop() async {
        isStopping = true
        var one: UInt64 = 1
        _ = write(stopping, &one, 8)
        for hub in hubs.values {
            hub.retry?.cancel()
            await hub.running?.value
        }
    }

    private func begin(_ tunnel: String) {
        guard !isStopping, hubs[tunnel]?.running == nil, let call = hubs[tunnel]?.wanted else { return }
        hubs[tunnel]?.retry?.cancel()
        hubs[tunnel]?.running = Task { await run(call) }
    }

    private func run(_ call: Call) async {
        let began = ContinuousClock.now
        let outcome = await outcome(of: call)
        hubs[call.tunnel]?.running = nil
        let isLatest = hubs[call.tunnel]?.wanted == call
        let what = "tunnel \"\(call.tunnel)\": hub-hook \(call.program)"
        switch outcome {
        case .success(let outcome) where outcome.wasStopped && outcome.ending != .exited(0):
            logger.notice("\(what) was ended with the gateway; the hub may not know all keys")
        case .success(let outcome) where outcome.ending == .exited(0):
            let seconds = (ContinuousClock.now - began).components.seconds
            logger.info("\(text("\(what) has done its work in \(seconds) s", outcome.output))")
            hubs[call.tunnel]?.told = Self.hash(call)
            hubs[call.tunnel]?.failures = 0
            if isLatest { hubs[call.tunnel]?.wanted = nil }
        case .success(let outcome):
            failed(call, what, problem(outcome), outcome.output, isLatest)
        case .failure(let error):
            failed(call, what, "\(error)", HookOutput(), isLatest)
        }
        if !isLatest { begin(call.tunnel) }
    }

    private func failed(_ call: Call, _ what: String, _ problem: String, _ output: HookOutput, _ isLatest: Bool) {
        // Half of it may have happened.
        hubs[call.tunnel]?.told = nil
        var again = ""
        if isLatest, !isStopping {
            let failures = hubs[call.tunnel]?.failures ?? 0
            let pause = min(times.longestPause, times.firstPause * (1 << min(failures, 16)))
            hubs[call.tunnel]?.failures = failures + 1
            hubs[call.tunnel]?.retry = Task { await retry(call.tunnel, after: pause) }
            again = "; again in \(max(1, pause.components.seconds)) s"
        }
        logger.error("\(text("\(what): \(problem); the hub may not know all keys\(again)", output))")
    }

    private func retry(_ tunnel: String, after pause: Duration) async {
        guard (try? await Task.sleep(for: pause)) != nil, !Task.isCancelled else { return }
        begin(tunnel)
    }

    private func outcome(of call: Call) async -> Result<HookProgram.Outcome, GatewayError> {
        let program = HookProgram(
            path: call.program, environment: ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CAUSEWAY_TUNNEL": call.tunnel], input: call.text)
        let (times, stopping) = (times, stopping)
        return await withCheckedContinuation { continuation in
            Thread.detachNewThread {
                continuation.resume(
                    returning: Result { () throws(GatewayError) in
                        try program.run(patience: times.patience, grace: times.grace, stop: stopping)
                    })
            }
        }
    }

    private func problem(_ outcome: HookProgram.Outcome) -> String {
        let words = outcome.output.lastWords.isEmpty ? "" : ": \(outcome.output.lastWords)"
        let slow = outcome.wasTooSlow ? " after \(times.patience.components.seconds) s, the most it may take" : ""
        switch outcome.ending {
        case .exited(let code): return "exit code \(code)\(slow)\(words)"
        case .signalled(let signal): return "signal \(signal)\(slow)\(words)"
        case .stuck: return "it cannot be ended\(slow)\(words)"
        }
    }

    private func text(_ first: String, _ output: HookOutput) -> String { ([first] + output.lines).joined(separator: "\n") }

    private static func hash(_ call: Call) -> Int {
        var hasher = Hasher()
        hasher.combine(call.program)
        hasher.combine(call.text)
        return hasher.finalize()
    }
}
