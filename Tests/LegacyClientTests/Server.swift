import Addresses
import Authentication
import DataPath
import PPP
import PPTP
import Testing

@testable import LegacyClient

/// A client's call and a server's end of it, back to back without sockets: the seam of the two is a list of control frames.
struct Link {
    /// What passed, in order.
    struct Frame: Equatable {
        var fromClient: Bool
        var number: UInt16
        var payload: [UInt8]
        var code: UInt8? { payload.first }
        var options: [UInt8] { Array(payload.dropFirst(4)) }
    }

    var call: LegacyCall
    var server: PPPSession
    var now = ContinuousClock.now
    var frames: [Frame] = []
    var commands: [Command.Kind] = []
    var network: SessionNetwork?
    var networkWentDown = false
    /// Set once: nil inside means that the client asked for the end.
    var ended: SessionFailure??
    var serverKeys: [(KeyDirection, MPPEParameters?)] = []
    var serverEnd: TerminationReason?

    /// The server's password; the client has its own.
    var serverPassword = Link.hash("Secret-Passw0rd")
    /// The server's proof is wrong.
    var forgesProof = false
    var mayRetry = false
    private var inFlight: [Frame] = []

    static func hash(_ password: String) -> Secret { MSCHAPv2.ntHash(password: Secret(utf8: password)) }
    static let account = LegacyAccount(user: "lab", password: Password(Secret(utf8: "Secret-Passw0rd")))

    static var serverConfiguration: PPPConfiguration {
        var configuration = PPPConfiguration(role: .server)
        configuration.echoInterval = nil
        return configuration
    }

    init(_ profile: LegacyProfile, account: LegacyAccount = Link.account, server: PPPConfiguration = Link.serverConfiguration) {
        call = LegacyCall(account: account, configuration: profile.ppp)
        self.server = PPPSession(configuration: server)
    }

    /// Starts both and passes frames until nothing is left to say.
    mutating func start() {
        client { $0.start(now: $1) }
        serve { $0.start(now: $1) }
        settle()
    }

    mutating func client(_ body: (inout LegacyCall, ContinuousClock.Instant) -> [LegacyCall.Action]) {
        for action in body(&call, now) {
            switch action {
            case .command(let command):
                commands.append(command)
                if case .inject(let number, let payload) = command {
                    send(Frame(fromClient: true, number: number, payload: payload))
                }
            case .networkUp(let agreed): network = agreed
            case .networkDown: networkWentDown = true
            case .note: break
            case .ended(let failure):
                #expect(ended == nil, "ended twice")
                ended = .some(failure)
            }
        }
    }

    mutating func serve(_ body: (inout PPPSession, ContinuousClock.Instant) -> [PPPAction]) {
        for action in body(&server, now) {
            switch action {
            case .send(let number, let payload): send(Frame(fromClient: false, number: number, payload: payload))
            case .authenticate(.msCHAPv2(let response)):
                let verdict = judge(response)
                serve { $0.authenticated(identifier: response.identifier, verdict, now: $1) }
            case .allocateAddress:
                serve {
                    $0.assign(
                        AddressAssignment(
                            local: IPAddress("10.8.0.1")!, peer: IPAddress("10.8.0.10")!, dns: [IPAddress("10.8.0.53")!]),
                        now: $1)
                }
            case .setKey(let direction, let parameters): serverKeys.append((direction, parameters))
            case .terminated(let reason): serverEnd = reason
            default: break
            }
        }
    }

    private func judge(_ response: MSCHAPv2Response) -> AuthenticationVerdict {
        let expected = MSCHAPv2.ntResponse(
            authenticatorChallenge: response.authenticatorChallenge, peerChallenge: response.peerChallenge,
            userName: response.userName, ntHash: serverPassword)
        guard expected == response.ntResponse else { return .reject(code: 691, retry: mayRetry, message: "Wrong") }
        let proof = MSCHAPv2.authenticatorResponse(
            authenticatorChallenge: response.authenticatorChallenge, peerChallenge: response.peerChallenge,
            ntResponse: response.ntResponse, userName: response.userName,
            ntHash: forgesProof ? Link.hash("something else") : serverPassword)
        let keys = MSCHAPv2.startKeys(ntHash: serverPassword, ntResponse: response.ntResponse, role: .server)
        return .accept(
            authenticatorResponse: proof,
            keys: MPPEStartKeys(
                send: MPPEStartKey(keys.send.withUnsafeBytes { Array($0) })!,
                receive: MPPEStartKey(keys.receive.withUnsafeBytes { Array($0) })!))
    }

    private mutating func send(_ frame: Frame) {
        frames.append(frame)
        inFlight.append(frame)
    }

    /// Delivers what is in flight, and what that causes.
    mutating func settle() {
        var delivered = 0
        while !inFlight.isEmpty {
            delivered += 1
            guard delivered < 1000 else {
                Issue.record("the two ends talk without end")
                return
            }
            let frame = inFlight.removeFirst()
            if frame.fromClient {
                serve { $0.receive(protocol: frame.number, payload: frame.payload, now: $1) }
            } else {
                client { $0.receive(protocol: frame.number, payload: frame.payload, now: $1) }
            }
        }
    }

    /// Lets time pass; what is sent meanwhile arrives.
    mutating func wait(_ duration: Duration) {
        let end = now + duration
        while let next = [call.deadline, server.deadline].compactMap({ $0 }).min(), next <= end {
            now = max(now, next)
            client { $0.timer(now: $1) }
            serve { $0.timer(now: $1) }
            settle()
        }
        now = end
    }

    func sent(_ number: UInt16, code: UInt8) -> [Frame] {
        frames.filter { $0.fromClient && $0.number == number && $0.code == code }
    }
}
