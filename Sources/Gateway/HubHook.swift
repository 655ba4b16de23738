import CLinux
import Foundation
import Logging

/// Runs the administrator's program that tells a hub what it has to know: `hub-hook` of a tunnel. The text comes on its standard input,
/// the tunnel's name in CAUSEWAY_TUNNEL. One program runs at a time for each tunnel; what changes meanwhile is told once it has ended.
/// It never keeps the gateway waiting: after 30 s it is ended.
actor HubHook {
    struct Call: Sendable, Equatable {
        var tunnel: String
        var program: String
        /// May hold preshared keys: it is never logged, and is in memory only.
        var text: String
    }

    private let logger: Logger
    private let patience: Duration
    /// What each tunnel's hub was told last.
    private var told: [String: Call] = [:]
    private var waiting: [String: Call] = [:]
    private var running: Set<String> = []

    init(logger: Logger, patience: Duration = .seconds(30)) {
        self.logger = logger
        self.patience = patience
    }

    /// Runs the programs whose text has changed. Returns at once.
    func tell(_ calls: [Call]) {
        for call in calls where told[call.tunnel] != call {
            told[call.tunnel] = call
            guard running.insert(call.tunnel).inserted else {
                waiting[call.tunnel] = call
                continue
            }
            Task { await run(call) }
        }
    }

    private func run(_ first: Call) async {
        var next: Call? = first
        while let call = next {
            let outcome = await Self.outcome(of: call, patience)
            switch outcome {
            case .success(let seconds): logger.info("tunnel \"\(call.tunnel)\": hub-hook \(call.program) has done its work in \(seconds) s")
            case .failure(let error):
                logger.error("tunnel \"\(call.tunnel)\": hub-hook \(call.program): \(error); the hub may not know all keys")
                // The next change, or reload, tells it again whatever it says.
                told[call.tunnel] = nil
            }
            next = waiting.removeValue(forKey: call.tunnel)
        }
        running.remove(first.tunnel)
    }

    private static func outcome(of call: Call, _ patience: Duration) async -> Result<Int64, GatewayError> {
        let began = ContinuousClock.now
        do {
            let input = try memoryFile("hub-hook", call.text), output = try memoryFile("hub-hook-output")
            let process = Process()
            process.executableURL = URL(fileURLWithPath: call.program)
            process.environment = ["PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "CAUSEWAY_TUNNEL": call.tunnel]
            process.currentDirectoryURL = URL(fileURLWithPath: "/")
            process.standardInput = input
            process.standardOutput = output
            process.standardError = output
            let (ended, end) = AsyncStream.makeStream(of: Void.self)
            process.terminationHandler = { _ in end.finish() }
            try process.run()
            let id = process.processIdentifier
            let watchdog = Task {
                try await Task.sleep(for: patience)
                kill(id, SIGTERM)
                try await Task.sleep(for: .seconds(2))
                kill(id, SIGKILL)
            }
            for await _ in ended {}
            watchdog.cancel()
            let seconds = (ContinuousClock.now - began).components.seconds
            guard process.terminationReason == .exit, process.terminationStatus == 0 else {
                let how = process.terminationReason == .exit ? "exit code" : "signal"
                let slow = ContinuousClock.now - began >= patience ? " after \(patience.components.seconds) s, the most it may take" : ""
                throw GatewayError("\(how) \(process.terminationStatus)\(slow)\(try lastWords(output))")
            }
            return .success(seconds)
        } catch {
            return .failure(error as? GatewayError ?? GatewayError("\(error)"))
        }
    }

    private static func memoryFile(_ name: String, _ text: String = "") throws -> FileHandle {
        let descriptor = clinux_memory_file(name)
        guard descriptor >= 0 else { throw GatewayError("cannot hand the text over: \(String(cString: strerror(-descriptor)))") }
        let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        try file.write(contentsOf: Data(text.utf8))
        try file.seek(toOffset: 0)
        return file
    }

    private static func lastWords(_ output: FileHandle) throws -> String {
        try output.seek(toOffset: 0)
        let text = String(decoding: try output.readToEnd() ?? Data(), as: UTF8.self)
        let words = text.split(whereSeparator: \.isNewline).last.map { printable(Array($0.utf8.prefix(300))) } ?? ""
        return words.isEmpty ? "" : ": \(words)"
    }
}
