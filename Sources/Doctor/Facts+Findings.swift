import Addresses

// One finding for each thing that was looked at, in the order in which a packet meets them.
extension Facts {
    public var findings: [Finding] {
        [gateway] + ports.map(finding) + [gre, otherPPTP, reversePath] + packetFilter + helper + [wireGuard, clock] + publicAddress + tunnels.map(finding)
    }

    private var gateway: Finding {
        gatewayAnswers
            ? Finding(.gateway, .ok, "it runs and answers")
            : Finding(.gateway, .warn, "it does not answer on its control socket: what only a running gateway knows is left out", ["sudo systemctl start causeway"])
    }

    private func finding(_ port: Port) -> Finding {
        switch (port.isTaken, gatewayAnswers) {
        case (true, true): Finding(.port, .ok, "TCP \(port.address):\(port.number) is ours")
        case (false, false): Finding(.port, .ok, "TCP \(port.address):\(port.number) is free")
        case (true, false):
            Finding(.port, .fail, "TCP \(port.address):\(port.number) belongs to another program, and the gateway does not run", ["sudo ss -ltnp 'sport = \(port.number)'"])
        case (false, true):
            Finding(.port, .fail, "the gateway runs and does not listen on TCP \(port.address):\(port.number): the configuration has changed since its start", ["sudo systemctl restart causeway"])
        }
    }

    private var gre: Finding {
        switch rawGRE {
        case .yes: Finding(.rawGRE, .ok, "GRE can be received (raw socket, IP protocol 47)")
        case .no(let why): Finding(.rawGRE, .fail, "GRE cannot be received: \(why)")
        case .unknown(let why): Finding(.rawGRE, .warn, "nobody knows whether GRE can be received: \(why)", ["sudo causeway doctor"])
        }
    }

    private var otherPPTP: Finding {
        // It takes no GRE away from us, since raw sockets get copies; but whoever loaded it may serve clients too.
        modules.contains("pptp")
            ? Finding(.otherPPTP, .warn, "the kernel's PPTP module is loaded: another PPTP server or client may run here", ["sudo ss -ltnp 'sport = 1723'", "sudo modprobe -r pptp"])
            : Finding(.otherPPTP, .ok, "no other PPTP in the kernel")
    }

    private var reversePath: Finding {
        switch reversePathFilter {
        case 0: Finding(.reversePath, .ok, "net.ipv4.conf.all.rp_filter is 0")
        case let value?:
            Finding(
                .reversePath, .fail, "net.ipv4.conf.all.rp_filter is \(value) and overrules the setting of our interfaces: answers to users would be dropped",
                ["sudo sysctl -w net.ipv4.conf.all.rp_filter=0", "echo net.ipv4.conf.all.rp_filter=0 | sudo tee /etc/sysctl.d/60-causeway.conf"])
        case nil: Finding(.reversePath, .warn, "net.ipv4.conf.all.rp_filter cannot be read", ["sysctl net.ipv4.conf.all.rp_filter"])
        }
    }

    private var packetFilter: [Finding] {
        guard let obstacles else { return [Finding(.packetFilter, .warn, "the packet filter cannot be read", ["sudo causeway firewall diff"])] }
        guard !obstacles.isEmpty else { return [Finding(.packetFilter, .ok, "no chain of others drops by default what clients need")] }
        return obstacles.map { Finding(.packetFilter, .fail, $0.text, $0.commands.map { "sudo \($0)" }) }
    }

    /// For a NAT on this host. A rule assigns it, on every kernel: the sysctl nf_conntrack_helper is off since 4.7 and gone since 6.0.
    private var helper: [Finding] {
        guard wantsHelper else { return [] }
        return modules.isSuperset(of: ["nf_conntrack_pptp", "nf_nat_pptp"])
            ? [Finding(.helper, .ok, "nf_conntrack_pptp and nf_nat_pptp are loaded; causeway firewall assigns them by a rule")]
            : [
                Finding(
                    .helper, .fail, "firewall.pptp-helper is set, and nf_conntrack_pptp or nf_nat_pptp is not loaded",
                    ["sudo modprobe -a nf_conntrack_pptp nf_nat_pptp", "sudo causeway firewall apply"])
            ]
    }

    private var wireGuard: Finding {
        switch kernelWireGuard {
        case .yes: Finding(.wireGuard, .ok, "the kernel has WireGuard")
        case .no(let why):
            needsKernelWireGuard
                ? Finding(.wireGuard, .fail, "a tunnel has backend = \"kernel\", and the kernel has no WireGuard: \(why)", ["sudo modprobe wireguard"])
                : Finding(.wireGuard, .ok, "the kernel has no WireGuard; tunnels use our own engine")
        case .unknown(let why): Finding(.wireGuard, needsKernelWireGuard ? .warn : .ok, "nobody knows whether the kernel has WireGuard: \(why)")
        }
    }

    /// A hub takes no handshake that is older than the last (TAI64N): a clock that was set back is not heard.
    private var clock: Finding {
        switch clockIsSynchronised {
        case true?: Finding(.clock, .ok, "it is synchronised")
        case false?: Finding(.clock, .warn, "it is not synchronised; hubs do not hear a gateway whose clock was set back", ["sudo timedatectl set-ntp true", "timedatectl"])
        case nil: Finding(.clock, .warn, "the kernel does not say whether it is synchronised", ["timedatectl"])
        }
    }

    private static let notPublic = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"].compactMap { IPPrefix($0) }

    private var publicAddress: [Finding] {
        ports.filter { port in Self.notPublic.contains { $0.contains(port.address) } }.map {
            Finding(
                .publicAddress, .warn, "\($0.address) is not a public address: the router in front has to pass on TCP \($0.number) and GRE (IP protocol 47, not a port)",
                ["causeway firewall print --outside PUBLIC-ADDRESS --to \($0.address)"])
        }
    }

    private func finding(_ tunnel: Tunnel) -> Finding {
        let commands = ["sudo causeway hub config", "sudo causeway status"]
        if let problem = tunnel.problem { return Finding(.tunnel, .fail, "\"\(tunnel.name)\": \(problem)", commands) }
        if !tunnel.isUp { return Finding(.tunnel, .fail, "\"\(tunnel.name)\" is down", commands) }
        switch tunnel.handshakeSeconds {
        case let age? where age <= 180: return Finding(.tunnel, .ok, "\"\(tunnel.name)\": its hub answered \(age) s ago")
        case let age?: return Finding(.tunnel, .warn, "\"\(tunnel.name)\": its hub answered \(age) s ago, and not since; that is no harm if nothing was sent", commands)
        case nil where tunnel.sentBytes > 0:
            return Finding(.tunnel, .fail, "\"\(tunnel.name)\": its hub has never answered \(tunnel.sentBytes) bytes: it cannot be reached, or does not know our key", commands)
        case nil: return Finding(.tunnel, .warn, "\"\(tunnel.name)\": nothing was sent to its hub yet")
        }
    }
}
