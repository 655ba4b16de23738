import Addresses
import ArgumentParser
import Dispatch
import Foundation
import LegacyClient
import Logging
import NIOCore
import NIOPosix

/// One run of `causeway dial`, from the first connection to the report.
struct DialRun {
    private enum Happening: Sendable {
        case session(SessionEvent)
        case signal(Int32)
        case progress
        case pinged
        case held
        case vanish
        /// The account with this index.
        case redial(Int)
    }

    /// The server may take this long after its last IPCP packet to have its interface and routes ready.
    private static let pingDelay = Duration.milliseconds(250)

    private let options: Dial
    private let logger: Logger
    private let happenings: AsyncStream<Happening>
    private let tell: AsyncStream<Happening>.Continuation

    private var decided: Set<Int> = []
    private var addresses: [Int: IPAddress] = [:]
    private var failures: [Int: SessionFailure] = [:]
    private var total = 0
    private var accounts: [LegacyAccount] = []
    /// Which account a session is of, by their numbers; those that were dialled again come after the first ones.
    private var accountOf: [Int: Int] = [:]
    private var redials = 0
    private var isReady = false
    private var wasInterrupted = false
    private var pinger: Pinger?
    private var pingsDone = true
    private var isHolding = false
    private var holdIsOver = false
    private var shown = ""

    init(_ options: Dial, logger: Logger) {
        self.options = options
        self.logger = logger
        (happenings, tell) = AsyncStream.makeStream()
    }

    mutating func run() async throws -> ExitCode {
        let signals = [SIGINT, SIGTERM].map { number in
            Foundation.signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { [tell] in tell.yield(.signal(number)) }
            source.activate()
            return source
        }
        defer { for source in signals { source.cancel() } }

        let group = MultiThreadedEventLoopGroup(numberOfThreads: 1)
        let code: ExitCode
        do {
            code = try await run(on: group.next())
        } catch {
            printError("\(error)")
            code = .unavailable
        }
        try await group.shutdownGracefully()
        return code
    }

    private mutating func run(on eventLoop: any EventLoop) async throws -> ExitCode {
        let configuration: LegacyClient.Configuration
        (configuration, accounts) = try await prepare()
        let client = try LegacyClient(configuration, on: eventLoop, logger: logger)
        total = accounts.count
        let tasks = Tasks()
        tasks.add { [tell] in for await event in client.events { tell.yield(.session(event)) } }
        tasks.add { [tell] in
            while !Task.isCancelled {
                try await Task.sleep(for: .seconds(1))
                tell.yield(.progress)
            }
        }
        defer { tasks.cancel() }
        do {
            try await client.start()
            for (index, number) in (await client.dial(accounts) ?? 1...1).enumerated() { accountOf[number] = index }
            for await happening in happenings {
                try await handle(happening, client: client, tasks: tasks, eventLoop: eventLoop)
                if isOver { break }
            }
        } catch {
            await pinger?.stop()
            await client.close()
            throw error
        }

        await pinger?.stop()
        let statuses = await client.statuses()
        let report = DialReport(
            server: options.server.description, profile: options.profile.rawValue, interface: options.interface, statuses: statuses,
            pings: await pinger?.results(), stray: await client.strayCounters())
        // A second signal does not wait for the server's farewell.
        let farewell = Task { await client.hangUp() }
        tasks.add { [happenings] in
            for await case .signal in happenings {
                await client.close()
                break
            }
        }
        await farewell.value
        await client.close()
        try show(report)
        return exitCode(report)
    }

    /// What the kernel and files have to say about the options.
    private func prepare() async throws -> (LegacyClient.Configuration, [LegacyAccount]) {
        let server = try await resolve(options.server)
        guard let text = server.ipAddress, let address = IPAddress(text), address.family == .v4 else {
            throw SessionFailure.local("\(options.server) has no IPv4 address, and GRE is carried over IPv4 only")
        }
        if let route = options.routes.first(where: { $0.contains(address) }) {
            throw SessionFailure.local("--route \(route) contains the server's own address \(address)")
        }
        let password = try Password(file: options.passwordFile)
        var profile = options.profile.profile
        let strength = LegacyEncryption.Strength(rawValue: options.keyBits) ?? .bits128
        profile.encrypt(options.noEncryption ? .none : .mppe(bits: strength, stateful: options.stateful))
        if options.noDelay { profile.control.delayBeforeCall = .zero }
        let accounts = try UserNames.expand(options.users, count: options.count).map {
            LegacyAccount(user: $0, password: password, prefixes: options.prefixes)
        }
        var configuration = LegacyClient.Configuration(server: server, profile: profile, interface: options.interface)
        configuration.workers = options.workers
        // Those that are lost and those that are dialled again may meet.
        configuration.sessionCapacity = accounts.count * (options.redial == nil ? 1 : 2)
        configuration.addsAddresses = !options.onlyLogIn
        configuration.concurrency = options.concurrency
        configuration.callsPerConnection = options.callsPerConnection
        configuration.routes = options.routes
        configuration.setupTimeout = options.setupTimeout.duration
        return (configuration, accounts)
    }

    private func resolve(_ server: Dial.Server) async throws -> SocketAddress {
        if let address = try? SocketAddress(ipAddress: server.host, port: server.port) { return address }
        return try await NIOThreadPool.singleton.runIfActive {
            try SocketAddress.makeAddressResolvingHost(server.host, port: server.port)
        }
    }

    // ---- the run ----

    /// Without --redial a session is decided when it is up or has failed; with it all have to be up.
    private var isComplete: Bool { options.redial == nil ? decided.count == total : addresses.count == total }

    private var isOver: Bool {
        if wasInterrupted { return true }
        if options.redial != nil { return holdIsOver }
        guard decided.count == total else { return false }
        if addresses.isEmpty { return options.vanishAfter == nil || holdIsOver }
        return pingsDone && (holdIsOver || !failures.isEmpty && !isReady)
    }

    private mutating func handle(
        _ happening: Happening, client: LegacyClient, tasks: Tasks, eventLoop: any EventLoop
    ) async throws {
        switch happening {
        case .session(.up(let number, let network)):
            addresses[number] = network.address
            try await decide(number, client: client, tasks: tasks, eventLoop: eventLoop)
        case .session(.failed(let number, let failure)) where options.redial != nil:
            redial(number, failure, tasks: tasks)
        case .redial(let index):
            for number in await client.dial([accounts[index]]) ?? 1...1 { accountOf[number] = index }
        case .session(.failed(let number, let failure)):
            failures[number] = failure
            say("session \(number): \(failure)")
            if let address = addresses.removeValue(forKey: number) { await pinger?.remove(address) }
            try await decide(number, client: client, tasks: tasks, eventLoop: eventLoop)
        case .session(.down(let number)): say("session \(number): the network is being negotiated again")
        case .session(.closed(let number)): addresses[number] = nil
        case .signal: wasInterrupted = true
        case .progress: showProgress()
        case .pinged: pingsDone = true
        case .held: holdIsOver = true
        case .vanish:
            say("falling silent")
            await pinger?.stop()
            await client.vanish()
        }
    }

    private mutating func decide(
        _ number: Int, client: LegacyClient, tasks: Tasks, eventLoop: any EventLoop
    ) async throws {
        guard decided.insert(number).inserted, isComplete else { return }
        showProgress()
        if failures.isEmpty {
            isReady = true
            // Not print: a script that waits for it must not wait for a buffer. With --json standard output is the document's.
            let output = options.json ? FileHandle.standardError : FileHandle.standardOutput
            output.write(Data("ready\n".utf8))
        }
        if let destination = options.ping, !addresses.isEmpty {
            pingsDone = false
            let sources = addresses.sorted { $0.key < $1.key }.map(\.value)
            let schedule = PingSchedule(
                sources: sources, count: options.pingCount == 0 ? nil : options.pingCount, interval: options.pingInterval.duration,
                now: .now + Self.pingDelay)
            let pinger = try Pinger(destination: destination, interface: options.interface, schedule: schedule, on: eventLoop)
            self.pinger = pinger
            tasks.add { [tell] in
                try await pinger.run()
                tell.yield(.pinged)
            }
        }
        if options.pingCount == 0 { pingsDone = true }
        // Holding begins with the first time.
        if let hold = options.hold, !isHolding { tasks.add(after: hold.duration) { [tell] in tell.yield(.held) } }
        isHolding = true
        if let pause = options.vanishAfter { tasks.add(after: pause.duration) { [tell] in tell.yield(.vanish) } }
    }

    private mutating func redial(_ number: Int, _ failure: SessionFailure, tasks: Tasks) {
        addresses[number] = nil
        redials += 1
        // Thousands of lines would say no more; the report has them all.
        if redials & (redials - 1) == 0 { say("session \(number): \(failure); dialling again (\(redials) so far)") }
        guard let pause = options.redial, let index = accountOf.removeValue(forKey: number) else { return }
        tasks.add(after: pause.duration * Double.random(in: 0.5...1.5)) { [tell] in tell.yield(.redial(index)) }
    }

    // ---- output ----

    private mutating func showProgress() {
        var text = "\(addresses.count) of \(total) up"
        if !failures.isEmpty { text += ", \(failures.count) failed" }
        guard text != shown, total > 1 || decided.count == total else { return }
        shown = text
        say(text)
    }

    private func say(_ text: String) { FileHandle.standardError.write(Data("dial: \(text)\n".utf8)) }

    private func show(_ report: DialReport) throws {
        if options.json {
            try printJSON(report)
            return
        }
        say("\(report.totals.up) of \(total) sessions up at the end, \(report.totals.failed) failed, \(report.totals.lost) lost")
        if let ping = report.totals.ping {
            let times = [ping.minimumMilliseconds, ping.averageMilliseconds, ping.maximumMilliseconds].compactMap(\.self)
            let spread = times.map { String(format: "%.2f", $0) }.joined(separator: "/")
            say("pings: \(ping.sent) sent, \(ping.received) answered, \(ping.lost) lost" + (spread.isEmpty ? "" : ", \(spread) ms"))
        }
    }

    private func exitCode(_ report: DialReport) -> ExitCode {
        let kinds = Set(failures.values.map(\.kind))
        if kinds.contains(.authentication) { return .noPermission }
        if kinds.contains(where: { $0 != .lost }) { return .unavailable }
        if !kinds.isEmpty || report.totals.ping?.lost ?? 0 > 0 || !isComplete { return .temporary }
        return .success
    }
}

extension ExitCode {
    /// EX_TEMPFAIL
    fileprivate static let temporary = ExitCode(75)
}

/// What runs besides the main loop; ended together.
private final class Tasks {
    private var tasks: [Task<Void, any Error>] = []

    func add(_ body: @escaping @Sendable () async throws -> Void) { tasks.append(Task { try await body() }) }
    func add(after pause: Duration, _ body: @escaping @Sendable () -> Void) {
        add {
            try await Task.sleep(for: pause)
            body()
        }
    }
    func cancel() { for task in tasks { task.cancel() } }
}
