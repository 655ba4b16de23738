import Foundation
import Migration
import WireGuard

/// A sign of life of one peer of a hub, since the last one that was handed on.
public struct PeerSighting: Sendable, Equatable, Codable {
    public var publicKey: PublicKey
    /// Of its last handshake, in seconds since the Unix epoch. Only who has the private key completes one.
    public var handshakeAt: UnixTime
    /// What the hub has got from it and sent to it since then, WireGuard's own packets included.
    public var receivedBytes: UInt64
    public var sentBytes: UInt64
    /// Where it speaks from: a gateway that speaks for its users does so from its own address, and that is no sign of the user's device.
    public var endpoint: String?

    public init(publicKey: PublicKey, handshakeAt: UnixTime, receivedBytes: UInt64, sentBytes: UInt64, endpoint: String?) {
        self.publicKey = publicKey
        self.handshakeAt = handshakeAt
        self.receivedBytes = receivedBytes
        self.sentBytes = sentBytes
        self.endpoint = endpoint
    }
}

/// What an observer posts.
public struct ObservationReport: Sendable, Equatable, Codable {
    /// Name of the observer: the hub.
    public var observer: String
    public var interface: String
    public var at: UnixTime
    public var peers: [PeerSighting]

    public init(observer: String, interface: String, at: UnixTime, peers: [PeerSighting]) {
        self.observer = observer
        self.interface = interface
        self.at = at
        self.peers = peers
    }

    public func json() throws -> [UInt8] {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        return [UInt8](try encoder.encode(self))
    }
}
