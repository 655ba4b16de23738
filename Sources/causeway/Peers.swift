import ArgumentParser
import Foundation
import Gateway
import WireGuard

struct PeersCommand: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "peers", abstract: "Show which WireGuard peers belong to which users.",
        subcommands: [PeersList.self, PeersShow.self])
}

struct PeersList: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "list", abstract: "List peers of users, those that are gone as well.",
        discussion: "--json prints the objects of GET /v1/peers.\n\n\(gatewayExitStatus)")

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false
    @Option(name: .long, help: ArgumentHelp("Only those of this user.", valueName: "name")) var user: String?
    @Flag(name: .long, help: "Only those that work.") var live = false

    func run() async throws {
        let peers = try await peers(control, of: user).filter { !live || $0.revokedAt == nil }
        if json { return try printJSON(peers) }
        printTable(
            ["USER", "PUBLIC KEY", "TUNNEL", "ALLOWED IPS", "KEY HELD BY", "MADE", "GONE"],
            peers.map { [$0.user, $0.publicKey, $0.tunnel, $0.allowedIPs.map(\.description).joined(separator: ","), $0.holder, dayText($0.createdAt), dayText($0.revokedAt)] })
    }
}

struct PeersShow: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "show", abstract: "Show one peer, by its public key.",
        discussion: "The user's own peer as causeway sessions knows it is there, too, if it connects natively.\n\n\(gatewayExitStatus)")

    @OptionGroup var control: ControlOption
    @Flag(name: .long, help: "Print JSON.") var json = false
    @Argument(help: ArgumentHelp("The public key.", valueName: "key"), transform: MigrateInvite.key) var key: PublicKey

    func run() async throws {
        guard let peer = try await peers(control, of: nil).last(where: { $0.publicKey == "\(key)" }) else {
            printError("no user has a peer with the key \(key)")
            throw ExitCode.failure
        }
        if json { return try printJSON(peer) }
        printLine("peer \(peer.publicKey): user \(peer.user), \(peer.allowedIPs.map(\.description).joined(separator: ", ")) through tunnel \(peer.tunnel)")
        printLine("  made \(timeText(peer.createdAt)), \(peer.revokedAt.map { "gone since \(timeText($0))" } ?? "works"); the private key is held by the \(peer.holder)")
        let sessions = try await control.ask { try await $0.get("/v1/sessions?user=\(ControlClient.escaped(peer.user))", as: [SessionView].self) }
        for session in sessions where session.publicKey == peer.publicKey {
            let handshake = session.lastHandshakeSeconds.map { "last handshake \($0) s ago" } ?? "no handshake yet"
            printLine("  \(session.state), \(handshake), \(byteText(session.bytesIn)) received, \(byteText(session.bytesOut)) sent")
        }
    }
}

private func peers(_ control: ControlOption, of user: String?) async throws -> [LinkView] {
    var peers: [LinkView] = [], next: String?
    repeat {
        let path = "/v1/peers?limit=1000" + (user.map { "&user=\(ControlClient.escaped($0))" } ?? "") + (next.map { "&after=\($0)" } ?? "")
        let page = try await control.ask { try await $0.get(path, as: PageView<LinkView>.self) }
        peers += page.items
        next = page.next
    } while next != nil
    return peers
}

struct Link: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Link a user to a WireGuard peer of their own.",
        discussion: """
            For a device whose key exists already: the same as causeway migrate invite USER --public-key KEY. What the device needs is printed.

            \(gatewayExitStatus)
            """)

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The user's name.", valueName: "user")) var name: String
    @Option(name: .long, help: ArgumentHelp("The device's public key.", valueName: "key")) var publicKey: String
    @Flag(name: .long, help: "Instead of an earlier one, which does not work any more.") var replace = false

    func run() async throws {
        var invite = try MigrateInvite.parse([name, "--public-key", publicKey] + (replace ? ["--replace"] : []))
        invite.control = control
        try await invite.run()
    }
}

struct Unlink: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "Take a user's WireGuard peer away.", discussion: "The same as causeway migrate withdraw.\n\n\(gatewayExitStatus)")

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The user's name.", valueName: "user")) var name: String

    func run() async throws {
        let path = "/v1/users/\(ControlClient.escaped(name))/invitation"
        _ = try await control.ask { try await $0.delete(path, as: Acknowledged.self) }
    }
}
