import Addresses
import Testing

@testable import PPP

private struct Frame {
    var fromClient: Bool
    var number: UInt16
    var payload: [UInt8]
}

private func frames(_ session: String) -> [Frame] {
    let captured = capturedSessions.first { $0.name == session }!
    return captured.frames.split(separator: "\n").map { line in
        let fields = line.split(separator: " ")
        return Frame(fromClient: fields[0] == "C", number: UInt16(fields[1], radix: 16)!, payload: hex(fields[2]))
    }
}

/// Real peers' packets: read, written again, and answered.
@Suite struct CapturedSessionTests {
    @Test(arguments: capturedSessions.map(\.name)) func `every control frame parses and is rebuilt byte for byte`(session: String) throws {
        let all = frames(session)
        #expect(all.count >= 25)
        for frame in all {
            let packet = try #require(ControlPacket(frame.payload))
            #expect(packet.bytes == frame.payload)
            switch (frame.number, packet.code) {
            case (PPPProtocol.chap, 1), (PPPProtocol.chap, 2):
                let (value, name) = try #require(CHAPMessage.parseValue(packet.data))
                #expect(CHAPMessage.value(value, name: name) == Array(packet.data))
                if packet.code == 2 {
                    let response = try #require(CHAPMessage.msCHAPv2(packet, challenge: []))
                    #expect(
                        CHAPMessage.msCHAPv2Value(peerChallenge: response.peerChallenge, ntResponse: response.ntResponse) == value)
                    #expect(response.userName == Array("lab".utf8))
                }
            case (PPPProtocol.chap, _): break
            case (_, 1...4):
                let options = try #require(ConfigurationOption.parse(packet.data))
                #expect(options.bytes == Array(packet.data))
            default: break
            }
        }
    }

    @Test(arguments: capturedSessions.map(\.name)) func `the success that we would build is the one that was sent`(session: String) throws {
        let success = try #require(frames(session).first { $0.number == PPPProtocol.chap && $0.payload[0] == 3 })
        let message = text(success.payload.dropFirst(4))
        let parts = try #require(message.firstRange(of: " M="))
        let built = CHAPMessage.success(
            authenticatorResponse: String(message[..<parts.lowerBound]), message: String(message[parts.upperBound...]))
        #expect(built == Array(success.payload.dropFirst(4)))
    }

    /// The client's packets in their order. Where it answers our packets, the answer is put into our packets' terms: identifiers
    /// and contents of Acks, the identifier of the response. What answers options that only the captured server used is left out.
    @Test(arguments: capturedSessions.map(\.name)) func `our server brings the captured client up and sees it hang up`(session: String) throws {
        var bench = Bench {
            $0.encryption.allowsStateful = session.contains("stateful-loss")
            $0.echoInterval = nil
        }
        var acknowledged: Set<UInt16> = []
        // A request that the captured server refused and ours took needs no second try.
        var settled: Set<UInt16> = []
        for frame in frames(session) where frame.fromClient {
            let packet = try #require(ControlPacket(frame.payload))
            switch (frame.number, packet.code) {
            case (PPPProtocol.chap, 2):
                bench.receive(frame.number, code: 2, id: bench.challenge.identifier, Array(packet.data))
                let credentials = try #require(bench.last.credentials)
                bench.note(bench.session.authenticated(identifier: credentials.identifier, Bench.accept, now: bench.now))
            case (PPPProtocol.ipv6cp, 1):
                bench.receive(frame.number, packet)
                #expect(bench.last.frames(PPPProtocol.lcp, code: 8).count == 1)
            case (PPPProtocol.ipv6cp, _): break
            case (_, 2): if acknowledged.insert(frame.number).inserted { bench.acknowledge(frame.number) }
            case (_, 3), (_, 4), (_, 6), (PPPProtocol.lcp, 10): break
            case (PPPProtocol.lcp, 1), (PPPProtocol.ccp, 1), (PPPProtocol.ipcp, 1):
                guard !settled.contains(frame.number) else { continue }
                bench.receive(frame.number, packet)
                let answers = bench.last.frames(frame.number).filter { (2...4).contains($0.code) && $0.identifier == packet.identifier }
                let isHeld = frame.number == PPPProtocol.ipcp && answers.isEmpty
                #expect(answers.count == 1 || isHeld)
                if answers.first?.code == 2 { settled.insert(frame.number) }
            case (PPPProtocol.lcp, 9):
                bench.receive(frame.number, packet)
                #expect(bench.last.frames(PPPProtocol.lcp, code: 10).first?.identifier == packet.identifier)
            default: bench.receive(frame.number, packet)
            }
            if bench.last.contains(where: { if case .allocateAddress = $0 { true } else { false } }) {
                bench.note(bench.session.assign(assignment, now: bench.now))
            }
        }
        let up = try #require(bench.log.networkUp)
        #expect(up.peer == assignment.peer && up.encrypted)
        bench.advance(.seconds(3))
        #expect(bench.log.termination == .peerTerminated(Array("MPPE disabled".utf8)))
        #expect(!bench.log.notes.contains { if case .malformed = $0 { true } else { false } })
    }
}
