import Testing

@testable import PPTP

private struct Segment {
    let seconds: Double
    let fromClient: Bool
    let bytes: [UInt8]
}

private func session(_ name: String) -> [Segment] {
    let lines = recordedSessions.split(separator: "\n")
    guard let first = lines.firstIndex(of: Substring("# " + name)) else { return [] }
    return lines[(first + 1)...].prefix { !$0.hasPrefix("#") }.map { line in
        let words = line.split(separator: " ")
        let bytes = words.dropFirst(2).flatMap { word in
            word.hasPrefix("0x") ? [UInt8](repeating: 0, count: Int(word.dropFirst(2)) ?? 0) : hexBytes(String(word))
        }
        return Segment(seconds: Double(words[0]) ?? 0, fromClient: words[1] == "client", bytes: bytes)
    }
}

private func messages(_ segments: [Segment]) throws -> [Message] { try segments.map { try Message($0.bytes) } }

private let names = [
    "accel-echo", "accel-kernel", "accel-stateful-ask", "accel-stateless", "pptpd-echo", "pptpd-kernel", "pptpd-stateful-loss",
    "pptpd-stateless",
]

@Suite struct RecordedSessionTests {
    @Test func allAreThere() {
        #expect(
            recordedSessions.split(separator: "\n").filter { $0.hasPrefix("# ") }.map { $0.dropFirst(2) } == names.map { $0[...] }
        )
        #expect(names.reduce(0) { $0 + session($1).count } == 69)
    }

    @Test(arguments: names) func everyMessageComesBackByteForByte(_ name: String) throws {
        for segment in session(name) { #expect(try Message(segment.bytes).encoded() == segment.bytes) }
    }

    @Test(arguments: names) func oneStreamEachWay(_ name: String) throws {
        for fromClient in [true, false] {
            let segments = session(name).filter { $0.fromClient == fromClient }
            var framer = MessageFramer()
            #expect(try framer.feed(segments.flatMap(\.bytes)) == messages(segments).map { .success($0) })
        }
    }

    /// The client's half drives our server. Where the recorded server hung up first, ours is told to do so at that moment.
    @Test(arguments: [
        ("accel-echo", [ControlType.startReply, .outgoingCallReply, .callDisconnectNotify, .stopRequest]),
        ("accel-kernel", [.startReply, .outgoingCallReply, .callDisconnectNotify, .stopRequest]),
        ("accel-stateful-ask", [.startReply, .outgoingCallReply, .callDisconnectNotify, .stopRequest]),
        ("accel-stateless", [.startReply, .outgoingCallReply, .callDisconnectNotify, .stopRequest]),
        (
            "pptpd-echo",
            [.startReply, .outgoingCallReply, .echoReply, .echoReply, .echoReply, .echoReply, .callDisconnectNotify]
        ),
        ("pptpd-kernel", [.startReply, .outgoingCallReply, .callDisconnectNotify, .stopReply]),
        ("pptpd-stateful-loss", [.startReply, .outgoingCallReply, .callDisconnectNotify, .stopReply]),
        ("pptpd-stateless", [.startReply, .outgoingCallReply, .callDisconnectNotify]),
    ])
    func ourServerAnswersSensibly(_ name: String, _ wanted: [ControlType]) throws {
        let recorded = session(name)
        let theirs = try messages(recorded.filter { !$0.fromClient }).compactMap {
            if case .outgoingCallReply(let reply) = $0 { reply } else { nil }
        }
        let theirReply = try #require(theirs.first)
        var configuration = ServerConnection.Configuration()
        configuration.echoInterval = .zero
        configuration.receiveWindow = theirReply.receiveWindow
        var server = ServerConnection(configuration: configuration, now: start)
        var sent: [Message] = []
        var counts: [ControlCount] = []
        var handle: CallHandle?
        var vendor: String?
        var ends: [CallEnd] = []
        func run(_ actions: [ServerConnection.Action]) {
            for action in actions {
                switch action {
                case .send(let message): sent.append(message)
                case .started(let peer): vendor = peer.vendor
                case .openCall(let opened, _):
                    handle = opened
                    run(server.acceptCall(opened, callID: theirReply.callID) ?? [])
                case .callEnded(_, let end): ends.append(end)
                case .count(let count): counts.append(count)
                case .linkInfo, .wanErrors, .close: break
                }
            }
        }
        for segment in recorded {
            let now = ContinuousClock.Instant.at(segment.seconds)
            if segment.fromClient {
                run(server.receive(segment.bytes, now: now))
            } else if case .callDisconnectNotify(let notify) = try Message(segment.bytes), notify.result == .adminShutdown {
                run(server.closeCall(try #require(handle), .adminShutdown, now: now))
            } else if case .stopRequest = try Message(segment.bytes) {
                run(server.shutdown(now: now))
            }
        }
        #expect(sent.map(\.type) == wanted)
        #expect(vendor == (name.hasSuffix("kernel") || name.contains("stateful") ? "lab" : "cananian"))
        #expect(sent.dropFirst().first == .outgoingCallReply(theirReply))
        #expect(server.calls.isEmpty)
        #expect(ends == (name.hasPrefix("pptpd") ? [.clearedByPeer] : []))
        // Replies to echoes that the recorded server, not ours, had sent, and pptp-linux's confirming Call-Clear-Request.
        #expect(Set(counts).isSubset(of: [.callAccepted, .badEchoReply, .unknownCallClear]))
    }

    /// Our client in the same role says, byte for byte, what the real one said first.
    @Test(arguments: names) func ourClientOpensLikeTheRealOne(_ name: String) throws {
        let recorded = session(name)
        let isKernel = name.hasSuffix("kernel") || name.contains("stateful")
        var profile: ClientProfile = isKernel ? .embedded : .pptpLinux
        if isKernel { profile.vendor = "lab" }
        let theirs = recorded.filter(\.fromClient).prefix(2).map(\.bytes)
        guard case .outgoingCallRequest(let request) = try Message(theirs[1]) else {
            Issue.record("no Outgoing-Call-Request")
            return
        }
        profile.firstSerial = request.serial
        var client = ClientConnection(profile: profile)
        var sent: [[UInt8]] = []
        var opened: [UInt16] = []
        func run(_ actions: [ClientConnection.Action]) {
            for action in actions {
                if case .send(let message) = action { sent.append(message.encoded()) }
                if case .callOpened(let callID, _) = action { opened.append(callID) }
            }
        }
        #expect(client.openCall(request.callID, now: start) == true)
        run(client.start(now: start))
        for segment in recorded.filter({ !$0.fromClient }).prefix(2) {
            run(client.receive(segment.bytes, now: .at(segment.seconds)))
            run(client.timer(now: .at(segment.seconds + 1)))
        }
        #expect(Array(sent.prefix(2)) == Array(theirs))
        #expect(opened == [request.callID])
    }
}
