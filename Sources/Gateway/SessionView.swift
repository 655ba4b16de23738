import Addresses
import DataPath
import Foundation

/// One session as operators see it: `causeway sessions`, `GET /v1/sessions`. Field names are part of the API.
public struct SessionView: Codable, Sendable, Equatable {
    public var id: UInt64
    /// nil before the log-in.
    public var user: String?
    /// `negotiating`, `authenticated`, `open` or `ending`.
    public var state: String
    public var clientAddress: IPAddress
    public var gatewayAddress: IPAddress
    /// Ours: the key of the GRE packets that arrive.
    public var callID: UInt16
    /// The client's: the key of the GRE packets that we send.
    public var peerCallID: UInt16
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

/// `GET /v1/status`.
public struct StatusView: Codable, Sendable, Equatable {
    public var version: String
    public var instance: String
    public var startedAt: Date
    public var workers: Int
    public var instructionSet: String
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
}

public struct TunnelView: Codable, Sendable, Equatable {
    public var name: String
    public var interface: String
    /// `kernel` or `userspace`.
    public var backend: String
    public var up: Bool
    public var publicKey: String
    public var listenPort: UInt16?
    public var peers: [PeerView]
    /// What is wrong, if anything.
    public var problem: String?
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
