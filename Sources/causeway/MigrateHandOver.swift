import ArgumentParser
import Authentication
import Foundation
import Gateway
import Invitation

struct MigrateHandOver: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hand-over", abstract: "Give a user the identity that the gateway speaks with for them.",
        discussion: """
            For tunnels with mode = "per-user", where the hub knows each user as the peer they will be. The user's device gets that very key and \
            address, connects to the hub itself, and nothing changes at the hub. The gateway stops using the key before it gives it away: the \
            user's PPTP sessions end, and PPTP log-ins are refused until take-back.

            The key is printed, or written to a new file that only its owner can read. The gateway keeps a copy for take-back until \
            the hub has seen the device (causeway observe) or --confirm says that it works; then the copy is wiped.

            With --wave everybody of the wave who is in phase legacy gets theirs, as files NAME.conf (and NAME.conf.png with --png) in \
            --directory. Who cannot be served is named, and the others are.

            EXAMPLES
              sudo causeway migrate hand-over ann --output ann.conf
              sudo causeway migrate hand-over ann --qr
              sudo causeway migrate hand-over ann --confirm
              sudo causeway migrate hand-over --wave shops --directory identities --png

            \(gatewayExitStatus)
            """)

    struct Answer: Encodable { var handOver: HandOverView, configuration: String }
    struct Nothing: Encodable {}

    @OptionGroup var control: ControlOption
    @OptionGroup var file: HandedFile
    @Argument(help: ArgumentHelp("The user's name.", valueName: "user")) var name: String?
    @Option(name: .long, help: ArgumentHelp("Everybody of this wave instead.", valueName: "name")) var wave: String?
    @Option(name: .long, help: ArgumentHelp("Where the files of a wave go; made if it is not there.", valueName: "path")) var directory: String?
    @Flag(name: .long, help: "The device works: wipe the gateway's copy of the key. There is no way back then but another key.") var confirm = false

    func validate() throws {
        guard (name == nil) != (wave == nil) else { throw ValidationError("either a user or --wave") }
        guard (wave == nil) == (directory == nil) else { throw ValidationError("--wave and --directory go together") }
        if wave != nil, file.output != nil || file.qr { throw ValidationError("--wave goes with --directory, --png and --json only") }
        if file.png, wave == nil, file.output == nil { throw ValidationError("--png goes with --output or --wave") }
        if confirm, file.isGiven || wave != nil { throw ValidationError("--confirm goes with a user's name only") }
    }

    func run() async throws {
        if let wave {
            return try await WaveFiles(wave: wave, directory: directory!, file: file).hand(to: { $0.phase == "legacy" }, "have their identities", control) { name in
                let (view, text) = try await handOver(name)
                return (view.addresses, text)
            }
        }
        let name = name!
        if confirm {
            _ = try await control.ask { try await $0.send(.post, path(name) + "/confirmation", Nothing(), as: Acknowledged.self) }
            return
        }
        let files = try NewFiles(file.paths)
        let (view, text) = try await files.or { try await handOver(name) }
        try file.write(text, to: files) {
            print("user \(name): \(view.addresses.map(\.description).joined(separator: ", ")), configuration in \($0)")
        } json: {
            try printJSON(Answer(handOver: view, configuration: $0))
        }
    }

    private func path(_ name: String) -> String { "/v1/users/\(ControlClient.escaped(name))/hand-over" }

    private func handOver(_ name: String) async throws -> (HandOverView, Secret) {
        let view = try await control.ask { try await $0.send(.post, path(name), Nothing(), as: HandOverView.self) }
        return (view, try configuration(view))
    }

    private func configuration(_ view: HandOverView) throws -> Secret {
        func key(_ text: String) -> Secret { Secret(Data(base64Encoded: text) ?? Data()) }
        return try Invitation(
            privateKey: key(view.privateKey), addresses: view.addresses.prefix(1).map(\.address), dns: view.dns, mtu: UInt16(clamping: view.mtu),
            peerPublicKey: "\(view.hubPublicKey)", presharedKey: view.presharedKey.map(key), endpoint: view.endpoint, allowedIPs: view.allowedIPs,
            keepalive: 25, comments: ["Causeway: WireGuard for \(view.user), straight to the hub"]
        ).text(file.form == .quick ? .quick : .wg)
    }
}

struct MigrateTakeBack: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "take-back", abstract: "Undo a hand-over: the gateway speaks for the user again.",
        discussion: """
            Switch the user's device off first: an identity has one live holder. With --new-key the gateway makes another key, for a device that is \
            lost or that cannot be switched off, and where the gateway's copy was wiped: the hub has to be told (hub-hook, or \
            causeway hub config), and from then on the old key is nobody.

            \(gatewayExitStatus)
            """)

    struct Order: Encodable { var newKey: Bool }

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The user's name.", valueName: "user")) var name: String
    @Flag(name: .long, help: "With another key, which the hub has to be told.") var newKey = false

    func run() async throws {
        let path = "/v1/users/\(ControlClient.escaped(name))/take-back"
        _ = try await control.ask { try await $0.send(.post, path, Order(newKey: newKey), as: Acknowledged.self) }
    }
}
