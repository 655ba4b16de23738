/// One connection of the socket, without the socket: what arrives goes in, what is to be done comes out. A client may send its
/// requests a byte at a time, or several at once, which are answered in order.
struct UAPIConversation {
    enum Action: Equatable {
        case list
        case apply(InterfaceChange)
        case refuse(UAPIRefusal)
        /// Nothing that follows can be understood.
        case end
    }

    private enum State {
        case operation
        /// After `get=1`.
        case emptyLine
        case change(UAPIChangeParser, length: Int)
        /// The rest of a request that was refused.
        case skip(length: Int)
        case ended
    }

    /// Limits of ours: a line (a key takes 78 bytes), and what is taken in at a time.
    static let longestLine = 1024
    static let chunk = 16384
    /// Of one request; a hundred thousand peers fit.
    private let longestRequest: Int

    private var state = State.operation
    private var buffer: [UInt8] = []
    private var start = 0

    init(longestRequest: Int = 64 << 20) {
        self.longestRequest = longestRequest
        // Requests hold keys. A buffer that never grows leaves no copies of them behind.
        buffer.reserveCapacity(Self.chunk + Self.longestLine)
    }

    /// Between two requests: a client may stay so for long.
    var isIdle: Bool { if case .operation = state { start == buffer.count } else { false } }

    /// Takes up to `chunk` bytes, after `next` has had nothing more to say.
    mutating func receive(_ bytes: some Collection<UInt8>) {
        guard !hasEnded else { return }
        precondition(bytes.count <= Self.chunk && buffer.count - start <= Self.longestLine, "actions have been left waiting")
        discardRead()
        buffer.append(contentsOf: bytes)
    }

    /// What to do now; nil: more has to arrive.
    mutating func next() -> Action? {
        while true {
            if case .ended = state { return nil }
            guard let end = buffer[start...].firstIndex(of: 0x0A), end - start <= Self.longestLine else {
                return buffer.count - start > Self.longestLine ? tooLong() : nil
            }
            let first = start
            start = end + 1
            if let action = read(first..<end) { return action }
        }
    }

    mutating func wipe() {
        buffer.wipe()
        start = buffer.count
        state = .ended
    }

    private mutating func read(_ line: Range<Int>) -> Action? {
        switch state {
        case .operation:
            if buffer[line].elementsEqual("get=1".utf8) {
                state = .emptyLine
            } else if buffer[line].elementsEqual("set=1".utf8) {
                state = .change(UAPIChangeParser(), length: 0)
            } else {
                state = .ended
                return .end
            }
        case .emptyLine:
            guard line.isEmpty else {
                state = .skip(length: 0)
                return .refuse(.invalid)
            }
            state = .operation
            return .list
        case .change(var parser, let length):
            // Moved out and back in: a second owner would have every line copy what came before.
            state = .ended
            if line.isEmpty {
                state = .operation
                return .apply(parser.finish())
            }
            guard length + line.count < longestRequest else { return tooLong() }
            do {
                try parser.read(buffer[line])
                state = .change(parser, length: length + line.count + 1)
            } catch {
                state = .skip(length: length)
                return .refuse(error)
            }
        case .skip(let length):
            guard length + line.count < longestRequest else { return tooLong() }
            state = line.isEmpty ? .operation : .skip(length: length + line.count + 1)
        case .ended: break
        }
        return nil
    }

    /// The request is answered, the connection is of no more use.
    private mutating func tooLong() -> Action {
        defer { state = .ended }
        switch state {
        case .operation, .skip: return .end
        case .emptyLine, .change, .ended: return .refuse(.inputOutput)
        }
    }

    /// What is still to be said is the last.
    var hasEnded: Bool { if case .ended = state { true } else { false } }

    /// Moves what is still to be read to the front, and wipes where it was.
    private mutating func discardRead() {
        guard start > 0 else { return }
        let left = buffer.count - start
        buffer.withUnsafeMutableBytes { bytes in
            let moved = UnsafeMutableRawBufferPointer(rebasing: bytes[..<left])
            moved.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[start...]))
            for index in left..<bytes.count { bytes[index] = 0 }
        }
        buffer.removeLast(start)
        start = 0
    }
}
