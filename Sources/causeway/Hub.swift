import ArgumentParser
import Foundation
import Gateway
import Hub
import Identities
import Settings

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

struct HubCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hub",
        abstract: "Show what the hubs have to know, and the identities of users.",
        discussion: """
            A tunnel is one WireGuard peer for its hub (mode "shared"), or there is one for each group of users or for each user \
            (modes "group" and "per-user"). Those have keys and addresses of their own, which the gateway makes once and keeps in its \
            state directory.

            The hub has to know them before their users dial: make them (provision), give them to the hub (config), look whom it has \
            never answered (identities). With hub-hook in the configuration a program of yours gets the text of `causeway hub config` \
            whenever it has changed.

            EXAMPLES
              sudo causeway hub provision
              sudo causeway hub config | ssh hub sudo wg addconf wg0 /dev/stdin
              sudo causeway hub identities --never
            """,
        subcommands: [HubConfig.self, HubIdentities.self, HubProvision.self, HubPrune.self])
}

struct HubConfig: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "config",
        abstract: "Print the [Peer] sections of a hub.",
        discussion: """
            Reads the configuration, the keys and the identities from their files; no gateway has to run. The order depends on names \
            only. Preshared keys are part of the text: keep it as safe as a key file.

            wg syncconf takes a whole configuration, [Interface] section included: without one it would remove the hub's own private \
            key. --merge puts the one of the hub's file first. wg addconf takes the sections alone, and removes nobody.

            --diff compares with what the hub has: a file as wg showconf prints it, or - for standard input, as for --merge. It prints the commands \
            that make the hub right, for bash on the hub. Endpoints and keepalives are the hub's own business.

            EXAMPLES
              sudo causeway hub config --tunnel hub
              ssh hub sudo wg showconf wg0 | sudo causeway hub config --diff -
              ssh hub sudo wg showconf wg0 > now.conf
              sudo causeway hub config --merge now.conf | ssh hub "sudo wg syncconf wg0 /dev/stdin"

            EXIT STATUS
              0   done; with --diff: the hub is right
              1   with --diff: the hub differs
              69  identities, or a configuration of the hub, cannot be read
              78  the configuration is wrong
            """)

    @OptionGroup var file: ConfigurationOption
    @Option(name: .long, help: ArgumentHelp("The tunnel; may be left out while there is only one.", valueName: "name")) var tunnel: String?
    @Option(name: .long, help: ArgumentHelp("The hub, by its public key, where hubs of the tunnel have different preshared keys (default: the first).", valueName: "public-key"))
    var hub: String?
    @Option(name: .long, help: ArgumentHelp("Compare with this configuration of the hub.", valueName: "file")) var diff: String?
    @Option(name: .long, help: ArgumentHelp("Print the [Interface] section of this configuration of the hub first.", valueName: "file")) var merge: String?
    @Option(name: .long, help: ArgumentHelp("The hub's interface, in the commands of --diff.", valueName: "name")) var interface = "wg0"
    @Flag(name: .long, help: "With --diff or --merge: peers of the hub that are not ours stay.") var keepOthers = false
    @Flag(name: .long, help: "Print JSON.") var json = false

    func validate() throws {
        if diff != nil, merge != nil { throw ValidationError("--diff and --merge exclude each other") }
        if merge != nil, json { throw ValidationError("--merge and --json exclude each other") }
        if keepOthers, diff == nil, merge == nil { throw ValidationError("--keep-others goes with --diff or --merge") }
        let isName = { (byte: UInt8) in byte > 0x20 && byte < 0x7F && !"/'\"\\$`;&|<>(){}*?#!~".utf8.contains(byte) }
        guard (1...15).contains(interface.utf8.count), interface.utf8.allSatisfy(isName) else {
            throw ValidationError("--interface: \"\(interface)\" is not the name of an interface")
        }
    }

    func run() async throws {
        let configuration = try file.load()
        let tunnel = try chosenTunnel(configuration)
        if let hub, !tunnel.peers.contains(where: { $0.hubs.contains { $0.publicKey == hub } }) {
            throw ValidationError("--hub: tunnel \"\(tunnel.name)\" has no hub with the key \(hub)")
        }
        let peers = try await peers(configuration, tunnel)
        if let diff { return try compare(peers, with: try read(diff)) }
        if json { return try printJSON(peers.map(PeerView.init)) }
        guard let merge else { return print(peers.sections, terminator: "") }
        let current = try read(merge)
        let ours = Set(peers.map(\.publicKey))
        let others = keepOthers ? current.peers.filter { !ours.contains($0.publicKey) } : []
        print((current.interface.isEmpty ? "" : current.interfaceText + "\n") + (peers + others).sections, terminator: "")
    }

    private func chosenTunnel(_ configuration: CausewayConfiguration) throws -> CausewayConfiguration.Tunnel {
        let names = configuration.tunnels.map { "\"\($0.name)\"" }.joined(separator: ", ")
        guard let name = tunnel else {
            guard configuration.tunnels.count == 1 else { throw ValidationError("--tunnel: one of \(names)") }
            return configuration.tunnels[0]
        }
        guard let found = configuration.tunnel(named: name) else {
            throw ValidationError("--tunnel: there is no tunnel \"\(name)\"; one of \(names)")
        }
        return found
    }

    private func peers(_ configuration: CausewayConfiguration, _ tunnel: CausewayConfiguration.Tunnel) async throws -> [HubPeer] {
        try await identityErrors {
            let identities = tunnel.mode == .shared ? [] : try await configuration.identityStore.identities()
            if let wrong = identities.first(where: { $0.id.tunnel == tunnel.name && !$0.keysMatch }) {
                throw IdentityError("the public key of \(wrong.id) is not that of its private key: \(configuration.stateDirectory) was changed by hand")
            }
            let made = Set(identities.map(\.id))
            let missing = IdentityPlan(configuration).needs.filter { $0.id.tunnel == tunnel.name && !made.contains($0.id) }
            if let first = missing.first {
                let more = missing.count > 1 ? " and \(missing.count - 1) more" : ""
                printError("warning: no identity yet for \(first.id)\(more); the gateway makes them when it starts or reloads, or: causeway hub provision")
            }
            return try configuration.hubPeers(of: tunnel, identities: identities, hub: hub)
        }
    }

    private func read(_ path: String) throws -> HubConfiguration {
        // A pipe (bash's <(...)) is as good as a file.
        guard let file = path == "-" ? .standardInput : FileHandle(forReadingAtPath: path) else {
            printError("\(path): \(String(cString: strerror(errno)))")
            throw ExitCode.unavailable
        }
        do {
            return try HubConfiguration(String(decoding: try file.readToEnd() ?? Data(), as: UTF8.self))
        } catch let error as HubConfigurationError {
            for issue in error.issues { printError("\(path):\(issue.line): \(issue.message)") }
            throw ExitCode.unavailable
        } catch {
            printError("\(path): \(error.localizedDescription)")
            throw ExitCode.unavailable
        }
    }

    private func compare(_ peers: [HubPeer], with current: HubConfiguration) throws {
        let difference = HubDifference(from: current.peers, to: peers, keepsOthers: keepOthers)
        if json {
            try printJSON(DifferenceView(difference))
        } else {
            print(difference.commands(interface: interface), terminator: "")
        }
        if !difference.isEmpty { throw ExitCode.failure }
    }

    private struct PeerView: Encodable {
        var comment: String?
        var publicKey: String
        var allowedIPs: [String]
        var presharedKey: String?

        init(_ peer: HubPeer) {
            comment = peer.comment
            publicKey = peer.publicKey
            allowedIPs = peer.allowedIPs.sorted().map(\.description)
            presharedKey = peer.presharedKeyText
        }
    }

    private struct DifferenceView: Encodable {
        var added: [PeerView]
        var changed: [PeerView]
        var removed: [PeerView]

        init(_ difference: HubDifference) {
            added = difference.added.map(PeerView.init)
            changed = difference.changed.map(PeerView.init)
            removed = difference.removed.map(PeerView.init)
        }
    }
}

struct HubIdentities: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "identities",
        abstract: "List the identities of users and groups.",
        discussion: """
            Asks the running gateway. UP tells whether an identity is in use now; SINCE HANDSHAKE how long ago a hub answered it last. \
            --never lists those that no hub ever answered: most likely the hub does not know them yet. --offline reads the state \
            directory instead, where the time of a handshake may be up to an hour behind.

            wg(8) shows the identities of the embedded engine that are up, too: each as an interface of its own (INTERFACE-1, \
            INTERFACE-2, ...), up to most-identities of the tunnel, and all together, each hub once with the sums, as INTERFACE. The \
            public key tells which is whose. Of more, causeway sessions has the bytes of each user.

            EXAMPLES
              sudo causeway hub identities --never
              sudo causeway hub identities --json | jq -r '.[] | select(.retiredSince) | .name'
              sudo wg show all public-key

            EXIT STATUS
              0  done    1  the gateway said no    69  the gateway, or the state directory, cannot be reached
            """)

    @OptionGroup var control: ControlOption
    @OptionGroup var file: ConfigurationOption
    @Flag(name: .long, help: "Only those that never completed a handshake.") var never = false
    @Flag(name: .long, help: "Read the files; no gateway has to run.") var offline = false
    @Option(name: .long, help: ArgumentHelp("Only those of this tunnel.", valueName: "name")) var tunnel: String?
    @Flag(name: .long, help: "Print JSON.") var json = false

    func run() async throws {
        var identities = offline
            ? try await identityErrors { try await file.load().identityStore.identities().map { IdentityView($0) } }
            : try await control.ask { try await $0.get("/v1/identities", as: [IdentityView].self) }
        identities.removeAll { (tunnel != nil && $0.tunnel != tunnel) || (never && !$0.neverCompleted) }
        if json { return try printJSON(identities) }
        let now = Date()
        printTable(
            ["TUNNEL", "KIND", "NAME", "ADDRESS", "PUBLIC KEY", "SINCE HANDSHAKE", "UP", "SESSIONS"],
            identities.map { identity in
                [
                    identity.tunnel, identity.kind, identity.name + (identity.handedOverSince != nil ? " (handed over)" : identity.retiredSince == nil ? "" : " (retired)"),
                    identity.addresses.isEmpty ? "-" : identity.addresses.map(\.description).joined(separator: ","), identity.publicKey,
                    identity.lastHandshake.map { durationText(max(0, Int(now.timeIntervalSince($0)))) } ?? "never",
                    identity.up.map { $0 ? "yes" : "no" } ?? "-", identity.sessions.map { "\($0)" } ?? "-",
                ]
            })
    }
}

struct HubProvision: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "provision",
        abstract: "Make the identities that are missing.",
        discussion: """
            What the gateway does when it starts or reloads: every user of a tunnel in mode "per-user" and every group of one in mode \
            "group" gets a key, and a user an address for good. Identities that the configuration does not need any more are marked as \
            retired. For hubs that shall know everybody before the gateway runs.

            EXIT STATUS
              0   done
              69  the state directory cannot be used, or a pool has too few addresses
              78  the configuration is wrong
            """)

    @OptionGroup var file: ConfigurationOption
    @Flag(name: .long, help: "Only say what would be done.") var dryRun = false

    func run() async throws {
        let configuration = try file.load()
        let plan = IdentityPlan(configuration)
        let store = configuration.identityStore
        let change = try await identityErrors {
            if dryRun { return try plan.preview(on: try await store.identities()) }
            return try await store.provision(plan)
        }
        for (ids, what) in [
            (change.created, "created"), (change.readdressed, "has another address"), (change.revived, "in use again"), (change.retired, "retired"),
        ] {
            for id in ids { print("\(id): \(what)") }
        }
        if change.isEmpty { print("nothing to do: \(plan.needs.count) identities are there") }
    }
}

struct HubPrune: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "prune",
        abstract: "Forget retired identities for good.",
        discussion: """
            Of users and groups that are not in the configuration any more: their keys are deleted, their addresses go back to the \
            pool, and the hub should no longer know them (causeway hub config --diff). A user who comes back gets a new key. Tell a \
            running gateway with: causeway reload.

            EXIT STATUS
              0  done    69  the state directory cannot be used    78  the configuration is wrong
            """)

    @OptionGroup var file: ConfigurationOption
    @Option(name: .long, help: ArgumentHelp("Only those of this tunnel.", valueName: "name")) var tunnel: String?
    @Flag(name: .long, help: "Only say what would be done.") var dryRun = false

    func run() async throws {
        let store = try file.load().identityStore
        let gone = try await identityErrors {
            guard dryRun else { return try await store.prune(tunnel: tunnel) }
            return try await store.identities().filter { $0.isRetired && !$0.isHandedOver && (tunnel == nil || $0.id.tunnel == tunnel) }.map(\.id)
        }
        for id in gone { print("\(id): \(dryRun ? "would be forgotten" : "forgotten")") }
        if gone.isEmpty { print("nothing to do: no identity is retired") }
    }
}

extension CausewayConfiguration {
    /// Files that root makes here are for the gateway's account.
    var identityStore: FileIdentityStore { FileIdentityStore(directory: stateDirectory, owner: StateOwner(account: user)) }
}

/// What goes wrong with identities is printed and becomes the exit code.
private func identityErrors<Value>(_ body: () async throws -> Value) async throws -> Value {
    do {
        return try await body()
    } catch let error as IdentityError {
        printError("\(error)")
        throw ExitCode.unavailable
    }
}
