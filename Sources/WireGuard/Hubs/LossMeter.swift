/// Adds up what a device says was lost on the way to one peer, also across peers that are made anew. A value.
///
/// It is an upper bound: a packet counts as lost when a peer that it was sent to was not heard any more. One that is given up sooner than its
/// device takes it for dead loses what nothing has followed until then.
public struct LossMeter: Sendable, Equatable {
    private var last: PeerStatus?
    /// Counted by the device since the peer was heard last.
    private var counted: UInt64 = 0

    public init() {}

    /// What was lost since the last look.
    public mutating func observe(_ peer: PeerStatus) -> UInt64 {
        guard let lost = peer.lostPackets else { return 0 }
        let before = last?.publicKey == peer.publicKey ? last : nil
        last = peer
        let known = before?.lostPackets ?? 0
        if peer.receivedBytes != before?.receivedBytes {
            counted = 0
        } else {
            counted += Self.growth(before?.lostUnansweredPackets ?? 0, peer.lostUnansweredPackets ?? 0)
        }
        return Self.growth(known, lost)
    }

    /// Less than before: the peer was made anew.
    private static func growth(_ before: UInt64, _ now: UInt64) -> UInt64 { now >= before ? now - before : now }

    /// Another peer takes its place: what is lost with it. If it is the same, at another endpoint, its device goes on counting.
    public mutating func givenUp(for next: PublicKey) -> UInt64 {
        guard last?.publicKey != next else { return 0 }
        let unanswered = last?.unansweredPackets ?? 0
        defer { self = LossMeter() }
        return unanswered - min(counted, unanswered)
    }
}
