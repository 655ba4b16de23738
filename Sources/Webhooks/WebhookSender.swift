import Authentication
import Foundation
import Logging
import Migration

/// Sends events to one receiver, one after the other, until cancelled. What still waits then is lost, and the log says how many.
public actor WebhookSender {
    private let receiver: WebhookReceiver
    private let transport: any WebhookTransport
    private let clock: @Sendable () -> UnixTime
    private let logger: Logger
    private var queue: WebhookQueue
    /// While nothing is due.
    private var sleeper: Task<Void, Never>?
    public private(set) var arrived: UInt64 = 0
    public private(set) var givenUp: UInt64 = 0

    /// - Parameter clock: now, in seconds since the Unix epoch.
    public init(
        _ receiver: WebhookReceiver, transport: any WebhookTransport, limits: WebhookQueue.Limits = WebhookQueue.Limits(),
        clock: @escaping @Sendable () -> UnixTime = { UnixTime(Date().timeIntervalSince1970) }, logger: Logger
    ) {
        self.receiver = receiver
        self.transport = transport
        self.clock = clock
        self.logger = logger
        queue = WebhookQueue(limits: limits)
    }

    public var waiting: Int { queue.count }
    public var rests: Bool { queue.rests }
    public var dropped: UInt64 { queue.dropped }

    public func add(_ event: WebhookEvent) {
        guard receiver.events.isEmpty || receiver.events.contains(event.kind.name) else { return }
        // The first one, then each power of two: a receiver that is away for days must not fill the log.
        if !queue.add(event), queue.dropped & (queue.dropped - 1) == 0 {
            logger.warning("webhook \(receiver.url): the queue is full; the oldest event is dropped (\(queue.dropped) so far)")
        }
        sleeper?.cancel()
    }

    public func run() async {
        while !Task.isCancelled {
            guard let delivery = queue.start(now: .now) else {
                await sleep(until: queue.nextDeadline)
                continue
            }
            let outcome = await send(delivery)
            guard !Task.isCancelled else { break }
            log(queue.finished(outcome, now: .now, chance: .random(in: 0..<1)), delivery)
        }
        if queue.count > 0 { logger.warning("webhook \(receiver.url): \(queue.count) events were not delivered before the end") }
    }

    private func send(_ delivery: WebhookQueue.Delivery) async -> WebhookQueue.Outcome {
        let body = delivery.event.json
        let request = WebhookRequest(
            url: receiver.url,
            headers: [
                ("Content-Type", "application/json"), ("User-Agent", "causeway"), ("Causeway-Event", delivery.event.kind.name),
                ("Causeway-Delivery", delivery.event.id), ("Causeway-Attempt", "\(delivery.attempt)"),
                (WebhookSignature.header, WebhookSignature.text(of: body, secret: receiver.secret, at: clock())),
            ], body: body)
        do { return try await transport.send(request).outcome } catch { return .failed("\(error)") }
    }

    private func log(_ verdict: WebhookQueue.Verdict, _ delivery: WebhookQueue.Delivery) {
        let what = "\(delivery.event.kind.name) of user \"\(delivery.event.user)\""
        switch verdict {
        case .arrived: arrived += 1
        case .again(let delay): logger.debug("webhook \(receiver.url): \(what) failed (attempt \(delivery.attempt)); again in \(delay)")
        case .givenUp(let attempts, let reason):
            givenUp += 1
            logger.warning("webhook \(receiver.url): \(what) given up after \(attempts) attempt\(attempts == 1 ? "" : "s"): \(reason)")
        case .dropped: break
        }
    }

    private func sleep(until deadline: ContinuousClock.Instant?) async {
        let task = Task<Void, Never> { try? await Task.sleep(until: deadline ?? .now + .seconds(3600), clock: .continuous) }
        sleeper = task
        await withTaskCancellationHandler { await task.value } onCancel: { task.cancel() }
        sleeper = nil
    }
}
