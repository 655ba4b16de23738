import Addresses
import Testing

@testable import LegacyClient

private let hub = IPAddress("10.99.0.1")!
private func address(_ number: Int) -> IPAddress { IPAddress("10.8.0.0")!.advanced(by: number)! }

@Suite("Echo packets")
struct EchoPacketTests {
    private let packet = EchoPacket(source: address(10), destination: hub, identifier: 0x1234, sequence: 0xABCD)

    /// What the destination makes of a request.
    private func reply(_ request: [UInt8]) -> [UInt8] {
        var reply = request
        reply.replaceSubrange(12..<16, with: request[16..<20])
        reply.replaceSubrange(16..<20, with: request[12..<16])
        reply[20] = 0
        reply[22] = 0
        reply[23] = 0
        let sum = EchoPacket.checksum(reply[20...])
        reply[22] = UInt8(sum >> 8)
        reply[23] = UInt8(truncatingIfNeeded: sum)
        return reply
    }

    @Test func request() {
        let bytes = packet.requestBytes
        #expect(bytes.count == 84)
        #expect(Array(bytes[12..<20]) == [10, 8, 0, 10, 10, 99, 0, 1])
        #expect(bytes[20] == 8)
        #expect(Array(bytes[24..<28]) == [0x12, 0x34, 0xAB, 0xCD])
        #expect(EchoPacket.checksum(bytes[20...]) == 0)
    }

    /// RFC 1071 section 3, numerical example.
    @Test func checksum() { #expect(EchoPacket.checksum([0x00, 0x01, 0xF2, 0x03, 0xF4, 0xF5, 0xF6, 0xF7]) == ~0xDDF2) }

    @Test func replyIsTaken() throws {
        let taken = try #require(EchoPacket(reply: reply(packet.requestBytes)))
        #expect(taken == EchoPacket(source: hub, destination: address(10), identifier: 0x1234, sequence: 0xABCD))
    }

    @Test func everythingElseIsNot() {
        let good = reply(packet.requestBytes)
        #expect(EchoPacket(reply: packet.requestBytes) == nil)
        #expect(EchoPacket(reply: good.dropLast()) == nil)
        #expect(EchoPacket(reply: [UInt8]()) == nil)
        for index in 20..<good.count {
            var bad = good
            bad[index] ^= 1
            #expect(EchoPacket(reply: bad) == nil, "byte \(index)")
        }
        // With another session's data, even if the checksum is right.
        let other = EchoPacket(source: address(11), destination: hub, identifier: 0x1234, sequence: 0xABCD).requestBytes
        var mixed = packet.requestBytes
        mixed.replaceSubrange(20..., with: other[20...])
        #expect(EchoPacket(reply: reply(mixed)) == nil)
    }
}

@Suite("Who pings when")
struct PingScheduleTests {
    private let start = ContinuousClock.now

    @Test func sessionsTakeTurnsOverTheInterval() {
        var schedule = PingSchedule(sources: (1...4).map(address), count: 2, interval: .seconds(1), now: start)
        var seen: [(Duration, PingSchedule.Request)] = []
        for step in 0..<12 {
            let now = start + .milliseconds(250) * step
            for request in schedule.due(now: now) { seen.append((now - start, request)) }
        }
        #expect(seen.map(\.1) == (1...2).flatMap { sequence in (1...4).map { PingSchedule.Request(source: address($0), sequence: UInt16(sequence)) } })
        #expect(seen.map(\.0) == (0..<8).map { .milliseconds(250) * $0 })
    }

    @Test func aLateCallerMakesNoBurst() {
        var schedule = PingSchedule(sources: (1...1000).map(address), count: 1, interval: .seconds(1), now: start)
        #expect(schedule.due(now: start + .seconds(5)).count == PingSchedule.burst)
    }

    @Test func repliesAreCountedOnce() throws {
        var schedule = PingSchedule(sources: [address(1)], count: 3, interval: .seconds(1), patience: .seconds(2), now: start)
        var now = start
        for (delay, answered) in [(10, true), (30, true), (0, false)] {
            #expect(schedule.due(now: now).count == 1)
            let sequence = UInt16((now - start).components.seconds + 1)
            if answered {
                schedule.received(by: address(1), sequence: sequence, now: now + .milliseconds(delay))
                schedule.received(by: address(1), sequence: sequence, now: now + .milliseconds(delay))
            }
            now += .seconds(1)
        }
        schedule.received(by: address(9), sequence: 1, now: now)
        #expect(!schedule.isFinished(now: now))
        #expect(schedule.isFinished(now: start + .seconds(4)))
        let target = try #require(schedule.targets[address(1)])
        #expect((target.sent, target.received, target.lost, target.duplicates) == (3, 2, 1, 2))
        #expect((target.shortest, target.longest, target.average) == (.milliseconds(10), .milliseconds(30), .milliseconds(20)))
    }

    @Test func tooLateIsLost() {
        var schedule = PingSchedule(sources: [address(1)], count: 1, interval: .seconds(1), patience: .seconds(2), now: start)
        _ = schedule.due(now: start)
        schedule.received(by: address(1), sequence: 1, now: start + .seconds(2))
        #expect(schedule.targets[address(1)]?.lost == 1)
    }

    @Test func finishedAsSoonAsAllAreAnswered() {
        var schedule = PingSchedule(sources: [address(1), address(2)], count: 1, interval: .milliseconds(10), now: start)
        let now = start + .milliseconds(10)
        #expect(schedule.due(now: now).count == 2)
        #expect(!schedule.isFinished(now: now))
        schedule.received(by: address(1), sequence: 1, now: now)
        #expect(!schedule.isFinished(now: now))
        schedule.received(by: address(2), sequence: 1, now: now)
        #expect(schedule.isFinished(now: now))
    }

    @Test func aSessionThatEndsKeepsItsLosses() {
        var schedule = PingSchedule(sources: [address(1), address(2)], count: 5, interval: .milliseconds(10), now: start)
        _ = schedule.due(now: start + .milliseconds(10))
        schedule.remove(address(1))
        _ = schedule.due(now: start + .seconds(1))
        #expect(schedule.targets[address(1)]?.lost == 1 || schedule.targets[address(1)]?.lost == 2)
        #expect(schedule.targets[address(2)]?.sent == 5)
    }

    @Test func stoppingForgivesWhatIsStillOut() {
        var schedule = PingSchedule(sources: [address(1)], count: nil, interval: .seconds(1), patience: .seconds(3), now: start)
        for second in 0..<6 { #expect(schedule.due(now: start + .seconds(second)).count == 1) }
        #expect(!schedule.isFinished(now: start + .seconds(100)))
        schedule.stop(now: start + .seconds(5))
        #expect(schedule.targets[address(1)]?.lost == 3)
        #expect(schedule.isFinished(now: start + .seconds(5)))
    }

    @Test func sequenceNumbersWrap() {
        var schedule = PingSchedule(sources: [address(1)], count: nil, interval: .milliseconds(1), patience: .milliseconds(50), now: start)
        var now = start
        var last: UInt16 = 0
        for _ in 0..<70_000 {
            for request in schedule.due(now: now) {
                #expect(request.sequence == last &+ 1)
                last = request.sequence
                schedule.received(by: address(1), sequence: last, now: now)
            }
            now += .milliseconds(1)
        }
        #expect(schedule.targets[address(1)]?.received == 70_000)
    }

    @Test func nobodyToPing() {
        let schedule = PingSchedule(sources: [], count: 5, interval: .seconds(1), now: start)
        #expect(schedule.isFinished(now: start))
        #expect(schedule.deadline == nil)
    }
}
