import Testing

@testable import PPTP

private let startReply = Message.startReply(
    StartReply(
        result: .established, framing: .either, bearer: .either, maximumChannels: 1, firmware: 7,
        hostName: FixedText("gate", width: 64), vendor: FixedText("Causeway", width: 64)))

private func started(_ profile: ClientProfile = .windows) -> ClientConnection {
    var client = ClientConnection(profile: profile)
    _ = client.start(now: start)
    _ = client.received(startReply, now: start)
    return client
}

private func connected(_ peerCallID: UInt16, _ callID: UInt16) -> OutgoingCallReply {
    OutgoingCallReply(callID: callID, peerCallID: peerCallID, result: .connected)
}

private func clear(_ callID: UInt16) -> Message { .callClearRequest(CallClearRequest(callID: callID)) }

/// A client with call 5 open; the server calls it 50.
private func calling(_ profile: ClientProfile = .windows) -> ClientConnection {
    var client = started(profile)
    _ = client.openCall(5, now: start)
    _ = client.timer(now: .at(1))
    _ = client.received(.outgoingCallReply(connected(5, 50)), now: .at(1))
    return client
}

@Suite struct ClientConnectionTests {
    @Test func starts() {
        var client = ClientConnection(profile: .windows)
        guard case .send(.startRequest(let request)) = client.start(now: start).first else {
            Issue.record("no request")
            return
        }
        #expect(request.vendor.text == "Microsoft")
        #expect(client.start(now: start).isEmpty)
        let actions = client.received(startReply, now: start)
        guard case .started(let peer) = actions.first else {
            Issue.record("\(actions)")
            return
        }
        #expect((peer.hostName, peer.vendor, peer.firmware) == ("gate", "Causeway", 7))
        #expect(client.isEstablished)
    }

    @Test func refused() {
        var client = ClientConnection(profile: .windows)
        _ = client.start(now: start)
        #expect(client.openCall(5, now: start) == true)
        guard case .startReply(var reply) = startReply else { return }
        reply.result = .notAuthorized
        #expect(
            client.received(.startReply(reply), now: start) == [
                .callFailed(5, .connectionClosed(.refused(.notAuthorized, .none))), .close(.refused(.notAuthorized, .none)),
            ])
    }

    @Test func noStartReply() {
        var client = ClientConnection(profile: .windows)
        _ = client.start(now: start)
        #expect(client.nextDeadline == .at(30))
        #expect(client.timer(now: .at(30)) == [.close(.replyTimeout)])
    }

    @Test func pptpLinuxWaitsASecond() {
        var client = started(.pptpLinux)
        #expect(client.openCall(5, now: .at(0.2)) == true)
        #expect(client.openCall(5, now: .at(0.2)) == false)
        #expect(client.nextDeadline == .at(1))
        #expect(client.timer(now: .at(0.9)).isEmpty)
        guard case .send(.outgoingCallRequest(let request)) = client.timer(now: .at(1)).first else {
            Issue.record("no request")
            return
        }
        #expect((request.callID, request.serial, request.receiveWindow) == (5, 0, 3))
    }

    @Test func severalCallsCountTheirSerials() {
        var client = ClientConnection(profile: .windows)
        #expect(client.openCall(7, now: start) == true)
        #expect(client.openCall(0, now: start) == true)
        _ = client.start(now: start)
        let requests = client.received(startReply, now: start).compactMap { action -> [UInt16]? in
            guard case .send(.outgoingCallRequest(let request)) = action else { return nil }
            return [request.callID, request.serial]
        }
        #expect(requests == [[0, 1], [7, 2]])
        #expect(client.received(.outgoingCallReply(connected(0, 51)), now: start).first == .callOpened(0, connected(0, 51)))
        #expect(client.received(.outgoingCallReply(connected(7, 50)), now: start).first == .callOpened(7, connected(7, 50)))
        #expect(client.callIDs == [0, 7])
    }

    @Test func windowsSendsLinkInfo() {
        var client = started(.windows)
        _ = client.openCall(5, now: start)
        _ = client.timer(now: start)
        #expect(
            client.received(.outgoingCallReply(connected(5, 50)), now: start) == [
                .callOpened(5, connected(5, 50)),
                .send(.setLinkInfo(SetLinkInfo(peerCallID: 50, sendACCM: 0xFFFF_FFFF, receiveACCM: 0xFFFF_FFFF))),
            ])
        #expect(
            client.setLinkInfo(5, sendACCM: 1, receiveACCM: 2) == [
                .send(.setLinkInfo(SetLinkInfo(peerCallID: 50, sendACCM: 1, receiveACCM: 2)))
            ])
        #expect(client.setLinkInfo(6, sendACCM: 1, receiveACCM: 2).isEmpty)
    }

    @Test func refusedCall() {
        var client = started()
        _ = client.openCall(5, now: start)
        _ = client.timer(now: start)
        let reply = OutgoingCallReply(callID: 0, peerCallID: 5, result: .generalError, error: .noResource)
        #expect(client.received(.outgoingCallReply(reply), now: start) == [.callFailed(5, .refused(.generalError, .noResource))])
        #expect(client.callIDs.isEmpty)
    }

    @Test func unansweredCall() {
        var client = started()
        _ = client.openCall(5, now: start)
        _ = client.timer(now: start)
        #expect(client.timer(now: .at(30)) == [.send(clear(5)), .callFailed(5, .timeOut)])
    }

    @Test func politeHangUp() {
        var client = calling(.windows)
        #expect(client.closeCall(5, now: start) == [.send(clear(5))])
        #expect(client.closeCall(5, now: start).isEmpty)
        let notify = CallDisconnectNotify(callID: 50, result: .request)
        #expect(client.received(.callDisconnectNotify(notify), now: start) == [.callEnded(5, .disconnected(.request, .none))])
        #expect(client.stop(now: start) == [.send(.stopRequest(StopRequest(reason: .none)))])
        #expect(client.received(.stopReply(StopReply(result: .ok)), now: start) == [.close(.stopped)])
    }

    @Test func unconfirmedHangUp() {
        var client = calling(.windows)
        _ = client.closeCall(5, now: start)
        #expect(client.timer(now: .at(30)) == [.callEnded(5, .cleared)])
        _ = client.stop(now: .at(30))
        #expect(client.timer(now: .at(60)) == [.close(.stopped)])
    }

    /// The call's deadline comes before the connection's: each is met at its own time.
    @Test func unconfirmedHangUpWhileStopping() {
        var client = calling(.windows)
        _ = client.closeCall(5, now: .at(10))
        _ = client.stop(now: .at(20))
        #expect(client.nextDeadline == .at(40))
        #expect(client.timer(now: .at(40)) == [.callEnded(5, .cleared)])
        #expect(client.nextDeadline == .at(50))
        #expect(client.timer(now: .at(50)) == [.close(.stopped)])
    }

    @Test func abruptHangUp() {
        var client = calling(.pptpLinux)
        #expect(client.stop(now: start) == [.send(clear(5)), .callEnded(5, .cleared), .close(.stopped)])
    }

    @Test func serverHangsUp() {
        let notify = Message.callDisconnectNotify(CallDisconnectNotify(callID: 50, result: .adminShutdown))
        let ended = ClientConnection.Action.callEnded(5, .disconnected(.adminShutdown, .none))
        var windows = calling(.windows)
        #expect(windows.received(notify, now: start) == [ended])
        var linux = calling(.pptpLinux)
        #expect(linux.received(notify, now: start) == [.send(clear(5)), ended])
        #expect(linux.received(notify, now: start) == [.ignored(.callDisconnectNotify)])
    }

    @Test func serverStops() {
        var client = calling()
        #expect(
            client.received(.stopRequest(StopRequest(reason: .localShutdown)), now: start) == [
                .send(.stopReply(StopReply(result: .ok))), .callEnded(5, .connectionClosed(.peerStopped(.localShutdown))),
                .close(.peerStopped(.localShutdown)),
            ])
    }

    @Test func echoes() {
        var client = started(.windows)
        #expect(
            client.received(.echoRequest(EchoRequest(identifier: 3)), now: start) == [
                .send(.echoReply(EchoReply(identifier: 3, result: .ok)))
            ])
        #expect(client.timer(now: .at(60)) == [.send(.echoRequest(EchoRequest(identifier: 1)))])
        #expect(client.received(.echoReply(EchoReply(identifier: 1, result: .ok)), now: .at(61)).isEmpty)
        #expect(client.timer(now: .at(121)) == [.send(.echoRequest(EchoRequest(identifier: 2)))])
        #expect(client.timer(now: .at(181)) == [.close(.echoTimeout)])
        #expect(started(.embedded).nextDeadline == nil)
    }

    @Test func nonsenseEndsIt() {
        var client = calling()
        #expect(
            client.receive([UInt8](repeating: 0, count: 12), now: start) == [
                .callEnded(5, .connectionClosed(.malformed(.badMagic(0)))), .close(.malformed(.badMagic(0))),
            ])
    }

    @Test func incomingCallsAreRefused() {
        var client = started()
        #expect(
            client.received(samples[8], now: start) == [
                .send(.incomingCallReply(IncomingCallReply(callID: 0, peerCallID: 0x0102, result: .doNotAccept)))
            ])
    }

    /// No message, in any state, opens a call that was not asked for.
    @Test func strayMessagesAreIgnored() {
        for message in samples {
            var idle = ClientConnection(profile: .windows)
            #expect(idle.received(message, now: start) == [.ignored(message.type)])
            var client = started()
            for action in client.received(message, now: start) {
                if case .callOpened = action { Issue.record("\(message.type)") }
            }
            #expect(client.callIDs.isEmpty)
        }
    }
}

/// Both ends together, bytes in between.
@Suite struct BackToBackTests {
    @Test(arguments: ["windows", "pptpLinux", "embedded"]) func twoCallsFromDialToHangUp(_ name: String) {
        let profile: ClientProfile = name == "windows" ? .windows : name == "pptpLinux" ? .pptpLinux : .embedded
        var client = ClientConnection(profile: profile)
        var server = ServerConnection(now: start)
        var allocator = CallIDAllocator()
        var opened: [UInt16: UInt16] = [:]
        var ended = 0
        var clientClosed = false
        var serverCounts: [ControlCount] = []

        func toClient(_ actions: [ServerConnection.Action], _ now: ContinuousClock.Instant) {
            for action in actions {
                switch action {
                case .send(let message): toServer(client.receive(message.encoded(), now: now), now)
                case .openCall(let handle, _):
                    guard let callID = allocator.allocate(now: now) else { return }
                    toClient(server.acceptCall(handle, callID: callID) ?? [], now)
                case .callEnded: ended += 1
                case .count(let count): serverCounts.append(count)
                case .started, .linkInfo, .wanErrors, .close: break
                }
            }
        }
        func toServer(_ actions: [ClientConnection.Action], _ now: ContinuousClock.Instant) {
            for action in actions {
                switch action {
                case .send(let message): toClient(server.receive(message.encoded(), now: now), now)
                case .callOpened(let own, let reply): opened[own] = reply.callID
                case .close: clientClosed = true
                case .started, .callFailed, .callEnded, .ignored: break
                }
            }
        }

        #expect(client.openCall(1, now: start) == true)
        #expect(client.openCall(0, now: start) == true)
        toServer(client.start(now: start), start)
        toServer(client.timer(now: .at(1)), .at(1))
        #expect(opened.count == 2)
        #expect(Set(server.calls.values.compactMap(\.callID)) == Set(opened.values))
        #expect(serverCounts.filter { $0 == .linkInfo }.count == (profile.linkInfo == nil ? 0 : 2))
        toServer(client.stop(now: .at(2)), .at(2))
        #expect(ended == 2)
        #expect(clientClosed)
        #expect(server.calls.isEmpty)
        #expect(Set(serverCounts).isSubset(of: [.callAccepted, .linkInfo]))
    }
}
