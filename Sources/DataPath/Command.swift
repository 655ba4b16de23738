import Addresses

/// One entry of the ordered command ring (see `cw_command`).
public struct Command: Sendable {
    /// The caller's handle of the session, non-zero; 0 for commands that name none.
    public let session: UInt64
    public let kind: Kind

    public enum Kind: Sendable {
        /// A session that passes control frames.
        case open(SessionParameters)
        /// A session whose user comes over WireGuard: no GRE, no PPP.
        case openNative(NativeParameters)
        case update(SessionUpdate)
        /// Sets one direction's MPPE; nil ends encryption in it.
        case rekey(Direction, Encryption?)
        /// Inner prefixes and tunnel: data flows from here on.
        case bind(Binding)
        case unbind
        case close
        /// Sends one PPP control frame to the client.
        case inject(protocol: UInt16, payload: [UInt8])
        case export
        /// `identity` takes the place of the exported session's; nil for the TUN. One that left through an identity needs one.
        case importState([UInt8], identity: WireGuardEngine.Identity? = nil)
        case tunnel(index: UInt32, mtu: UInt16, up: Bool)
        case localAddresses([IPAddress])
        /// Outer IPv4 sources that GRE is taken from: those allowed (none: all) except those blocked; at most 1,024 networks.
        case sources(allowed: [IPPrefix], blocked: [IPPrefix])
    }

    public init(_ session: UInt64, _ kind: Kind) {
        self.session = session
        self.kind = kind
    }

    var name: String {
        switch kind {
        case .open: "open"
        case .openNative: "open native"
        case .update: "update"
        case .rekey: "rekey"
        case .bind: "bind"
        case .unbind: "unbind"
        case .close: "close"
        case .inject: "inject"
        case .export: "export"
        case .importState: "import"
        case .tunnel: "tunnel"
        case .localAddresses: "local addresses"
        case .sources: "sources"
        }
    }
}

public enum Direction: Sendable { case receive, transmit }

public struct SessionFlags: OptionSet, Sendable {
    public let rawValue: UInt32
    public init(rawValue: UInt32) { self.rawValue = rawValue }
    /// Follow a client whose outer address changes.
    public static let allowAddressChange = SessionFlags(rawValue: 1 << 0)
    /// Unencrypted data packets are dropped both ways.
    public static let requireEncryption = SessionFlags(rawValue: 1 << 1)
    /// Leave out FF 03 when sending (RFC 1661 section 6.6).
    public static let sendACFC = SessionFlags(rawValue: 1 << 2)
    /// One-byte protocol field when sending (RFC 1661 section 6.5).
    public static let sendPFC = SessionFlags(rawValue: 1 << 3)
    public static let sendSequenceZero = SessionFlags(rawValue: 1 << 4)
}

public struct SessionParameters: Sendable {
    /// Key of the GRE packets that arrive; unique in the engine.
    public var localCallID: UInt16
    /// Key of the GRE packets that we send, exactly as the client gave it.
    public var peerCallID: UInt16
    public var localAddress: IPAddress
    public var peerAddress: IPAddress
    public var flags: SessionFlags

    public init(localCallID: UInt16, peerCallID: UInt16, localAddress: IPAddress, peerAddress: IPAddress, flags: SessionFlags) {
        self.localCallID = localCallID
        self.peerCallID = peerCallID
        self.localAddress = localAddress
        self.peerAddress = peerAddress
        self.flags = flags
    }
}

/// Whose WireGuard peer a native session is.
public struct NativeParameters: Sendable, Equatable {
    /// That the user's device connects to. It carries nothing but native sessions.
    public var identity: WireGuardEngine.Identity
    /// The device's public key, 32 bytes.
    public var peer: [UInt8]
    public init(identity: WireGuardEngine.Identity, peer: [UInt8]) {
        self.identity = identity
        self.peer = peer
    }
}

/// What is nil stays as it is.
public struct SessionUpdate: Sendable {
    public var flags: SessionFlags?
    /// Inner packets towards the client are at most this long.
    public var mtu: UInt16?
    public var peerAddress: IPAddress?
    /// Each way; 0: unlimited.
    public var rateBitsPerSecond: UInt64?
    public init(flags: SessionFlags? = nil, mtu: UInt16? = nil, peerAddress: IPAddress? = nil, rateBitsPerSecond: UInt64? = nil) {
        self.flags = flags
        self.mtu = mtu
        self.peerAddress = peerAddress
        self.rateBitsPerSecond = rateBitsPerSecond
    }
}

/// MPPE of one direction (RFC 3078).
public struct Encryption: Sendable {
    /// 40, 56 or 128.
    public var keyBits: UInt8
    public var stateless: Bool
    /// RFC 3079 section 3.4, 16 bytes; the core derives the session key.
    public var startKey: [UInt8]
    public init(keyBits: UInt8, stateless: Bool, startKey: [UInt8]) {
        self.keyBits = keyBits
        self.stateless = stateless
        self.startKey = startKey
    }
}

public struct Binding: Sendable, Equatable {
    /// Our end of the link; the source of ICMP errors that we make.
    public var gatewayAddress: IPAddress
    public var tunnel: UInt32
    public var mtu: UInt16
    /// The first is the session's own address; at most 32.
    public var prefixes: [IPPrefix]
    /// Where the session's packets leave, and the only place from which packets for its prefixes are taken; nil: the TUN.
    public var identity: WireGuardEngine.Identity?
    public init(
        gatewayAddress: IPAddress, tunnel: UInt32, mtu: UInt16, prefixes: [IPPrefix], identity: WireGuardEngine.Identity? = nil
    ) {
        self.gatewayAddress = gatewayAddress
        self.tunnel = tunnel
        self.mtu = mtu
        self.prefixes = prefixes
        self.identity = identity
    }
}
