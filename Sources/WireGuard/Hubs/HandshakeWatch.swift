/// Whether an uplink gets through to its hub, seen from outside: from what its device says about the peer, time after time. A value.
///
/// A device that tells how many initiations are unanswered (the embedded one) is believed. The kernel does not tell. There, data that we
/// sent is followed within Keepalive-Timeout (10 s) by something from the peer, if only a keepalive, so what goes out with nothing coming
/// in is trying; the keepalives that we send because we are configured to (32 bytes each) are not answered and do not count.
public struct HandshakeWatch: Sendable, Equatable {
    /// nil: the last handshake is good, or there is nothing to send.
    public private(set) var tryingSince: ContinuousClock.Instant?
    /// Once at least since the watch began.
    public var hasCompleted: Bool { completedAt != nil }
    /// When the last handshake was seen to be completed.
    public private(set) var completedAt: ContinuousClock.Instant?
    /// When something was last seen to have come from the peer under keys that live. Without them it can only be a handshake of the
    /// peer's own, which does not show that it hears us.
    public private(set) var heardAt: ContinuousClock.Instant?

    private struct Baseline: Sendable, Equatable {
        var at: ContinuousClock.Instant
        var sent: UInt64
        var received: UInt64
        var handshake: Duration?
    }
    private var baseline: Baseline?

    private static let keepaliveSize: UInt64 = 32

    public init() {}

    /// True if a handshake was completed since the last look.
    /// - Parameter speaksFirst: the peer has endpoints. As long as none has an address (a name that cannot be resolved) nothing can be sent
    ///   there, so no initiation counts: that is trying as well.
    @discardableResult
    public mutating func observe(_ peer: PeerStatus, speaksFirst: Bool = false, now: ContinuousClock.Instant) -> Bool {
        let before = baseline
        let isNew = peer.latestHandshake != nil && peer.latestHandshake != before?.handshake
        if isNew { completedAt = now }
        if let completedAt, now - completedAt < PeerStatus.handshakeLifetime, isNew || peer.receivedBytes > before?.received ?? .max {
            heardAt = now
        }
        let isTrying: Bool
        // Counters that went back are those of a peer made anew.
        if let before, !isNew, peer.receivedBytes == before.received, peer.sentBytes >= before.sent {
            isTrying = peer.unansweredInitiations.map { $0 > 0 } ?? sendsInVain(peer, since: before, now)
        } else {
            baseline = Baseline(
                at: now, sent: before == nil && peer.receivedBytes == 0 ? 0 : peer.sentBytes, received: peer.receivedBytes,
                handshake: peer.latestHandshake)
            isTrying = !isNew && peer.unansweredInitiations.map { $0 > 0 } ?? false
        }
        if isTrying || (speaksFirst && peer.endpoint == nil) { tryingSince = tryingSince ?? now } else { tryingSince = nil }
        return isNew
    }

    private func sendsInVain(_ peer: PeerStatus, since baseline: Baseline, _ now: ContinuousClock.Instant) -> Bool {
        let (seconds, _) = (now - baseline.at).components
        let keepalives = peer.keepalive == 0 ? 0 : UInt64(max(0, seconds)) / UInt64(peer.keepalive) + 1
        return peer.sentBytes - baseline.sent > keepalives * Self.keepaliveSize
    }
}
