/// Where identifiers, magic numbers and challenges come from: the system's generator, or a seeded one in tests.
struct RandomSource: RandomNumberGenerator, Sendable, Codable {
    private var generator: any RandomNumberGenerator & Sendable

    init(_ generator: some RandomNumberGenerator & Sendable) {
        self.generator = generator
    }

    /// A session that moves to another process draws on the system there: a generator's state is not for the wire.
    init(from decoder: any Decoder) throws { self.init(SystemRandomNumberGenerator()) }
    func encode(to encoder: any Encoder) throws { _ = encoder.singleValueContainer() }

    mutating func next() -> UInt64 { generator.next() }

    mutating func bytes(_ count: Int) -> [UInt8] {
        // Each number of the system's generator is a system call.
        var bytes: [UInt8] = []
        bytes.reserveCapacity(count + 8)
        while bytes.count < count { withUnsafeBytes(of: next()) { bytes.append(contentsOf: $0) } }
        return Array(bytes.prefix(count))
    }
}
