import Addresses
import WireGuard

/// Names, addresses and files of one measured gateway between its clients and its hub. Everything carries its number, so that
/// several stand side by side.
struct BedConfiguration {
    let number: Int
    let clients: Int
    let workers: Int
    let backend: String
    let io: String?
    let gatewayKey = PrivateKey()
    let hubKey = PrivateKey()
    let password = "causeway-bench"

    var folder: String { "\(Room.folder)/\(number)" }
    var gatewaySpace: String { "gateway\(number)" }
    var hubSpace: String { "hub\(number)" }
    /// Where the bad wire is.
    var wireSpace: String { "wire\(number)" }
    static let wireEnds = (near: "near", far: "far")
    static func path(ofSpace name: String) -> String { "/run/netns/\(name)" }

    var clientLink: String { "client\(number)" }
    var clientInterface: String { "pptp\(number)" }
    var hubInterface: String { "wg\(number)" }
    var clientAddress: String { "10.71.\(2 * number).2" }
    var gatewayAddress: String { "10.71.\(2 * number).1" }
    var gatewayUplinkAddress: String { "10.71.\(2 * number + 1).1" }
    var hubAddress: String { "10.71.\(2 * number + 1).2" }
    var hubInner: String { "10.\(100 + number).0.1" }
    var hubNetwork: String { "10.\(100 + number).0.0/24" }
    var userNetwork: String { "10.\(100 + number).16.0/20" }
    static let hubPort = 51820
    static let loadPort: UInt16 = 9000

    /// Of the client with this number, from 0.
    func userAddress(_ client: Int) -> UInt32 { UInt32(10) << 24 | UInt32(100 + number) << 16 | UInt32(16) << 8 + UInt32(client + 1) }
    var hubInnerAddress: UInt32 { UInt32(10) << 24 | UInt32(100 + number) << 16 | 1 }

    static func text(_ address: UInt32) -> String { [24, 16, 8, 0].map { "\(address >> UInt32($0) & 255)" }.joined(separator: ".") }

    var secrets: String {
        (0..<clients).map { "load\($0 + 1) * \(password) \(Self.text(userAddress($0)))\n" }.joined()
    }

    var configuration: String {
        // All clients have one source address and come at once.
        """
        instance = "bench\(number)"
        run-as = "root"

        [control]
        socket = "\(folder)/control.sock"

        [store]
        enabled = false

        [[listen]]
        address = "\(gatewayAddress)"

        [pptp]
        max-connections = \(clients + 16)
        max-connections-per-source = \(clients + 16)
        max-half-open = \(clients + 16)
        max-half-open-per-source = \(clients + 16)
        connects-per-second-per-source = 100000
        max-unauthenticated = \(clients + 16)
        max-unauthenticated-per-source = \(clients + 16)

        [ppp]
        mru = 1456

        [authentication]
        secrets = ["\(folder)/chap-secrets"]

        [[pool]]
        name = "users"
        gateway = "10.\(100 + number).0.2"
        ranges = ["\(userNetwork)"]

        [[tunnel]]
        name = "hub"
        interface = "cw-bench\(number)"
        backend = "\(backend)"
        private-key-file = "\(folder)/gateway.key"

        [[tunnel.peer]]
        public-key = "\(hubKey.publicKey)"
        endpoint = "\(hubAddress):\(Self.hubPort)"
        allowed-ips = ["0.0.0.0/0"]
        persistent-keepalive = 25

        [data-path]
        workers = \(workers)
        max-sessions = \(clients + 16)
        \(io.map { "gre = \"\($0)\"" } ?? "")
        """
    }

    /// For the hub's socket, in the language of the userspace API.
    var hubRequest: String {
        func hex(_ bytes: some Sequence<UInt8>) -> String {
            bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
        }
        return """
            set=1
            private_key=\(hubKey.withBytes { hex($0) })
            listen_port=\(Self.hubPort)
            replace_peers=true
            public_key=\(hex(gatewayKey.publicKey.bytes))
            replace_allowed_ips=true
            allowed_ip=\(userNetwork)


            """
    }
}
