import Foundation
import Logging
import Migration

/// All receivers, each with a queue of its own: one that is away keeps nobody else waiting.
public actor WebhookDispatcher {
    private struct Running {
        var receiver: WebhookReceiver
        var sender: WebhookSender
        var task: Task<Void, Never>
    }

    private let instance: String
    private let makeTransport: @Sendable () -> any WebhookTransport
    private let limits: WebhookQueue.Limits
    private let clock: @Sendable () -> UnixTime
    private let logger: Logger
    /// Made when there is somebody to talk to.
    private var transport: (any WebhookTransport)?
    private var running: [Running] = []
    private var refusals = RepeatFilter()

    /// - Parameter clock: now, in seconds since the Unix epoch.
    public init(
        instance: String, transport: @escaping @Sendable () -> any WebhookTransport, limits: WebhookQueue.Limits = WebhookQueue.Limits(),
        clock: @escaping @Sendable () -> UnixTime = { UnixTime(Date().timeIntervalSince1970) }, logger: Logger
    ) {
        self.instance = instance
        makeTransport = transport
        self.limits = limits
        self.clock = clock
        self.logger = logger
    }

    /// What waits for a receiver that stays as it is stays too.
    public func apply(_ receivers: [WebhookReceiver]) {
        let before = running
        running = []
        for receiver in receivers {
            if let same = before.first(where: { $0.receiver == receiver }) { running.append(same) } else { start(receiver) }
        }
        for gone in before where !receivers.contains(gone.receiver) { gone.task.cancel() }
    }

    private func start(_ receiver: WebhookReceiver) {
        let transport = transport ?? makeTransport()
        self.transport = transport
        let sender = WebhookSender(receiver, transport: transport, limits: limits, clock: clock, logger: logger)
        running.append(Running(receiver: receiver, sender: sender, task: Task { await sender.run() }))
    }

    /// Every receiver that wants such an event gets the same one, with the same id.
    public func post(_ kind: WebhookEvent.Kind, user: String) async {
        guard !running.isEmpty else { return }
        let now = clock()
        if case .loginRefused = kind, !refusals.isNew(user, at: now) { return }
        let event = WebhookEvent(kind: kind, user: user, at: now, instance: instance)
        for entry in running { await entry.sender.add(event) }
    }

    /// How each receiver stands.
    public struct Count: Sendable, Equatable {
        public var url: String
        public var waiting: Int
        public var arrived: UInt64
        public var givenUp: UInt64
        public var dropped: UInt64
    }

    public func counts() async -> [Count] {
        var counts: [Count] = []
        for entry in running {
            let sender = entry.sender
            counts.append(
                Count(
                    url: entry.receiver.url, waiting: await sender.waiting, arrived: await sender.arrived, givenUp: await sender.givenUp,
                    dropped: await sender.dropped))
        }
        return counts
    }

    /// What can be delivered within `patience` still is, except to receivers that do not answer anyway.
    public func stop(patience: Duration = .seconds(2)) async {
        let deadline = ContinuousClock.now + patience
        for entry in running {
            while !(await entry.sender.rests), ContinuousClock.now < deadline { try? await Task.sleep(for: .milliseconds(10)) }
            entry.task.cancel()
            await entry.task.value
        }
        running = []
        await transport?.shutdown()
        transport = nil
    }
}
