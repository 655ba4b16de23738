import Testing

@testable import PPTP

@Suite struct MessageFramerTests {
    static let stream = samples.flatMap { $0.encoded() }

    @Test func coalesced() {
        var framer = MessageFramer()
        #expect(framer.feed(Self.stream) == samples.map { .success($0) })
    }

    @Test func byteByByte() {
        var framer = MessageFramer()
        #expect(Self.stream.flatMap { framer.feed([$0]) } == samples.map { .success($0) })
    }

    @Test(arguments: 0..<50) func cutAnywhere(_ seed: UInt64) {
        var framer = MessageFramer()
        #expect(chunks(Self.stream, seed: seed).flatMap { framer.feed($0) } == samples.map { .success($0) })
    }

    /// Same results for every way of cutting, also when the stream goes wrong at any of its bytes.
    @Test func damagedStreamsFailAlike() {
        let stream = samples[4].encoded() + samples[7].encoded() + samples[14].encoded()
        for position in stream.indices {
            var damaged = stream
            damaged[position] ^= 0x40
            var whole = MessageFramer()
            var drip = MessageFramer()
            let wanted = whole.feed(damaged)
            #expect(damaged.flatMap { drip.feed([$0]) } == wanted)
            #expect(whole.hasFailed == drip.hasFailed)
        }
    }

    @Test func messagesBeforeTheErrorCount() {
        var framer = MessageFramer()
        let bad = [UInt8](repeating: 0, count: 12)
        #expect(framer.feed(samples[4].encoded() + bad) == [.success(samples[4]), .failure(.badMagic(0))])
        #expect(framer.hasFailed)
        #expect(framer.feed(samples[4].encoded()).isEmpty)
    }

    @Test func headerIsJudgedWithoutItsBody() {
        var framer = MessageFramer()
        #expect(framer.feed(hexBytes("ffff 0001 1a2b3c4d 0001 0000")) == [.failure(.badLength(0xFFFF))])
    }

    @Test func nothingYet() {
        var framer = MessageFramer()
        #expect(framer.feed([]).isEmpty)
        #expect(framer.feed(samples[8].encoded().dropLast()).isEmpty)
        #expect(!framer.hasFailed)
        #expect(framer.feed(samples[8].encoded().suffix(1)) == [.success(samples[8])])
    }
}
