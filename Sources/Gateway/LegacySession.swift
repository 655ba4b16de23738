import Addresses
import Authentication
import DataPath
import Devices
import Diagnosis
import Foundation
import NIOCore
import PPP
import PPTP
import SessionMapper
import Settings
import Timers

/// One PPTP call as the gateway sees it: the PPP link inside, the call IDs around, the user behind. It belongs to the controller alone.
final class LegacySession {
    /// Where the session stands; a session is in the table until the data path has confirmed its end.
    enum Phase: String, Codable, Sendable {
        case negotiating, authenticated, open, ending
    }

    /// The handle in the data path and in every listing; never used twice by one process.
    let id: UInt64
    let connection: ConnectionID
    let call: CallHandle
    let ticket: AdmissionLimits.CallTicket
    let callID: UInt16
    let peerCallID: UInt16
    let listener: CausewayConfiguration.Listener
    let clientAddress: IPAddress
    let localAddress: IPAddress
    let startedAt: Date
    let started: ContinuousClock.Instant

    /// How far it came, and why it ended, for its diagnosis.
    var negotiation = Negotiation()
    var end: Attempt.End?
    var logIn: Attempt.LogInResult?
    var refusal: String?
    /// What the client called itself, made printable.
    var presentedName: String?
    /// The data path lost the MPPE keys' place.
    var recoveries = 0
    /// What the client says about itself.
    var fingerprint: DeviceFingerprint
    /// Who that is, once the session has been open.
    var device: RecognisedDevice?
    var ppp: PPPSession
    /// What the link said has to be done and is not done yet, in order.
    var pending: [PPPAction] = []
    var isCarryingOut = false
    var timer: ControlTimer?
    var phase = Phase.negotiating
    /// Set by the log-in; the name of the user's entry, not what the client typed.
    var user: String?
    var attributes = UserAttributes()
    var flags: SessionFlags
    var peerMRU: UInt16 = 1500
    var assignment: Assignment?
    /// Being written into the book, or written; nil: not yet, or there is no book.
    var entry: Task<Assignment?, Never>?
    /// The user's own one is in use by their WireGuard peer.
    var takesSecondAddress = false
    /// Addresses that the book knows to be somebody else's.
    var refusedAddresses: Set<IPAddress> = []
    /// The identity that was asked for and has to be let go of; nil where the tunnel is shared.
    var uplink: UplinkRequest?
    /// Where its packets leave; nil: the TUN.
    var identity: WireGuardEngine.Identity?
    var mtu: UInt16?
    /// What the data path has bound for this session.
    var bound: Binding?
    var receiveEncryption: MPPEParameters?
    var transmitEncryption: MPPEParameters?
    /// Ended by the gateway (shutdown, administrator, replaced), not by the line: the client is told so (RFC 2637 section 2.13).
    var isEndedByUs = false
    /// Others have heard that it is open.
    var isAnnounced = false
    /// The PPTP side knows that the call is over: no more notice is due.
    var callIsOver = false

    init(
        id: UInt64, connection: ConnectionID, call: CallHandle, ticket: AdmissionLimits.CallTicket, callID: UInt16, peerCallID: UInt16,
        listener: CausewayConfiguration.Listener, clientAddress: IPAddress, localAddress: IPAddress, fingerprint: DeviceFingerprint,
        now: ContinuousClock.Instant, ppp: PPPSession, flags: SessionFlags
    ) {
        self.id = id
        self.connection = connection
        self.call = call
        self.ticket = ticket
        self.callID = callID
        self.peerCallID = peerCallID
        self.listener = listener
        self.clientAddress = clientAddress
        self.localAddress = localAddress
        self.fingerprint = fingerprint
        startedAt = Date()
        started = now
        self.ppp = ppp
        self.flags = flags
    }

    /// For log lines: who and from where.
    var label: String { "\(user.map { "user \"\($0)\"" } ?? "unauthenticated client") at \(clientAddress) (session \(id), call \(callID))" }

    var announcement: Happening.Session {
        .init(id: id, kind: "pptp", user: user, clientAddress: clientAddress, innerAddress: assignment?.address, tunnel: assignment?.tunnel)
    }

    var encryption: String {
        guard let receive = receiveEncryption, let transmit = transmitEncryption else { return "none" }
        let mode = receive.stateless && transmit.stateless ? "stateless" : receive.stateless || transmit.stateless ? "mixed" : "stateful"
        return "MPPE-\(receive.bits) \(mode)"
    }
}

/// One PPTP control connection (TCP). It belongs to the controller alone.
final class ControlConnection {
    let channel: any Channel
    let listener: CausewayConfiguration.Listener
    let remote: IPAddress
    let local: IPAddress
    let ticket: AdmissionLimits.ConnectionTicket
    var state: ServerConnection
    var timer: ControlTimer?
    var sessions: [CallHandle: UInt64] = [:]
    let accepted = ContinuousClock.now
    /// When the client said something last.
    var heard = ContinuousClock.now
    var hasStarted = false
    var hadCall = false
    /// It ended with a reset or another error of TCP.
    var wasReset = false

    init(
        channel: any Channel, listener: CausewayConfiguration.Listener, remote: IPAddress, local: IPAddress,
        ticket: AdmissionLimits.ConnectionTicket, state: ServerConnection
    ) {
        self.channel = channel
        self.listener = listener
        self.remote = remote
        self.local = local
        self.ticket = ticket
        self.state = state
    }
}

struct ConnectionID: Hashable, Sendable { let number: UInt64 }

/// Whose deadline a timer is.
enum TimerOwner: Sendable {
    case session(UInt64)
    case connection(ConnectionID)
}

/// A timer that runs.
struct ControlTimer {
    let deadline: ContinuousClock.Instant
    let token: Token
    typealias Token = TimerWheel<TimerOwner>.Token
}
