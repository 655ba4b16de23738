/// Cuts a byte stream into messages. Between two calls it holds less than one message, whatever it was fed.
public struct MessageFramer: Sendable, Codable {
    private enum State: Codable {
        /// The head of a message that has not arrived in full.
        case reading([UInt8])
        case failed
    }

    private var state = State.reading([])

    public init() {}

    /// After an error the stream has ended: whatever follows is dropped.
    public var hasFailed: Bool { if case .failed = state { true } else { false } }

    /// The messages that `chunk` completes, in order; an error is always the last element. The header is judged as soon as
    /// its twelve bytes are there, so a peer that announces nonsense is not waited for.
    public mutating func feed(_ chunk: some Collection<UInt8>) -> [Result<Message, ParseError>] {
        guard case .reading(let head) = state else { return [] }
        var results: [Result<Message, ParseError>] = []
        var rest = (head + chunk)[...]
        while rest.count >= WireFacts.headerLength {
            do {
                let header = try MessageHeader(rest)
                guard rest.count >= header.messageLength else { break }
                let body = rest.prefix(header.messageLength).dropFirst(WireFacts.headerLength)
                results.append(.success(Message(type: header.type, body: body)))
                rest.removeFirst(header.messageLength)
            } catch {
                state = .failed
                results.append(.failure(error))
                return results
            }
        }
        state = .reading(Array(rest))
        return results
    }
}
