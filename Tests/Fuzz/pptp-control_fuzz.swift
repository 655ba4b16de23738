// The control connection under a hostile client and a busy owner. The input is a list of steps: bytes from the network (raw, or a
// well-formed header with any body), time that passes, and what the owner does. Two servers take the same steps, one gets each
// chunk whole and one byte by byte: their actions must be the same, and must keep the promises of `ServerConnection`.

import PPTP

private struct Steps {
    private var rest: ArraySlice<UInt8>
    init(_ bytes: [UInt8]) { rest = bytes[...] }
    var isAtEnd: Bool { rest.isEmpty }
    mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }
    mutating func bytes(_ count: Int) -> [UInt8] {
        defer { rest = rest.dropFirst(count) }
        return Array(rest.prefix(count))
    }
}

private struct Subject {
    var server: ServerConnection
    /// Calls that the owner was told of and that have not ended; the value is our call ID, once given.
    var calls: [CallHandle: UInt16?] = [:]
    var seen: Set<CallHandle> = []
    var closed = false

    mutating func check(_ actions: [ServerConnection.Action]) {
        for action in actions {
            precondition(!closed, "an action after close")
            switch action {
            case .send(let message):
                let bytes = message.encoded()
                precondition((try? Message(bytes)) == message, "a message that does not come back")
            case .openCall(let handle, _):
                precondition(seen.insert(handle).inserted, "a handle used twice")
                calls[handle] = .some(nil)
            case .callEnded(let handle, _):
                precondition(calls.removeValue(forKey: handle) != nil, "a call ended that was not open")
            case .linkInfo(let handle, _, _), .wanErrors(let handle, _):
                precondition(calls[handle] != nil, "news of a call that is not open")
            case .close: closed = true
            case .started, .count: break
            }
        }
        precondition(server.isClosed == closed)
        precondition(Set(server.calls.keys) == Set(calls.keys), "the owner's calls are not the server's")
        precondition(server.calls.count <= server.configuration.maximumCalls)
        precondition(Set(server.calls.values.map(\.request.callID)).count == server.calls.count, "a client call ID twice")
        precondition(!closed || calls.isEmpty, "a call outlived its connection")
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzControlConnection(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
    var steps = Steps(Array(UnsafeBufferPointer(start: data, count: size)))
    var configuration = ServerConnection.Configuration()
    let flags = steps.byte()
    configuration.maximumCalls = Int(flags & 3)
    configuration.maximumViolations = Int(flags >> 2 & 3) * 8
    configuration.idleTimeout = flags & 0x10 == 0 ? .zero : .seconds(20)
    configuration.echoInterval = flags & 0x20 == 0 ? .zero : .seconds(15)
    configuration.echoTimeout = .seconds(5)
    if flags & 0xC0 == 0xC0 { configuration.startRefusal = .notAuthorized }
    var now = ContinuousClock.now
    var whole = Subject(server: ServerConnection(configuration: configuration, now: now))
    var drip = whole
    var nextCallID: UInt16 = 1

    func both(_ step: (inout ServerConnection) -> [ServerConnection.Action]) {
        let actions = step(&whole.server)
        whole.check(actions)
        let others = step(&drip.server)
        drip.check(others)
        precondition(actions == others, "the two servers differ")
    }
    func receive(_ bytes: [UInt8]) {
        let actions = whole.server.receive(bytes, now: now)
        whole.check(actions)
        var others: [ServerConnection.Action] = []
        for byte in bytes { others += drip.server.receive(CollectionOfOne(byte), now: now) }
        drip.check(others)
        precondition(actions == others, "chunks matter")
    }

    while !steps.isAtEnd, !whole.closed {
        let step = steps.byte()
        let handle = whole.calls.keys.min { $0.description < $1.description }
        switch step & 7 {
        case 0: receive(steps.bytes(Int(steps.byte())))
        case 1, 2:
            guard let type = ControlType(rawValue: UInt16(step >> 4)) else { continue }
            let bodyLength = type.messageLength - WireFacts.headerLength
            let body = steps.bytes(min(bodyLength, Int(steps.byte())))
            let header: [UInt8] = [
                0, UInt8(type.messageLength), 0, 1, 0x1A, 0x2B, 0x3C, 0x4D, 0, UInt8(type.rawValue), 0, 0,
            ]
            receive(header + body + [UInt8](repeating: 0, count: bodyLength - body.count))
        case 3:
            now += .milliseconds(Int(steps.byte()) * 100)
            both { $0.timer(now: now) }
        case 4:
            guard let deadline = whole.server.nextDeadline else { continue }
            now = max(now, deadline)
            both { $0.timer(now: now) }
            precondition(whole.server.nextDeadline.map { $0 > now } ?? true, "a timer that spins")
        case 5:
            guard let handle else { continue }
            let callID = nextCallID
            nextCallID += 1
            let waits = whole.server.calls[handle]?.phase == .waitingForOwner
            both {
                let actions = $0.acceptCall(handle, callID: callID)
                precondition((actions != nil) == waits, "accepted what did not wait")
                return actions ?? []
            }
        case 6:
            guard let handle else { continue }
            let waits = whole.server.calls[handle]?.phase == .waitingForOwner
            let refuses = step & 8 == 0
            whole.calls[handle] = refuses && !waits ? whole.calls[handle] : nil
            drip.calls = whole.calls
            both { refuses ? $0.refuseCall(handle, .busy, now: now) : $0.closeCall(handle, .lostCarrier, now: now) }
        default:
            switch step >> 3 & 7 {
            case 0: both { $0.peerClosed() }
            case 1: both { $0.shutdown(now: now) }
            default: if let handle { both { $0.reportErrors(handle, WANErrors()) } }
            }
        }
    }
    both { $0.peerClosed() }
    return 0
}
