import Authentication

/// One message to one receiver.
public struct WebhookRequest: Sendable, Equatable {
    public var url: String
    public var headers: [(name: String, value: String)]
    public var body: [UInt8]

    public static func == (left: WebhookRequest, right: WebhookRequest) -> Bool {
        left.url == right.url && left.body == right.body && left.headers.elementsEqual(right.headers) { $0 == $1 }
    }
}

public struct WebhookResponse: Sendable, Equatable {
    public var status: Int
    /// `Retry-After`, if it is a number of seconds.
    public var retryAfter: Duration?

    public init(status: Int, retryAfter: Duration? = nil) {
        self.status = status
        self.retryAfter = retryAfter
    }

    /// RFC 9110 section 15.
    var outcome: WebhookQueue.Outcome {
        switch status {
        case 200..<300: .arrived
        case 408, 425, 429, 500...: .failed("status \(status)", retryAfter: retryAfter)
        // Redirections too: the body would go to somebody whom nobody has named.
        default: .refused("status \(status)")
        }
    }
}

/// How messages get out. Throws if there is no answer.
public protocol WebhookTransport: Sendable {
    func send(_ request: WebhookRequest) async throws -> WebhookResponse
    /// Has to be called before it is let go of.
    func shutdown() async
}

/// Who hears of what.
public struct WebhookReceiver: Sendable, Equatable {
    public struct Problem: Error, Equatable, CustomStringConvertible {
        public enum Part: Sendable { case url, secret, events }
        public var part: Part
        public var description: String
    }

    public let url: String
    public let secret: Secret
    /// Names of events; empty: all.
    public let events: Set<String>

    public init(url: String, secret: Secret, events: Set<String> = []) throws(Problem) {
        guard let scheme = ["https://", "http://"].first(where: url.hasPrefix), url.dropFirst(scheme.count).first.map({ $0 != "/" && $0 != ":" }) == true,
            url.unicodeScalars.allSatisfy({ (0x21...0x7E).contains($0.value) })
        else { throw Problem(part: .url, description: "\"\(url.prefix(200))\" is not an http or https address") }
        // The user and password of an address would show in logs.
        guard !url.dropFirst(scheme.count).prefix(while: { $0 != "/" }).contains("@") else {
            throw Problem(part: .url, description: "an address of a webhook has no user name or password; messages are signed")
        }
        // What a person can guess is no proof.
        guard secret.count >= 16 else { throw Problem(part: .secret, description: "a webhook's secret has at least 16 characters") }
        if let unknown = events.subtracting(WebhookEvent.Kind.names).min() {
            throw Problem(part: .events, description: "there is no event \"\(unknown)\": \(WebhookEvent.Kind.names.joined(separator: ", "))")
        }
        self.url = url
        self.secret = secret
        self.events = events
    }
}
