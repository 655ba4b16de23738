import Logging
import Webhooks

/// What the receivers of webhooks hear of what happens.
struct WebhookFeed: Sendable {
    let dispatcher: WebhookDispatcher
    let subscription: Bulletin.Subscription
    let logger: Logger

    /// While the dispatcher's own queues take what comes; it never waits for a receiver.
    static let backlog = 10_000

    /// Until the bulletin is over.
    func run() async {
        for await signal in subscription.signals {
            if case .entry(let entry) = signal, let (kind, user) = entry.happening.webhook { await dispatcher.post(kind, user: user) }
            let lost = subscription.takeLost()
            if lost > 0 { logger.warning("webhooks: \(lost) happenings went by too fast; some may have been worth a message") }
        }
    }
}

extension Happening {
    /// nil: it concerns the gateway, not the migration.
    var webhook: (WebhookEvent.Kind, user: String)? {
        switch self {
        case .phaseChanged(let user, let change): (.phaseChange(change), user)
        case .firstLegacyLogin(let user): (.firstLegacyLogin, user)
        case .lastLegacyLogin(let user, let at): (.lastLegacyLogin(at: at), user)
        case .loginRefused(let user, _, let reason): (.loginRefused(reason: reason), user)
        case .sessionOpened, .sessionClosed, .tunnelUp, .tunnelDown: nil
        }
    }
}
