import Testing

@testable import Diagnosis

/// Frames as they are on the wire, without the protocol field.
@Suite struct NegotiationTests {
    var negotiation = Negotiation()

    @Test mutating func exchange() {
        negotiation.sent(Wire.lcp, [1, 1, 0, 4])
        negotiation.received(Wire.lcp, [1, 9, 0, 4])
        negotiation.sent(Wire.lcp, [2, 9, 0, 4])
        #expect(!negotiation.lcp.isOpen)
        negotiation.received(Wire.lcp, [2, 1, 0, 4])
        #expect(negotiation.lcp.isOpen)
        #expect(negotiation.lcp == .settled)
        #expect(negotiation.ccp == .init())
        negotiation.received(Wire.lcp, [5, 2, 0, 4])
        #expect(negotiation.terminatesIn == 1)
    }

    @Test mutating func methods() {
        // Nak: MRU first, then CHAP with MD5.
        negotiation.received(Wire.lcp, [3, 1, 0, 13, 1, 4, 5, 0x78, 3, 5, 0xC2, 0x23, 5])
        #expect(negotiation.methodWanted == 0xC223)
        #expect(negotiation.algorithmWanted == 5)
        negotiation.received(Wire.lcp, [3, 1, 0, 8, 3, 4, 0xC0, 0x23])
        #expect(negotiation.methodWanted == 0xC023)
        #expect(negotiation.algorithmWanted == nil)
        #expect(!negotiation.rejectsAuthentication)
        // A Reject of something else, then of this.
        negotiation.received(Wire.lcp, [4, 1, 0, 6, 7, 2])
        #expect(!negotiation.rejectsAuthentication)
        negotiation.received(Wire.lcp, [4, 1, 0, 9, 3, 5, 0xC2, 0x23, 0x81])
        #expect(negotiation.rejectsAuthentication)
    }

    @Test mutating func encryption() {
        negotiation.received(Wire.ccp, [1, 1, 0, 10, 18, 6, 0, 0, 0, 0x40])
        negotiation.received(Wire.ccp, [3, 1, 0, 10, 18, 6, 1, 0, 0, 0x20])
        #expect(negotiation.bitsAsked == 0x40)
        #expect(negotiation.bitsWanted == 0x0100_0020)
        #expect(!negotiation.rejectsEncryption)
        // Protocol-Reject of IPCP, then of CCP.
        negotiation.received(Wire.lcp, [8, 1, 0, 6, 0x80, 0x21])
        #expect(!negotiation.rejectsEncryption)
        negotiation.received(Wire.lcp, [8, 1, 0, 6, 0x80, 0xFD])
        #expect(negotiation.rejectsEncryption)
        negotiation.received(Wire.ccp, [14, 1, 0, 4])
        negotiation.sent(Wire.ccp, [14, 1, 0, 4])
        #expect((negotiation.resetsIn, negotiation.resetsOut) == (1, 1))
    }

    @Test mutating func logIn() {
        negotiation.sent(Wire.chap, [1, 1, 0, 4])
        negotiation.received(Wire.chap, [2, 1, 0, 4])
        negotiation.sent(Wire.chap, [4, 1, 0, 4])
        #expect((negotiation.challengesOut, negotiation.responsesIn, negotiation.failuresOut) == (1, 1, 1))
    }

    /// Options that do not add up, lengths beyond the frame, nothing at all.
    @Test mutating func nonsense() {
        for frame: [UInt8] in [
            [], [3], [3, 1, 0xFF, 0xFF], [3, 1, 0, 6, 3, 0], [3, 1, 0, 6, 3, 1], [3, 1, 0, 8, 3, 200, 0xC0, 0x23], [3, 1, 0, 5, 3], [3, 1, 0, 0, 3, 4, 0xC0, 0x23], [8, 1, 0, 4],
        ] {
            for number in [Wire.lcp, Wire.ccp, Wire.chap, Wire.ipcp, 0x8057] { negotiation.received(number, frame) }
        }
        #expect(negotiation.methodWanted == nil)
        #expect(negotiation.bitsWanted == nil)
    }
}
