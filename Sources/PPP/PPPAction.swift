import Addresses

/// What the owner of a `PPPSession` has to do, in the order given.
public enum PPPAction: Sendable, Equatable {
    /// A frame for the peer; address, control and the protocol field are added by the data path.
    case send(protocol: UInt16, payload: [UInt8])
    /// Server: judge this, then call `authenticated`.
    case authenticate(PPPCredentials)
    /// Client: answer this challenge with `respond`.
    case challenged(CHAPChallenge)
    /// Client: the server says that we are in. Check its "S=" string, then call `verifiedSuccess` or `refusedSuccess`.
    case verify(identifier: UInt8, message: [UInt8])
    /// Server: find an address for this user, then call `assign` or `refuseAddress`. Asked once for each authentication.
    case allocateAddress(requested: IPAddress?)
    /// LCP is open: how to send from here on.
    case linkOptions(LinkOptions)
    /// Set (or, with nil, clear) the MPPE key of one direction. The receive key comes before the frame that lets the peer use it.
    case setKey(KeyDirection, MPPEParameters?)
    case networkUp(NetworkParameters)
    case networkDown
    /// The user is who they say (server), or the server has taken us (client).
    case authenticationSucceeded(userName: [UInt8])
    case authenticationFailed(AuthenticationFailure)
    /// Worth a log line, a counter or the fingerprint of the device; nothing has to be done.
    case note(PPPNote)
    /// The end, once. Every later call returns no action.
    case terminated(TerminationReason)
}

/// What a peer presents to prove who it is.
public enum PPPCredentials: Sendable, Equatable, Codable {
    case msCHAPv2(MSCHAPv2Response)
    case msCHAPv1(MSCHAPv1Response)
    case pap(PAPRequest)

    /// To be handed back with the verdict.
    public var identifier: UInt8 {
        switch self {
        case .msCHAPv2(let response): response.identifier
        case .msCHAPv1(let response): response.identifier
        case .pap(let request): request.identifier
        }
    }

    public var userName: [UInt8] {
        switch self {
        case .msCHAPv2(let response): response.userName
        case .msCHAPv1(let response): response.userName
        case .pap(let request): request.userName
        }
    }
}

/// RFC 2759 section 4, with the challenge that it answers.
public struct MSCHAPv2Response: Sendable, Equatable, Codable {
    public var identifier: UInt8
    public var authenticatorChallenge: [UInt8]  // 16
    public var peerChallenge: [UInt8]  // 16
    public var ntResponse: [UInt8]  // 24
    /// As received: with its DOMAIN\ if there was one.
    public var userName: [UInt8]

    public init(
        identifier: UInt8, authenticatorChallenge: [UInt8], peerChallenge: [UInt8], ntResponse: [UInt8], userName: [UInt8]
    ) {
        self.identifier = identifier
        self.authenticatorChallenge = authenticatorChallenge
        self.peerChallenge = peerChallenge
        self.ntResponse = ntResponse
        self.userName = userName
    }
}

/// RFC 2433 section 4.
public struct MSCHAPv1Response: Sendable, Equatable, Codable {
    public var identifier: UInt8
    public var challenge: [UInt8]  // 8
    public var lmResponse: [UInt8]  // 24
    public var ntResponse: [UInt8]  // 24
    public var usesNTResponse: Bool
    public var userName: [UInt8]
}

/// RFC 1334 section 2.2.1.
public struct PAPRequest: Sendable, Equatable, Codable, CustomStringConvertible, CustomReflectable {
    public var identifier: UInt8
    public var userName: [UInt8]
    public var password: [UInt8]

    public var description: String { "PAPRequest(\(text(userName)), password hidden)" }
    public var customMirror: Mirror { Mirror(self, children: ["identifier": identifier, "userName": userName]) }
}

/// A challenge that the client has to answer.
public struct CHAPChallenge: Sendable, Equatable, Codable {
    public var method: AuthenticationMethod
    public var identifier: UInt8
    public var challenge: [UInt8]
    /// The server's name for itself.
    public var name: [UInt8]
    /// The server refused the answer before with this message and lets us try again.
    public var refusal: [UInt8]?
}

/// The owner's answer to `PPPAction.authenticate`.
public enum AuthenticationVerdict: Sendable, Equatable {
    /// `authenticatorResponse` is "S=" and 40 hexadecimal digits (RFC 2759 section 5), for MS-CHAPv2 only.
    case accept(authenticatorResponse: String, message: String = "Access granted", keys: MPPEStartKeys?)
    /// An error code of RFC 2759 section 6 (691: wrong name or password) and whether the user may try again.
    case reject(code: Int, retry: Bool, message: String)
}

public struct AuthenticationFailure: Sendable, Equatable {
    public var userName: [UInt8]
    /// Server: the code of the verdict. Client: the code of the server's message, 0 if it has none.
    public var code: Int
    public var mayRetry: Bool
}

/// The asymmetric start keys of RFC 3079 section 3.4, from our point of view. For 40 and 56 bits the first 8 bytes count.
public struct MPPEStartKeys: Sendable, Equatable, Codable {
    public var send: MPPEStartKey
    public var receive: MPPEStartKey

    public init(send: MPPEStartKey, receive: MPPEStartKey) {
        self.send = send
        self.receive = receive
    }
}

/// 16 bytes that never show in a log.
public struct MPPEStartKey: Sendable, Equatable, Codable, CustomStringConvertible, CustomReflectable {
    public let bytes: [UInt8]

    /// nil unless there are 16 bytes.
    public init?(_ bytes: [UInt8]) {
        guard bytes.count == 16 else { return nil }
        self.bytes = bytes
    }

    public var description: String { "MPPEStartKey(hidden)" }
    public var customMirror: Mirror { Mirror(self, children: []) }
}

public enum KeyDirection: Sendable, Equatable {
    case receive, transmit
}

public struct MPPEParameters: Sendable, Equatable {
    /// 40, 56 or 128.
    public var bits: Int
    public var stateless: Bool
    public var startKey: MPPEStartKey
}

public struct LinkOptions: Sendable, Equatable, Codable {
    /// The longest packet that the peer receives.
    public var peerMRU: UInt16
    /// The longest packet that the peer may send us.
    public var localMRU: UInt16
    /// We may leave out address and control, and shorten the protocol field: the peer asked for it.
    public var sendACFC: Bool
    public var sendPFC: Bool
}

/// The owner's answer to `PPPAction.allocateAddress`.
public struct AddressAssignment: Sendable, Equatable, Codable {
    /// Our end of the link.
    public var local: IPAddress
    public var peer: IPAddress
    /// At most two of each are told to the peer.
    public var dns: [IPAddress]
    public var nbns: [IPAddress]

    public init(local: IPAddress, peer: IPAddress, dns: [IPAddress] = [], nbns: [IPAddress] = []) {
        self.local = local
        self.peer = peer
        self.dns = dns
        self.nbns = nbns
    }
}

public struct NetworkParameters: Sendable, Equatable {
    public var local: IPAddress
    public var peer: IPAddress
    /// Client: what the server told us. Server: what the peer was told or could have been.
    public var dns: [IPAddress]
    public var nbns: [IPAddress]
    public var peerMRU: UInt16
    public var localMRU: UInt16
    /// Encryption was agreed on, both ways.
    public var encrypted: Bool
}

/// Why a link ended. `peerText` is what the peer is told in the Terminate-Request.
public enum TerminationReason: Sendable, Equatable, Codable {
    /// The owner closed the link: shutdown, disconnect, replaced by a newer log-in...
    case administrative(String)
    /// The peer sent a Terminate-Request, with these bytes of data.
    case peerTerminated([UInt8])
    case lowerLayerDown
    /// LCP: no answer, no agreement, or a catastrophic reject.
    case linkNegotiationFailed
    case loopedBack
    case peerRefusesAuthentication
    case authenticationTimeout
    case authenticationFailed
    /// Client: the server's proof was wrong, or it asked for nothing that we do.
    case serverNotAuthentic
    case negotiationTimeout
    case encryptionRefused
    case networkRefused
    case noAddress
    case echoTimeout

    public var peerText: String {
        switch self {
        case .administrative(let text): text
        case .peerTerminated: "Terminated by request"
        case .lowerLayerDown: "Link down"
        case .linkNegotiationFailed: "Link negotiation failed"
        case .loopedBack: "Looped-back link"
        case .peerRefusesAuthentication: "Authentication is required"
        case .authenticationTimeout: "Authentication took too long"
        case .authenticationFailed: "Authentication failed"
        case .serverNotAuthentic: "Server failed to authenticate"
        case .negotiationTimeout: "Negotiation took too long"
        case .encryptionRefused: "MPPE encryption is required"
        case .networkRefused: "IP could not be negotiated"
        case .noAddress: "No address available"
        case .echoTimeout: "Peer not responding"
        }
    }
}

/// Facts for the log, the counters and the device's fingerprint.
public enum PPPNote: Sendable, Equatable {
    /// The options of the peer's first Configure-Request of a protocol, in its order.
    case peerAsks(protocol: UInt16, options: [ConfigurationOption])
    case retransmitted(protocol: UInt16, code: UInt8, times: Int)
    /// The peer rejected an option of ours, or Nak'ed it.
    case peerRefusedOption(protocol: UInt16, type: UInt8)
    case peerRejectedProtocol(UInt16)
    case peerRejectedCode(protocol: UInt16, code: UInt8)
    case rejectedProtocol(UInt16)
    case rejectedCode(protocol: UInt16, code: UInt8)
    case identification([UInt8])
    case timeRemaining(seconds: UInt32, message: [UInt8])
    /// A live layer is negotiated again.
    case renegotiation(protocol: UInt16)
    /// Wrong length, identifier or content; dropped (RFC 1661 section 5).
    case malformed(protocol: UInt16)
    /// A protocol's packet outside its phase; dropped (RFC 1661 section 3).
    case outOfPhase(protocol: UInt16)
    case possibleLoop
    case reauthenticated
    case challengeRepeated
    case responseRepeated
}
