import Foundation
import Synchronization
import Testing

@testable import DataPath

@Suite(.timeLimit(.minutes(1))) struct EventPumpTests {
    /// A pipe whose reading end is watched.
    final class Source: Sendable {
        let pipe = Pipe()
        let delivered = Mutex(0)

        var descriptor: Int32 { pipe.fileHandleForReading.fileDescriptor }
        var count: Int { delivered.withLock { $0 } }

        func write() { pipe.fileHandleForWriting.write(Data([1])) }
        func read() { _ = pipe.fileHandleForReading.readData(ofLength: 1) }
        func pump() throws -> EventPump {
            let pump = try #require(EventPump(watching: descriptor) { self.delivered.withLock { $0 += 1 } })
            #expect(pump.start())
            return pump
        }
        func reaches(_ wanted: Int) async -> Bool {
            for _ in 0..<1000 where count < wanted { try? await Task.sleep(for: .milliseconds(10)) }
            return count == wanted
        }
        /// Long enough for a thread that spins to be seen.
        func stays(_ wanted: Int) async -> Bool {
            try? await Task.sleep(for: .milliseconds(100))
            return count == wanted
        }
    }

    @Test func oneDeliveryUntilDrained() async throws {
        let source = Source()
        let pump = try source.pump()
        #expect(await source.stays(0))
        source.write()
        #expect(await source.reaches(1))
        // It is still readable, and more comes, but the consumer has not said anything.
        source.write()
        #expect(await source.stays(1))
        source.read()
        pump.drained()
        #expect(await source.reaches(2))
        source.read()
        pump.drained()
        #expect(await source.stays(2))
        source.write()
        #expect(await source.reaches(3))
        pump.stop()
    }

    @Test func nothingIsDeliveredAfterStop() async throws {
        let source = Source()
        let pump = try source.pump()
        pump.stop()
        source.write()
        pump.drained()
        #expect(await source.stays(0))
        pump.stop()
    }

    /// `stop` waits for a delivery that is under way.
    @Test func stopJoins() async throws {
        let source = Source()
        let state = Mutex((entered: false, left: false))
        let pump = try #require(
            EventPump(watching: source.descriptor) {
                state.withLock { $0.entered = true }
                usleep(200_000)
                state.withLock { $0.left = true }
            })
        #expect(pump.start())
        source.write()
        while !state.withLock({ $0.entered }) { try await Task.sleep(for: .milliseconds(1)) }
        pump.stop()
        #expect(state.withLock { $0.left })
    }

    @Test func aPumpThatNeverStartedStops() throws {
        let source = Source()
        let pump = try #require(EventPump(watching: source.descriptor) {})
        pump.stop()
    }

    /// The thread holds the pump only as long as it runs.
    @Test func aStoppedPumpIsFreed() throws {
        let source = Source()
        weak var freed: EventPump?
        do {
            let pump = try source.pump()
            freed = pump
            pump.stop()
        }
        #expect(freed == nil)
    }

    @Test func manyWakeUps() async throws {
        let source = Source()
        let pump = try source.pump()
        for wanted in 1...500 {
            source.write()
            guard await source.reaches(wanted) else {
                Issue.record("\(source.count) deliveries of \(wanted)")
                break
            }
            source.read()
            pump.drained()
        }
        pump.stop()
    }
}
