import Addresses
import ArgumentParser
import Firewall
import Foundation
import Settings

struct FirewallCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "firewall",
        abstract: "Rules for this host's packet filter, or for the router in front.",
        discussion: """
            PPTP needs TCP port 1723 and GRE (IP protocol 47) from the clients, and their packets must not leave past their tunnel. \
            These commands make one table of nftables for that, inet causeway-INSTANCE, from the configuration's listeners, allowed \
            and blocked sources, tunnels and its section [firewall]. The gateway works without it where the host does not filter.

            What a rule of ours accepts, a table of somebody else may still drop: apply and diff name such chains, with the command that \
            opens them. With gre = "packet" clients' GRE does not pass the host's filter; the core enforces the sources itself.

            EXAMPLES
              sudo causeway firewall diff
              sudo causeway firewall apply
              causeway firewall print > /etc/nftables.d/causeway.nft
              causeway firewall print --outside 203.0.113.7     # for the router in front
            """,
        subcommands: [FirewallPrint.self, FirewallDiff.self, FirewallApply.self, FirewallRemove.self])
}

struct FirewallPrint: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "print",
        abstract: "Print the rules; change nothing.",
        discussion: """
            For nft -f FILE, or for iptables-restore --noflush FILE with --format iptables. A service that flushes all rules when it \
            reloads, as Debian's nftables.service does, takes ours with it: include the printed file in /etc/nftables.conf.

            --outside prints the rules for a Linux router that owns the public address and passes PPTP on to this gateway, whose default \
            route it has to be. A cloud's security group in front must let IP protocol 47 pass; those that cannot, cannot pass PPTP.

            EXIT STATUS
              0  done    64  the command line is wrong    78  the configuration is wrong
            """)

    enum Format: String, ExpressibleByArgument, CaseIterable { case nft, iptables }

    @OptionGroup var file: ConfigurationOption
    @Option(name: .long, help: "nft or iptables.") var format = Format.nft
    @Option(name: .long, help: ArgumentHelp("For the router with this public address.", valueName: "address")) var outside: String?
    @Option(name: .long, help: ArgumentHelp("With --outside: the gateway's address (default: that of the only listener).", valueName: "address"))
    var to: String?

    func validate() throws {
        if to != nil, outside == nil { throw ValidationError("--to goes with --outside") }
        if outside != nil, format == .iptables { throw ValidationError("--outside and --format iptables exclude each other") }
        for (name, text) in [("--outside", outside), ("--to", to)] {
            if let text, IPAddress(text)?.v4 == nil { throw ValidationError("\(name): \"\(text)\" is not an IPv4 address") }
        }
    }

    func run() async throws {
        let plan = FirewallPlan(try file.load())
        guard let outside else {
            return print(format == .nft ? NftablesRules(plan).replacement : IptablesRules(plan).restore, terminator: "")
        }
        let addresses = Set(plan.listeners.compactMap(\.address))
        guard let gateway = to.flatMap({ IPAddress($0) }) ?? (addresses.count == 1 ? addresses.first : nil) else {
            throw ValidationError("--to: which of this gateway's addresses the router shall pass PPTP on to")
        }
        let port = plan.listeners.first { $0.address == gateway || $0.address == nil }?.port ?? 1723
        print(RouterRules(outside: IPAddress(outside)!, gateway: gateway, port: port, wireGuardPorts: plan.wireGuardPorts).table, terminator: "")
    }
}

struct FirewallDiff: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "diff",
        abstract: "Compare this host's rules with the configuration.",
        discussion: """
            Prints what apply would remove ("-") and add ("+"), and chains of others that would drop what the gateway needs. The rules are \
            tried in a network namespace that nobody is in.

            EXIT STATUS
              0   nothing would change
              1   something would, or another chain is in the way
              69  the packet filter cannot be read
              77  not root
              78  the configuration is wrong
            """)

    @OptionGroup var file: ConfigurationOption
    @Flag(name: .long, help: "Print JSON.") var json = false

    func run() async throws {
        let host = HostFirewall(FirewallPlan(try file.load()))
        let (difference, obstacles) = try firewallErrors { () throws(FirewallError) in (try host.difference(), try host.obstacles()) }
        if json {
            try printJSON(Report(table: "inet \(host.plan.table)", difference: difference, obstacles: obstacles.map(ObstacleView.init)))
        } else {
            for line in difference { print(line) }
            for obstacle in obstacles { printObstacle(obstacle) }
            if difference.isEmpty { print("table inet \(host.plan.table) is as it should be") }
        }
        if !difference.isEmpty || !obstacles.isEmpty { throw ExitCode.failure }
    }

    private struct Report: Encodable {
        var table: String
        var difference: [String]
        var obstacles: [ObstacleView]
    }
}

struct FirewallApply: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "apply",
        abstract: "Put the rules into this host's packet filter.",
        discussion: """
            One transaction: what is refused changes nothing, and nothing is without rules in between. Applying again changes nothing, and \
            keeps the counters. Only the table inet causeway-INSTANCE is touched. Open sessions go on.

            EXIT STATUS
              0   done; warnings about chains of others on standard error
              69  the kernel cannot do it
              77  not root
              78  the configuration is wrong
            """)

    @OptionGroup var file: ConfigurationOption

    func run() async throws {
        let host = HostFirewall(FirewallPlan(try file.load()))
        let changed = try firewallErrors { () throws(FirewallError) in try host.apply() }
        print(changed ? "table inet \(host.plan.table): applied" : "table inet \(host.plan.table): nothing to do")
        for obstacle in try firewallErrors({ () throws(FirewallError) in try host.obstacles() }) { printObstacle(obstacle) }
    }
}

struct FirewallRemove: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "remove",
        abstract: "Take the rules away again.",
        discussion: """
            Leaves no table of this instance, except the one that a running gateway with gre = "packet" needs itself.

            EXIT STATUS
              0  done, or there was nothing    69  the packet filter cannot be read    77  not root    78  the configuration is wrong
            """)

    @OptionGroup var file: ConfigurationOption

    func run() async throws {
        let host = HostFirewall(FirewallPlan(try file.load()))
        let removed = try firewallErrors { () throws(FirewallError) in try host.remove() }
        print(removed ? "table inet \(host.plan.table): removed" : "table inet \(host.plan.table): there is none")
    }
}

private struct ObstacleView: Encodable {
    var chain: String
    var missing: [String]
    var commands: [String]

    init(_ obstacle: Obstacle) {
        chain = "\(obstacle.chain.family) \(obstacle.chain.table) \(obstacle.chain.name)"
        missing = obstacle.missing.map(\.what)
        commands = obstacle.missing.map(\.command)
    }
}

private func printObstacle(_ obstacle: Obstacle) {
    printError("warning: \(obstacle); if nothing else there lets it through:")
    for missing in obstacle.missing { printError("  \(missing.command)") }
}

/// What the packet filter refuses is printed and becomes the exit code.
private func firewallErrors<Value>(_ body: () throws(FirewallError) -> Value) throws -> Value {
    do throws(FirewallError) {
        return try body()
    } catch {
        printError("\(error)")
        throw error == .notPermitted ? ExitCode.noPermission : ExitCode.unavailable
    }
}
