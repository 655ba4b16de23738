import Addresses
import Authentication

// The modern side: tunnels to hubs, and the listener for users who have WireGuard themselves.
extension CausewayConfiguration {
    /// A WireGuard interface of ours, or an engine's instead, and the peers behind it.
    public struct Tunnel: Sendable, Equatable {
        public var name: String
        public var interface: String
        public var backend = Backend.auto
        public var mode = Mode.shared
        /// Of users who name none: only in mode `group`.
        public var defaultGroup = "default"
        /// How many identities the kernel backend may have, each of which is an interface.
        public var mostIdentities = 256
        /// How long an identity stays up after its user's last session.
        public var linger: Duration = .seconds(180)
        /// nil unless the mode is `shared`: identities have keys of their own.
        public var privateKeyFile: String?
        /// 32 bytes, read from that file.
        public var privateKey: Secret?
        /// 0: any free port.
        public var listenPort: UInt16 = 0
        /// 0: none.
        public var fwmark: UInt32 = 0
        public var mtu = 1420
        public var addresses: [InterfaceAddress] = []
        /// Our routing table for this tunnel.
        public var table: UInt32
        public var peers: [Peer] = []
        /// Without a completed handshake for so long, although one is wanted, the next endpoint is tried.
        public var failoverAfter: Duration = .seconds(20)
        /// How long a later endpoint is used before the first one is tried again. Zero: until this one fails.
        public var returnAfter: Duration = .seconds(300)
        /// A program that is told what the hub has to know.
        public var hubHook: String?

        /// With the kernel backend each identity is an interface: `cw-hub-1` and so on.
        public func interface(ofIdentity number: Int) -> String { "\(interface)-\(number)" }

        public enum Backend: String, Sendable, CaseIterable { case auto, kernel, embedded }

        /// Whom the hub sees.
        public enum Mode: String, Sendable, CaseIterable {
            /// One peer: the tunnel.
            case shared
            /// One peer for each group of users.
            case group
            /// One peer for each user.
            case perUser = "per-user"
        }
    }

    /// One network behind a tunnel, and the hubs that lead to it.
    public struct Peer: Sendable, Equatable {
        /// In the order in which they are tried; never empty. The first is the peer itself, the others are its stand-ins.
        public var hubs: [Hub]
        public var allowedIPs: [IPPrefix]
        /// Seconds; 0: off.
        public var persistentKeepalive: UInt16 = 25

        /// The hub that is used while nothing is wrong with it.
        public var primary: Hub { hubs[0] }
    }

    public struct Hub: Sendable, Equatable {
        /// Base64 of 32 bytes, canonical.
        public var publicKey: String
        /// In the order in which they are tried. Empty: the hub has to speak first (and has no stand-ins).
        public var endpoints: [HostAndPort]
        public var presharedKeyFile: String?
        /// 32 bytes, read from that file.
        public var presharedKey: Secret?

        public init(publicKey: String, endpoints: [HostAndPort], presharedKeyFile: String? = nil, presharedKey: Secret? = nil) {
            self.publicKey = publicKey
            self.endpoints = endpoints
            self.presharedKeyFile = presharedKeyFile
            self.presharedKey = presharedKey
        }
    }

    /// Our own WireGuard listener: users who migrated connect to it and keep their inner address.
    public struct Access: Sendable, Equatable {
        /// Under this name wg(8) finds it; it is no interface of the kernel.
        public var interface = "cw-access"
        public var listenPort: UInt16 = 51820
        public var privateKeyFile: String
        /// 32 bytes, read from that file.
        public var privateKey: Secret
        /// 0: none.
        public var fwmark: UInt32 = 0
        public var mtu = 1420
        /// What invited users are told to connect to; nil: the first listener's address.
        public var endpoint: HostAndPort?
        /// Networks that invited users send into their tunnel; empty: those of the hub.
        public var clientNetworks: [IPPrefix] = []
        /// Where users go whose entry names no tunnel: always the name of a configured one.
        public var tunnel: String
        public var peers: [Peer] = []

        /// One user's own WireGuard.
        public struct Peer: Sendable, Equatable {
            /// Of the user who connects, as in logs and views. Need not be a user who can also dial in.
            public var user: String
            public var publicKey: String
            public var presharedKeyFile: String?
            public var presharedKey: Secret?
            /// The user's inner address; nil: the one that the user's identity has for good (mode `per-user`).
            public var address: IPAddress?
            /// Networks behind the user.
            public var prefixes: [IPPrefix]
            /// Where the user's traffic goes: always the name of a configured tunnel.
            public var tunnel: String
            /// nil: the tunnel's default group.
            public var group: String?
        }
    }
}
