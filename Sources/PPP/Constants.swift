/// PPP protocol numbers (RFC 1661 section 2 and the assigned numbers of IANA).
public enum PPPProtocol {
    public static let ipv4: UInt16 = 0x0021
    public static let ipv6: UInt16 = 0x0057
    public static let compressed: UInt16 = 0x00FD
    public static let ipcp: UInt16 = 0x8021
    public static let ipv6cp: UInt16 = 0x8057
    public static let ccp: UInt16 = 0x80FD
    public static let lcp: UInt16 = 0xC021
    public static let pap: UInt16 = 0xC023
    public static let chap: UInt16 = 0xC223
}

/// Codes of LCP and of the network control protocols (RFC 1661 section 5, RFC 1570, RFC 1962).
enum Code {
    static let configureRequest: UInt8 = 1
    static let configureAck: UInt8 = 2
    static let configureNak: UInt8 = 3
    static let configureReject: UInt8 = 4
    static let terminateRequest: UInt8 = 5
    static let terminateAck: UInt8 = 6
    static let codeReject: UInt8 = 7
    // LCP only.
    static let protocolReject: UInt8 = 8
    static let echoRequest: UInt8 = 9
    static let echoReply: UInt8 = 10
    static let discardRequest: UInt8 = 11
    static let identification: UInt8 = 12
    static let timeRemaining: UInt8 = 13
    // CCP only; the data path answers them, in order with the data.
    static let resetRequest: UInt8 = 14
    static let resetAck: UInt8 = 15
}

/// LCP options (RFC 1661 section 6, RFC 1570, RFC 1990).
enum LCPOption {
    static let mru: UInt8 = 1
    static let accm: UInt8 = 2
    static let authentication: UInt8 = 3
    static let quality: UInt8 = 4
    static let magicNumber: UInt8 = 5
    static let protocolFieldCompression: UInt8 = 7
    static let addressControlCompression: UInt8 = 8
    static let callback: UInt8 = 13
    static let multilinkMRRU: UInt8 = 17
    static let endpointDiscriminator: UInt8 = 19
}

/// Algorithms of CHAP in LCP's authentication option (RFC 1994 section 3, RFC 2433, RFC 2759).
enum CHAPAlgorithm {
    static let msCHAPv1: UInt8 = 0x80
    static let msCHAPv2: UInt8 = 0x81
}

/// Codes of CHAP (RFC 1994 section 4).
enum CHAPCode {
    static let challenge: UInt8 = 1
    static let response: UInt8 = 2
    static let success: UInt8 = 3
    static let failure: UInt8 = 4
}

/// Codes of PAP (RFC 1334 section 2.2).
enum PAPCode {
    static let request: UInt8 = 1
    static let ack: UInt8 = 2
    static let nak: UInt8 = 3
}

/// RFC 3078 section 2.1: CCP option 18 and its supported bits.
enum MPPEOption {
    static let type: UInt8 = 18
    static let stateless: UInt32 = 0x0100_0000
    static let bits56: UInt32 = 0x0000_0080
    static let bits128: UInt32 = 0x0000_0040
    static let bits40: UInt32 = 0x0000_0020
    static let obsolete: UInt32 = 0x0000_0010
    static let compression: UInt32 = 0x0000_0001
}

/// IPCP options (RFC 1332 section 3, RFC 1877 section 1).
enum IPCPOption {
    static let addresses: UInt8 = 1
    static let compression: UInt8 = 2
    static let address: UInt8 = 3
    static let primaryDNS: UInt8 = 129
    static let primaryNBNS: UInt8 = 130
    static let secondaryDNS: UInt8 = 131
    static let secondaryNBNS: UInt8 = 132
}

/// RFC 1661 section 6.1: without the option the MRU is 1500.
let defaultMRU: UInt16 = 1500

/// Limits of ours.
enum Limit {
    /// Smaller than any IPv4 link could use; pppd has the same lower bound.
    static let minimumMRU: UInt16 = 128
    /// Naks and rejects of our requests in one negotiation before an option that is still Nak'ed counts as rejected.
    static let naksTaken = 10
    /// Our magic number came back this often: the link is looped.
    static let loops = 10
    /// Unknown protocols answered with Protocol-Reject: this many at once, then one per second.
    static let protocolRejectBurst = 8
    /// So many Protocol-Rejects in this time, of protocols that we never sent, say that the peer's keys are not ours.
    static let garbledRejects = 8
    static let garbledTime = Duration.seconds(10)
    /// Network-layer negotiation packets that a client holds while the server's proof is checked.
    static let heldPackets = 8
    /// Identifications and user names beyond this are cut before they are noted.
    static let notedBytes = 256
}
