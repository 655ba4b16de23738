import Foundation
import Testing

@testable import PPTP

private typealias Action = ServerConnection.Action
private let echo = Message.echoRequest(EchoRequest(identifier: 9))

private func fresh(_ change: (inout ServerConnection.Configuration) -> Void = { _ in }) -> ServerConnection {
    var configuration = ServerConnection.Configuration()
    configuration.echoInterval = .zero
    configuration.idleTimeout = .zero
    change(&configuration)
    return ServerConnection(configuration: configuration, now: start)
}

private func established(_ change: (inout ServerConnection.Configuration) -> Void = { _ in }) -> ServerConnection {
    var server = fresh(change)
    _ = server.received(startRequest(), now: start)
    return server
}

/// Opens a call and returns its handle.
private func open(_ server: inout ServerConnection, _ clientID: UInt16, at now: ContinuousClock.Instant = start) throws
    -> CallHandle
{
    let actions = server.received(.outgoingCallRequest(callRequest(clientID)), now: now)
    guard case .openCall(let handle, let request)? = actions.first, actions.count == 1 else {
        Issue.record("\(actions)")
        throw CancellationError()
    }
    #expect(request == callRequest(clientID))
    return handle
}

private func accepted(_ server: inout ServerConnection, _ clientID: UInt16, as callID: UInt16) throws -> CallHandle {
    let handle = try open(&server, clientID)
    #expect(server.acceptCall(handle, callID: callID) != nil)
    return handle
}

private func refusal(_ peerCallID: UInt16, _ result: OutgoingCallResult, _ error: ErrorCode = .none) -> Message {
    .outgoingCallReply(OutgoingCallReply(callID: 0, peerCallID: peerCallID, result: result, error: error))
}

private func notify(_ callID: UInt16, _ result: DisconnectResult, _ error: ErrorCode = .none) -> Message {
    .callDisconnectNotify(CallDisconnectNotify(callID: callID, result: result, error: error))
}

@Suite struct ServerStartTests {
    @Test func startIsAnswered() {
        var server = fresh { $0.hostName = "gate" }
        let actions = server.received(startRequest(), now: start)
        guard case .send(.startReply(let reply)) = actions[0], case .started(let peer) = actions[1] else {
            Issue.record("\(actions)")
            return
        }
        #expect(reply.result == .established)
        #expect(reply.error == .none)
        #expect(reply.protocolVersion == 0x0100)
        #expect(reply.hostName.text == "gate")
        #expect((peer.hostName, peer.vendor, peer.firmware) == ("till-7", "ACME", 0x0201))
        #expect(server.isEstablished)
        #expect(server.peer == peer)
    }

    @Test(arguments: [UInt16(0), 0x0001, 0x00FF, 0x0101, 0x0200]) func otherVersions(_ version: UInt16) {
        var server = fresh()
        let actions = server.received(startRequest(version: version), now: start)
        guard case .send(.startReply(let reply)) = actions[1] else {
            Issue.record("\(actions)")
            return
        }
        #expect(reply.result == .versionNotSupported)
        #expect(reply.protocolVersion == 0x0100)
        #expect(actions[0] == .count(.badVersion))
        #expect(actions.last == .close(.versionNotSupported(version)))
    }

    @Test func unwantedPeer() {
        var server = fresh { $0.startRefusal = .notAuthorized }
        let actions = server.received(startRequest(), now: start)
        guard case .send(.startReply(let reply)) = actions[1] else {
            Issue.record("\(actions)")
            return
        }
        #expect(reply.result == .notAuthorized)
        #expect(actions.last == .close(.refused(.notAuthorized)))
    }

    @Test func secondStart() throws {
        var server = established()
        let handle = try accepted(&server, 1, as: 50)
        let actions = server.received(startRequest(), now: start)
        guard case .send(.startReply(let reply)) = actions[0] else {
            Issue.record("\(actions)")
            return
        }
        #expect(reply.result == .alreadyExists)
        #expect(actions.dropFirst() == [.count(.duplicateStart)])
        #expect(server.calls.keys.contains(handle))
    }

    @Test func startTimeout() {
        var server = fresh { $0.startTimeout = .seconds(10) }
        #expect(server.nextDeadline == .at(10))
        #expect(server.timer(now: .at(9.9)).isEmpty)
        #expect(server.timer(now: .at(10)) == [.count(.startTimeout), .close(.startTimeout)])
        #expect(server.nextDeadline == nil)
    }

    @Test func trickleDoesNotExtendTheStart() {
        var server = fresh { $0.startTimeout = .seconds(10) }
        for (second, byte) in startRequest().encoded().prefix(10).enumerated() {
            #expect(server.receive([byte], now: .at(Double(second))).isEmpty)
        }
        #expect(server.timer(now: .at(10)).last == .close(.startTimeout))
    }

    /// Every type before the start: what is answered, and that each counts.
    @Test func messagesBeforeTheStart() {
        for message in samples where ![.startRequest, .stopRequest].contains(message.type) {
            var server = fresh()
            let actions = server.received(message, now: start)
            #expect(actions.last == .count(.notStarted), "\(message.type)")
            #expect(!server.isClosed)
            let answer: Message? =
                switch message {
                case .echoRequest(let request):
                    .echoReply(EchoReply(identifier: request.identifier, result: .generalError, error: .notConnected))
                case .outgoingCallRequest(let request): refusal(request.callID, .generalError, .notConnected)
                case .incomingCallRequest(let request):
                    .incomingCallReply(
                        IncomingCallReply(callID: 0, peerCallID: request.callID, result: .generalError, error: .notConnected))
                default: nil
                }
            #expect(Array(actions.dropLast()) == (answer.map { [.send($0)] } ?? []), "\(message.type)")
        }
    }

    @Test func stopBeforeTheStart() {
        var server = fresh()
        #expect(
            server.received(.stopRequest(StopRequest(reason: .none)), now: start) == [
                .send(.stopReply(StopReply(result: .ok))), .close(.peerStopped(.none)),
            ])
    }
}

@Suite struct ServerCallTests {
    @Test func accepting() throws {
        var server = established { $0.receiveWindow = 64 }
        let handle = try open(&server, 0x1234)
        #expect(server.calls[handle]?.phase == .waitingForOwner)
        #expect(
            server.acceptCall(handle, callID: 777) == [
                .send(
                    .outgoingCallReply(
                        OutgoingCallReply(
                            callID: 777, peerCallID: 0x1234, result: .connected, connectSpeed: callRequest(0).maximumBPS,
                            receiveWindow: 64))),
                .count(.callAccepted),
            ])
        #expect(server.calls[handle]?.callID == 777)
    }

    @Test func acceptingTwiceOrWithAnotherCallsID() throws {
        var server = established()
        _ = try accepted(&server, 1, as: 50)
        let second = try open(&server, 2)
        #expect(server.acceptCall(second, callID: 50) == nil)
        #expect(server.acceptCall(second, callID: 51) != nil)
        #expect(server.acceptCall(second, callID: 52) == nil)
        #expect(server.calls[second]?.callID == 51)
    }

    @Test(arguments: [
        (ServerConnection.Refusal.error(.noResource), OutgoingCallResult.generalError, ErrorCode.noResource),
        (.error(.pacError), .generalError, .pacError), (.busy, .busy, .none), (.doNotAccept, .doNotAccept, .none),
    ])
    func refusing(_ why: ServerConnection.Refusal, _ result: OutgoingCallResult, _ error: ErrorCode) throws {
        var server = established()
        let handle = try open(&server, 5)
        #expect(server.refuseCall(handle, why, now: start) == [.send(refusal(5, result, error)), .count(.callRefused)])
        #expect(server.calls.isEmpty)
        #expect(server.refuseCall(handle, why, now: start).isEmpty)
        #expect(server.acceptCall(handle, callID: 50) == nil)
    }

    @Test func callIDZeroIsLegal() throws {
        var server = established()
        let handle = try accepted(&server, 0, as: 50)
        #expect(
            server.received(.callClearRequest(CallClearRequest(callID: 0)), now: start) == [
                .callEnded(handle, .clearedByPeer), .send(notify(50, .request)),
            ])
    }

    @Test(arguments: [true, false]) func sameClientCallIDTwice(_ firstIsAccepted: Bool) throws {
        var server = established()
        let handle = firstIsAccepted ? try accepted(&server, 5, as: 50) : try open(&server, 5)
        #expect(
            server.received(.outgoingCallRequest(callRequest(5)), now: start) == [
                .send(refusal(5, .generalError, .badCallID)), .count(.duplicateCallID),
            ])
        #expect(Array(server.calls.keys) == [handle])
    }

    @Test func callIDMayBeUsedAgainAfterItsEnd() throws {
        var server = established()
        let first = try accepted(&server, 5, as: 50)
        _ = server.received(.callClearRequest(CallClearRequest(callID: 5)), now: start)
        let second = try open(&server, 5)
        #expect(first != second)
        #expect(server.acceptCall(first, callID: 51) == nil)
        #expect(server.closeCall(first, .lostCarrier, now: start).isEmpty)
        #expect(server.calls[second]?.phase == .waitingForOwner)
    }

    @Test func limit() throws {
        var server = established { $0.maximumCalls = 2 }
        _ = try accepted(&server, 1, as: 50)
        _ = try open(&server, 2)
        #expect(
            server.received(.outgoingCallRequest(callRequest(3)), now: start) == [
                .send(refusal(3, .generalError, .noResource)), .count(.callLimit),
            ])
        _ = server.received(.callClearRequest(CallClearRequest(callID: 1)), now: start)
        _ = try open(&server, 3)
    }

    @Test func callsOpenedAndClearedWithoutEnd() throws {
        var server = established {
            $0.maximumCalls = 2
            $0.callsPerSecond = 0.5
        }
        func openAndClear(_ id: UInt16, at now: ContinuousClock.Instant) throws {
            _ = try open(&server, id, at: now)
            _ = server.received(.callClearRequest(CallClearRequest(callID: id)), now: now)
        }
        for id in UInt16(1)...4 { try openAndClear(id, at: .at(1)) }
        let over = server.received(.outgoingCallRequest(callRequest(5)), now: .at(2.9))
        #expect(over == [.send(refusal(5, .generalError, .noResource)), .count(.callRate)])
        #expect(server.calls.isEmpty)
        try openAndClear(6, at: .at(3.1))
        #expect(server.received(.outgoingCallRequest(callRequest(7)), now: .at(3.2)).contains(.count(.callRate)))
        // A long rest earns the burst again, and not more.
        for id in UInt16(8)...11 { try openAndClear(id, at: .at(1000)) }
        #expect(server.received(.outgoingCallRequest(callRequest(12)), now: .at(1000)).contains(.count(.callRate)))
    }

    @Test func whoNeverStopsAskingForCallsIsDisconnected() throws {
        var server = established { $0.maximumCalls = 1 }
        for id in UInt16(1)...2 {
            _ = try open(&server, id, at: .at(1))
            _ = server.received(.callClearRequest(CallClearRequest(callID: id)), now: .at(1))
        }
        var refused = 0
        for id in UInt16(3)...100 where !server.isClosed {
            let actions = server.received(.outgoingCallRequest(callRequest(id)), now: .at(1))
            refused += actions.contains(.count(.callRate)) ? 1 : 0
        }
        #expect(server.isClosed)
        #expect(refused == server.configuration.maximumViolations + 1)
    }

    @Test func badValues() {
        var server = established()
        var speeds = callRequest(1)
        speeds.minimumBPS = speeds.maximumBPS + 1
        var number = callRequest(1)
        number.phoneNumberLength = 65
        for request in [speeds, number] {
            #expect(
                server.received(.outgoingCallRequest(request), now: start) == [
                    .send(refusal(1, .generalError, .badValue)), .count(.badCallValue),
                ])
        }
        #expect(server.calls.isEmpty)
    }

    @Test func clearActsOnThatCallOnly() throws {
        var server = established()
        let first = try accepted(&server, 1, as: 2)
        let second = try accepted(&server, 2, as: 1)
        #expect(
            server.received(.callClearRequest(CallClearRequest(callID: 2)), now: start) == [
                .callEnded(second, .clearedByPeer), .send(notify(1, .request)),
            ])
        #expect(Array(server.calls.keys) == [first])
    }

    @Test func clearNeedsTheClientsOwnID() throws {
        var server = established()
        _ = try accepted(&server, 1, as: 50)
        #expect(server.received(.callClearRequest(CallClearRequest(callID: 50)), now: start) == [.count(.unknownCallClear)])
        #expect(server.calls.count == 1)
    }

    @Test func clearWhileTheOwnerDecides() throws {
        var server = established()
        let handle = try open(&server, 5)
        #expect(
            server.received(.callClearRequest(CallClearRequest(callID: 5)), now: start) == [
                .callEnded(handle, .clearedByPeer), .send(notify(0, .request)),
            ])
        #expect(server.acceptCall(handle, callID: 50) == nil)
    }

    @Test(arguments: [
        (ServerConnection.Clearing.lostCarrier, DisconnectResult.lostCarrier, ErrorCode.none),
        (.adminShutdown, .adminShutdown, .none), (.error(.pacError), .generalError, .pacError),
    ])
    func ourOwnClearing(_ why: ServerConnection.Clearing, _ result: DisconnectResult, _ error: ErrorCode) throws {
        var server = established()
        let handle = try accepted(&server, 1, as: 50)
        #expect(server.closeCall(handle, why, now: start) == [.send(notify(50, result, error))])
        #expect(server.calls.isEmpty)
        // pptp-linux confirms with a Call-Clear-Request.
        #expect(server.received(.callClearRequest(CallClearRequest(callID: 1)), now: start) == [.count(.unknownCallClear)])
    }

    @Test func closingACallThatWaits() throws {
        var server = established()
        let handle = try open(&server, 1)
        #expect(server.closeCall(handle, .adminShutdown, now: start) == [.send(refusal(1, .doNotAccept)), .count(.callRefused)])
    }

    @Test func linkInfoFindsOurCallID() throws {
        var server = established()
        let handle = try accepted(&server, 1, as: 50)
        func info(_ callID: UInt16) -> Message { .setLinkInfo(SetLinkInfo(peerCallID: callID, sendACCM: 7, receiveACCM: 8)) }
        #expect(server.received(info(50), now: start) == [.count(.linkInfo), .linkInfo(handle, sendACCM: 7, receiveACCM: 8)])
        #expect(server.received(info(1), now: start) == [.count(.unknownLinkInfo)])
    }

    @Test func wanErrorsBothWays() throws {
        var server = established()
        let handle = try accepted(&server, 1, as: 50)
        let waiting = try open(&server, 2)
        func message(_ callID: UInt16) -> Message { .wanErrorNotify(WANErrorNotify(peerCallID: callID, errors: wanErrors)) }
        #expect(server.received(message(50), now: start) == [.count(.wanErrors), .wanErrors(handle, wanErrors)])
        #expect(server.received(message(51), now: start) == [.count(.wanErrors)])
        #expect(server.reportErrors(handle, wanErrors) == [.send(message(1))])
        #expect(server.reportErrors(waiting, wanErrors).isEmpty)
    }

    @Test func disconnectNotifyFromAClient() throws {
        var server = established()
        let handle = try accepted(&server, 1, as: 50)
        #expect(server.received(notify(50, .lostCarrier), now: start) == [.count(.wrongDirection)])
        #expect(
            server.received(notify(1, .lostCarrier), now: start) == [
                .callEnded(handle, .clearedByPeer), .count(.wrongDirection),
            ])
    }

    @Test func incomingCallsAreRefused() {
        var server = established()
        guard case .incomingCallRequest(let request) = samples[8] else { return }
        #expect(
            server.received(samples[8], now: start) == [
                .send(.incomingCallReply(IncomingCallReply(callID: 0, peerCallID: request.callID, result: .doNotAccept))),
                .count(.incomingCallRefused),
            ])
    }

    @Test(arguments: [
        (1, ControlCount.unsolicitedReply), (3, .unsolicitedReply), (7, .wrongDirection), (9, .unsolicitedReply),
        (10, .wrongDirection),
    ])
    func outOfPlace(_ sample: Int, _ count: ControlCount) {
        var server = established()
        #expect(server.received(samples[sample], now: start) == [.count(count)])
        #expect(server.isEstablished)
    }
}

@Suite struct ServerLifeTests {
    @Test func echoIsAnswered() {
        var server = established()
        #expect(server.received(echo, now: start) == [.send(.echoReply(EchoReply(identifier: 9, result: .ok)))])
    }

    @Test func weAskWhenItIsQuiet() {
        var server = established { $0.echoInterval = .seconds(60) }
        #expect(server.nextDeadline == .at(60))
        _ = server.received(echo, now: .at(30))
        #expect(server.nextDeadline == .at(90))
        #expect(server.timer(now: .at(89)).isEmpty)
        #expect(server.timer(now: .at(90)) == [.send(.echoRequest(EchoRequest(identifier: 1)))])
        #expect(server.received(.echoReply(EchoReply(identifier: 1, result: .ok)), now: .at(91)).isEmpty)
        #expect(server.timer(now: .at(150)).isEmpty)
        #expect(server.timer(now: .at(151)) == [.send(.echoRequest(EchoRequest(identifier: 2)))])
    }

    @Test func noReplyEndsTheConnectionAndItsCalls() throws {
        var server = established {
            $0.echoInterval = .seconds(10)
            $0.echoTimeout = .seconds(5)
        }
        let handle = try accepted(&server, 1, as: 50)
        _ = server.timer(now: .at(10))
        // Other messages, and replies to something else, do not stand for the reply.
        _ = server.received(echo, now: .at(12))
        #expect(server.received(.echoReply(EchoReply(identifier: 77, result: .ok)), now: .at(13)) == [.count(.badEchoReply)])
        #expect(server.nextDeadline == .at(15))
        #expect(
            server.timer(now: .at(15)) == [
                .count(.echoTimeout), .callEnded(handle, .connectionClosed(.echoTimeout)), .close(.echoTimeout),
            ])
        #expect(server.isClosed)
    }

    @Test func noEchoIfNotWanted() {
        #expect(established().nextDeadline == nil)
    }

    @Test func idle() throws {
        var server = established {
            $0.idleTimeout = .seconds(20)
            $0.stopTimeout = .seconds(3)
        }
        #expect(server.nextDeadline == .at(20))
        let handle = try open(&server, 1, at: .at(19))
        #expect(server.nextDeadline == nil)
        #expect(server.timer(now: .at(500)).isEmpty)
        _ = server.refuseCall(handle, .busy, now: .at(600))
        #expect(server.timer(now: .at(620)) == [.count(.idleTimeout), .send(.stopRequest(StopRequest(reason: .none)))])
        #expect(server.timer(now: .at(623)) == [.count(.stopTimeout), .close(.idle)])
    }

    @Test func peerStops() throws {
        var server = established()
        let first = try accepted(&server, 1, as: 50)
        let second = try open(&server, 2)
        let reason = CallEnd.connectionClosed(.peerStopped(.localShutdown))
        #expect(
            server.received(.stopRequest(StopRequest(reason: .localShutdown)), now: start) == [
                .callEnded(first, reason), .callEnded(second, reason), .send(.stopReply(StopReply(result: .ok))),
                .close(.peerStopped(.localShutdown)),
            ])
    }

    /// With an accepted and a waiting call, an echo under way and half a message received.
    @Test func goesOnInAnotherProcess() throws {
        var server = established {
            $0.echoInterval = .seconds(60)
            $0.echoTimeout = .seconds(60)
        }
        let first = try accepted(&server, 1, as: 50)
        let second = try open(&server, 2)
        _ = server.timer(now: .at(60))
        let clear = Message.callClearRequest(CallClearRequest(callID: 1)).encoded()
        _ = server.receive(clear.prefix(14), now: .at(61))
        var copy = try JSONDecoder().decode(ServerConnection.self, from: JSONEncoder().encode(server))
        #expect(copy.peer == server.peer)
        #expect(copy.nextDeadline == .at(120))
        #expect(
            copy.receive(clear.suffix(2), now: .at(62)) == [
                .callEnded(first, .clearedByPeer), .send(notify(50, .request)),
            ])
        let reply = copy.acceptCall(second, callID: 51)
        #expect(reply != nil)
        let third = try open(&copy, 3, at: .at(63))
        #expect(![first, second].contains(third))
        #expect(copy.timer(now: .at(120)).last == .close(.echoTimeout))
    }

    @Test func peerVanishes() throws {
        var server = established()
        let handle = try accepted(&server, 1, as: 50)
        #expect(server.peerClosed() == [.callEnded(handle, .connectionClosed(.peerClosed)), .close(.peerClosed)])
        #expect(server.peerClosed().isEmpty)
    }

    @Test func shutdown() throws {
        var server = established { $0.stopTimeout = .seconds(3) }
        let first = try accepted(&server, 1, as: 50)
        let second = try open(&server, 2)
        #expect(
            server.shutdown(now: start) == [
                .callEnded(first, .connectionClosed(.shutdown)), .send(notify(50, .adminShutdown)),
                .callEnded(second, .connectionClosed(.shutdown)), .send(refusal(2, .doNotAccept)),
                .send(.stopRequest(StopRequest(reason: .localShutdown))),
            ])
        #expect(server.shutdown(now: start).isEmpty)
        #expect(server.nextDeadline == .at(3))
        #expect(server.received(.stopReply(StopReply(result: .ok)), now: .at(1)) == [.close(.shutdown)])
    }

    @Test func shutdownWithoutAReply() {
        var server = established { $0.stopTimeout = .seconds(3) }
        _ = server.shutdown(now: start)
        #expect(server.timer(now: .at(2.9)).isEmpty)
        #expect(server.timer(now: .at(3)) == [.count(.stopTimeout), .close(.shutdown)])
    }

    @Test func shutdownBeforeTheStart() {
        var server = fresh()
        #expect(server.shutdown(now: start) == [.close(.shutdown)])
    }

    /// Every type while we wait for the Stop-Reply.
    @Test func messagesWhileStopping() {
        for message in samples {
            var server = established()
            _ = server.shutdown(now: start)
            let answer: [ServerConnection.Action] =
                switch message {
                case .stopReply: [.close(.shutdown)]
                case .stopRequest: [.send(.stopReply(StopReply(result: .ok))), .close(.shutdown)]
                case .echoRequest(let request): [.send(.echoReply(EchoReply(identifier: request.identifier, result: .ok)))]
                case .outgoingCallRequest(let request): [.send(refusal(request.callID, .doNotAccept)), .count(.callRefused)]
                case .incomingCallRequest(let request):
                    [
                        .send(.incomingCallReply(IncomingCallReply(callID: 0, peerCallID: request.callID, result: .doNotAccept))),
                        .count(.incomingCallRefused),
                    ]
                default: []
                }
            #expect(server.received(message, now: start) == answer, "\(message.type)")
        }
    }

    @Test func afterTheCloseNothingHappens() {
        for message in samples {
            var server = established()
            _ = server.peerClosed()
            #expect(server.received(message, now: start).isEmpty)
            #expect(server.receive(message.encoded(), now: start).isEmpty)
            #expect(server.timer(now: .at(1_000)).isEmpty)
            #expect(server.shutdown(now: start).isEmpty)
        }
    }
}

@Suite struct ServerMisuseTests {
    static let damages: [(ControlCount, [UInt8], ParseError)] = [
        (.badMagic, hexBytes("0010 0001 1a2b3c4e 0005 0000 00000001"), .badMagic(0x1A2B_3C4E)),
        (.badMessageType, hexBytes("0010 0002 1a2b3c4d 0005 0000 00000001"), .badMessageType(2)),
        (.badLength, hexBytes("0008 0001 1a2b3c4d 0005 0000 00000001"), .badLength(8)),
        (.unknownControlType, hexBytes("0010 0001 1a2b3c4d 0010 0000 00000001"), .unknownControlType(16)),
        (.wrongLength, hexBytes("0014 0001 1a2b3c4d 0005 0000 00000001"), .wrongLength(.echoRequest, 20)),
    ]

    @Test(arguments: damages) func beforeTheStart(_ count: ControlCount, _ bytes: [UInt8], _ error: ParseError) {
        var server = fresh()
        #expect(server.receive(bytes, now: start) == [.count(count), .close(.malformed(error))])
    }

    @Test func startOfTheWrongLength() {
        var server = fresh()
        let actions = server.receive(hexBytes("0094 0001 1a2b3c4d 0001 0000"), now: start)
        guard actions.count == 3, case .send(.startReply(let reply)) = actions[1] else {
            Issue.record("\(actions)")
            return
        }
        #expect((reply.result, reply.error) == (.generalError, .badFormat))
        #expect(actions[0] == .count(.wrongLength))
        #expect(actions[2] == .close(.malformed(.wrongLength(.startRequest, 148))))
    }

    @Test(arguments: damages) func established(_ count: ControlCount, _ bytes: [UInt8], _ error: ParseError) throws {
        var server = PPTPTests.established()
        let handle = try accepted(&server, 1, as: 50)
        let goodbye: [ServerConnection.Action] =
            error.losesSynchronization ? [] : [.send(.stopRequest(StopRequest(reason: .stopProtocol)))]
        #expect(
            server.receive(echo.encoded() + bytes + echo.encoded(), now: start)
                == [.send(.echoReply(EchoReply(identifier: 9, result: .ok))), .count(count)] + goodbye
                + [.callEnded(handle, .connectionClosed(.malformed(error))), .close(.malformed(error))])
        #expect(server.receive(echo.encoded(), now: start).isEmpty)
    }

    @Test func tooManyViolations() {
        var server = PPTPTests.established { $0.maximumViolations = 2 }
        for _ in 0..<2 { #expect(server.received(samples[7], now: start) == [.count(.wrongDirection)]) }
        #expect(
            server.received(samples[7], now: start) == [
                .count(.wrongDirection), .count(.tooManyViolations), .send(.stopRequest(StopRequest(reason: .none))),
                .close(.tooManyViolations),
            ])
    }

    @Test func tooManyViolationsBeforeTheStart() {
        var server = fresh { $0.maximumViolations = 0 }
        #expect(server.received(echo, now: start).last == .close(.tooManyViolations))
    }

    /// A whole session arrives in one segment, or byte by byte: the actions are the same.
    @Test(arguments: 0..<20) func segmentsDoNotMatter(_ seed: UInt64) {
        let stream =
            startRequest().encoded() + callRequestBytes(1) + callRequestBytes(2) + echo.encoded() + callRequestBytes(1)
            + Message.callClearRequest(CallClearRequest(callID: 2)).encoded() + samples.dropFirst(4).flatMap { $0.encoded() }
            + Message.stopRequest(StopRequest(reason: .none)).encoded() + echo.encoded()
        var whole = fresh()
        let wanted = whole.receive(stream, now: start)
        #expect(wanted.last == .close(.peerStopped(.none)))
        var drip = fresh()
        #expect(stream.flatMap { drip.receive([$0], now: start) } == wanted)
        var pieces = fresh()
        #expect(chunks(stream, seed: seed).flatMap { pieces.receive($0, now: start) } == wanted)
    }
}

private func callRequestBytes(_ callID: UInt16) -> [UInt8] { Message.outgoingCallRequest(callRequest(callID)).encoded() }
