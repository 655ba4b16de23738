/// What the PPP control frames of a link, both ways, say about how far it came. Fed with frames as they are on the wire, so that a capture
/// tells the same as a live session. "In" is from the client.
public struct Negotiation: Sendable, Equatable, Codable {
    /// Configure-Requests and answers to them of one protocol (RFC 1661 section 5).
    public struct Exchange: Sendable, Equatable, Codable {
        public var requestsIn = 0
        public var requestsOut = 0
        /// Acks, Naks and Rejects of the client: it has heard our requests.
        public var answersIn = 0
        public var acksIn = 0
        public var acksOut = 0

        public init() {}

        public var isOpen: Bool { acksIn > 0 && acksOut > 0 }
    }

    public var lcp = Exchange()
    public var ccp = Exchange()
    public var ipcp = Exchange()
    /// Protocol, and algorithm for CHAP, that the client wants instead of ours, for example 0xC023.
    public var methodWanted: UInt16?
    public var algorithmWanted: UInt8?
    /// The client rejects the authentication option as such.
    public var rejectsAuthentication = false
    public var challengesOut = 0
    public var responsesIn = 0
    public var failuresOut = 0
    /// The supported bits that the client asked for last, and those that it wants us to ask for (RFC 3078 section 2.1).
    public var bitsAsked: UInt32?
    public var bitsWanted: UInt32?
    /// The client rejects MPPE, or CCP altogether.
    public var rejectsEncryption = false
    public var resetsIn = 0
    public var resetsOut = 0
    public var terminatesIn = 0

    public init() {}

    public mutating func received(_ number: UInt16, _ frame: [UInt8]) {
        guard let code = frame.first else { return }
        switch number {
        case Wire.lcp:
            lcp.received(code)
            switch code {
            case Wire.nak:
                guard let value = Self.option(Wire.authentication, in: frame), value.count >= 2 else { return }
                methodWanted = value.prefix(2).reduce(0) { $0 << 8 | UInt16($1) }
                algorithmWanted = value.dropFirst(2).first
            case Wire.reject: if Self.option(Wire.authentication, in: frame) != nil { rejectsAuthentication = true }
            case Wire.terminate: terminatesIn += 1
            case Wire.protocolReject:
                let rejected = frame.dropFirst(4).prefix(2).reduce(UInt16(0)) { $0 << 8 | UInt16($1) }
                if rejected == Wire.ccp { rejectsEncryption = true }
                if rejected == Wire.chap { rejectsAuthentication = true }
            default: break
            }
        case Wire.chap: if code == Wire.response { responsesIn += 1 }
        case Wire.ccp:
            ccp.received(code)
            switch code {
            case Wire.request: bitsAsked = Self.bits(in: frame)
            case Wire.nak: bitsWanted = Self.bits(in: frame)
            case Wire.reject: rejectsEncryption = true
            case Wire.resetRequest: resetsIn += 1
            default: break
            }
        case Wire.ipcp: ipcp.received(code)
        default: break
        }
    }

    public mutating func sent(_ number: UInt16, _ frame: [UInt8]) {
        guard let code = frame.first else { return }
        switch number {
        case Wire.lcp: lcp.sent(code)
        case Wire.chap:
            if code == Wire.challenge { challengesOut += 1 }
            if code == Wire.failure { failuresOut += 1 }
        case Wire.ccp:
            ccp.sent(code)
            if code == Wire.resetRequest { resetsOut += 1 }
        case Wire.ipcp: ipcp.sent(code)
        default: break
        }
    }

    private static func bits(in frame: [UInt8]) -> UInt32? {
        guard let value = option(Wire.mppe, in: frame), value.count == 4 else { return nil }
        return value.reduce(0) { $0 << 8 | UInt32($1) }
    }

    /// The value of an option; nil if there is none, or the options do not add up.
    private static func option(_ type: UInt8, in frame: [UInt8]) -> ArraySlice<UInt8>? {
        guard frame.count >= 4 else { return nil }
        var rest = frame[4..<max(4, min(frame.count, Int(frame[2]) << 8 | Int(frame[3])))]
        while rest.count >= 2, let kind = rest.first {
            let length = Int(rest[rest.startIndex + 1])
            guard length >= 2, length <= rest.count else { return nil }
            if kind == type { return rest.dropFirst(2).prefix(length - 2) }
            rest = rest.dropFirst(length)
        }
        return nil
    }
}

extension Negotiation.Exchange {
    fileprivate mutating func received(_ code: UInt8) {
        switch code {
        case Wire.request: requestsIn += 1
        case Wire.ack:
            answersIn += 1
            acksIn += 1
        case Wire.nak, Wire.reject: answersIn += 1
        default: break
        }
    }

    fileprivate mutating func sent(_ code: UInt8) {
        if code == Wire.request { requestsOut += 1 }
        if code == Wire.ack { acksOut += 1 }
    }
}

/// RFC 1661, 1994, 1962 and 3078.
enum Wire {
    static let lcp: UInt16 = 0xC021
    static let pap: UInt16 = 0xC023
    static let chap: UInt16 = 0xC223
    static let ccp: UInt16 = 0x80FD
    static let ipcp: UInt16 = 0x8021
    static let request: UInt8 = 1
    static let ack: UInt8 = 2
    static let nak: UInt8 = 3
    static let reject: UInt8 = 4
    static let terminate: UInt8 = 5
    static let protocolReject: UInt8 = 8
    static let resetRequest: UInt8 = 14
    static let challenge: UInt8 = 1
    static let response: UInt8 = 2
    static let failure: UInt8 = 4
    static let authentication: UInt8 = 3
    static let mppe: UInt8 = 18
    static let stateless: UInt32 = 0x0100_0000
    static let strengths: UInt32 = 0xE0
}
