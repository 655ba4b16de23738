import Addresses
import DataPath
import Devices
import Foundation
import Webhooks

/// One session as operators see it: `causeway sessions`, `GET /v1/sessions`. Field names are part of the API.
public struct SessionView: Codable, Sendable, Equatable {
    public var id: UInt64
    /// `pptp`, or `wireguard` for a user who connects natively.
    public var kind: String
    /// nil before the log-in.
    public var user: String?
    /// `negotiating`, `authenticated`, `open` or `ending`.
    public var state: String
    /// nil for a native user who has not been heard of.
    public var clientAddress: IPAddress?
    /// Where the call was accepted; PPTP only.
    public var gatewayAddress: IPAddress?
    /// Ours: the key of the GRE packets that arrive.
    public var callID: UInt16?
    /// The client's: the key of the GRE packets that we send.
    public var peerCallID: UInt16?
    /// The WireGuard key of a native user.
    public var publicKey: String?
    /// Seconds since the last handshake of a native user; nil: never.
    public var lastHandshakeSeconds: Int?
    public var innerAddress: IPAddress?
    /// Networks behind the client.
    public var prefixes: [IPPrefix]
    public var tunnel: String?
    /// For example `MPPE-128 stateless`, or `none`.
    public var encryption: String
    public var mtu: UInt16?
    public var startedAt: Date
    public var uptimeSeconds: Int
    /// From the Start-Control-Connection-Request.
    public var clientHostName: String?
    public var clientVendor: String?
    public var clientFirmware: UInt16?
    /// A guess, once the session has been open; nil: too early, or a native session.
    public var device: DeviceView?
    /// Inner IP packets and bytes; "in" is from the client.
    public var packetsIn: UInt64
    public var bytesIn: UInt64
    public var packetsOut: UInt64
    public var bytesOut: UInt64
    /// GRE packets put back in order, and sequence numbers that never came.
    public var reordered: UInt64
    public var lost: UInt64
    /// Dropped packets by cause; causes that did not happen are left out.
    public var drops: [String: UInt64]
}

/// What kind of device a client seems to be, and why.
public struct DeviceView: Codable, Sendable, Equatable {
    public var kind: String
    /// `none`, `low`, `medium` or `high`.
    public var confidence: String
    /// Whether it can be a WireGuard peer: `yes`, `after-upgrade`, `no` or `unknown`.
    public var wireGuard: String
    public var evidence: [String]
}

extension DeviceView {
    init(_ device: RecognisedDevice) {
        self.init(
            kind: device.kind.rawValue, confidence: device.confidence.rawValue, wireGuard: device.kind.wireGuard.rawValue,
            evidence: device.evidenceLines)
    }
}

/// `GET /v1/status`.
public struct StatusView: Codable, Sendable, Equatable {
    public var version: String
    public var instance: String
    public var startedAt: Date
    public var workers: Int
    public var instructionSet: String
    /// nil before the data path runs.
    public var gre: GREView?
    public var controlConnections: Int
    public var sessions: Int
    public var openSessions: Int
    public var endedSessions: UInt64
    public var failedLogins: UInt64
    /// What happened on control connections, by kind.
    public var control: [String: UInt64]
    /// Refused connections and calls by limit.
    public var refused: [String: UInt64]
    /// Packets that belong to no session, by cause.
    public var drops: [String: UInt64]
    public var tunnels: [TunnelView]
    /// nil unless a tunnel or the access listener uses the engine of our own.
    public var wireGuard: WireGuardView?
    /// nil unless users may connect natively.
    public var access: AccessView?
    /// nil unless somebody hears of the migration over HTTP.
    public var webhooks: [WebhookView]?
    /// nil: nothing is written down.
    public var store: StoreView?
}

/// Messages to one receiver.
public struct WebhookView: Codable, Sendable, Equatable {
    public var url: String
    public var waiting: Int
    public var arrived: UInt64
    /// Refused by the receiver, or tried too often.
    public var givenUp: UInt64
    /// Because too many waited.
    public var dropped: UInt64
}

extension WebhookView {
    init(_ count: WebhookDispatcher.Count) {
        self.init(url: count.url, waiting: count.waiting, arrived: count.arrived, givenUp: count.givenUp, dropped: count.dropped)
    }
}

/// The database.
public struct StoreView: Codable, Sendable, Equatable {
    /// Why it cannot be used now.
    public var problem: String?
    /// Openings and ends of sessions that wait for it.
    public var waiting: Int
    /// Sessions and other things that it did not take, and that are not written down.
    public var setAside: Int
}

/// How GRE packets come in, and which way they have left.
public struct GREView: Codable, Sendable, Equatable {
    public var reception: String
    /// As frames at the interface.
    public var sentAtInterface: UInt64
    /// By the raw sockets.
    public var sentThroughStack: UInt64
}

/// Our own WireGuard engine, all tunnels together.
public struct WireGuardView: Codable, Sendable, Equatable {
    public var handshakes: UInt64
    /// Initiations of ours that wait for their turn, and for an answer.
    public var waitingInitiations: UInt64
    public var outstandingInitiations: UInt64
    public var packetsIn: UInt64
    public var packetsOut: UInt64
    public var drops: [String: UInt64]
}

/// The listener that users connect to natively.
public struct AccessView: Codable, Sendable, Equatable {
    public var interface: String
    public var publicKey: String
    public var listenPort: UInt16?
    public var peers: Int
    /// With a handshake in the last three minutes.
    public var connected: Int
}

public struct TunnelView: Codable, Sendable, Equatable {
    public var name: String
    public var interface: String
    /// `kernel` or `embedded`.
    public var backend: String
    /// `shared`, `group` or `per-user`.
    public var mode: String
    public var up: Bool
    /// nil where identities have keys of their own.
    public var publicKey: String?
    public var listenPort: UInt16?
    public var peers: [PeerView]
    /// Every endpoint of every hub, in the order in which they are tried.
    public var hubs: [HubView]
    public var failovers: UInt64
    /// Packets that did not get to a hub, at most: dropped because no hub took them, or sent to one that was not heard any more. nil: the
    /// kernel does not tell.
    public var lostPacketsAtMost: UInt64?
    /// nil in mode `shared`.
    public var identities: IdentityCounts?
    /// What is wrong, if anything.
    public var problem: String?
}

public struct HubView: Codable, Sendable, Equatable {
    public var publicKey: String
    public var endpoint: String
    public var inUse: Bool
    /// A handshake was completed since it is in use.
    public var answers: Bool
}

public struct IdentityCounts: Codable, Sendable, Equatable {
    public var known: Int
    public var up: Int
    /// The hub may not know their keys.
    public var neverCompleted: Int
    /// Up, and the hub leaves them without an answer while it answers others: it may have forgotten their keys.
    public var refused: Int
}

public struct PeerView: Codable, Sendable, Equatable {
    public var publicKey: String
    public var endpoint: String?
    public var allowedIPs: [IPPrefix]
    /// Seconds since the last handshake; nil: never.
    public var lastHandshakeSeconds: Int?
    public var receivedBytes: UInt64
    public var sentBytes: UInt64
}

/// `POST /v1/reload`.
public struct ReloadView: Codable, Sendable, Equatable {
    /// Keys that are in force now.
    public var applied: [String]
    /// Keys whose change waits for a restart.
    public var needRestart: [String]
}
