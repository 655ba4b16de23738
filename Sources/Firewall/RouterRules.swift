import Addresses

/// Rules for the box in front of a gateway that has no public address of its own: what comes for PPTP to `outside` goes to the gateway.
///
/// The gateway sees its clients' own addresses, and its answers have to come back through this box: it is the gateway's default
/// route. GRE is translated by its address alone, which needs nothing of PPTP to be understood as long as one gateway is behind the box; with
/// the kernel's helper call IDs are translated as well (RFC 2637 section 4.1), so that clients behind this box may dial others.
public struct RouterRules: Sendable {
    public let outside: IPAddress
    public let gateway: IPAddress
    public let port: UInt16
    /// WireGuard of users who come natively.
    public let wireGuardPorts: [UInt16]

    public init(outside: IPAddress, gateway: IPAddress, port: UInt16 = 1723, wireGuardPorts: [UInt16] = []) {
        self.outside = outside
        self.gateway = gateway
        self.port = port
        self.wireGuardPorts = wireGuardPorts
    }

    public var table: String {
        var text = Text()
        text.block("table ip causeway-router") { text in
            text.line("comment \"PPTP to a gateway behind this host\"")
            text.block("ct helper pptp") { text in
                text.line("type \"pptp\" protocol tcp; l3proto ip")
            }
            text.block("chain helpers") { text in
                text.line("type filter hook prerouting priority -150; policy accept")
                text.line("tcp dport 1723 ct helper set \"pptp\"")
            }
            text.block("chain prerouting") { text in
                text.line("type nat hook prerouting priority dstnat; policy accept")
                text.line("ip daddr \(outside) tcp dport \(port) dnat to \(gateway)")
                text.line("ip daddr \(outside) ip protocol gre dnat to \(gateway)")
                if !wireGuardPorts.isEmpty { text.line("ip daddr \(outside) udp dport \(NftablesRules.list(wireGuardPorts)) dnat to \(gateway)") }
            }
        }
        return text.value
    }
}
