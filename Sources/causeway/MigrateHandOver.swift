import ArgumentParser
import Authentication
import Foundation
import Gateway
import Invitation

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

struct MigrateHandOver: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "hand-over", abstract: "Give a user the identity that the gateway speaks with for them.",
        discussion: """
            For tunnels with mode = "per-user", where the hub knows each user as the peer they will be. The user's device gets that very key and \
            address, connects to the hub itself, and nothing changes at the hub. The gateway stops using the key before it gives it away: the \
            user's PPTP sessions end, and PPTP log-ins are refused until take-back.

            The key is printed, or written to a new file that only its owner can read. The gateway keeps a copy for take-back until \
            the hub has seen the device (causeway observe) or --confirm says that it works; then the copy is wiped.

            EXAMPLES
              sudo causeway migrate hand-over ann --output ann.conf
              sudo causeway migrate hand-over ann --qr
              sudo causeway migrate hand-over ann --confirm

            \(gatewayExitStatus)
            """)

    struct Answer: Encodable { var handOver: HandOverView, configuration: String }
    struct Nothing: Encodable {}

    @OptionGroup var control: ControlOption
    @OptionGroup var file: HandedFile
    @Argument(help: ArgumentHelp("The user's name.", valueName: "user")) var name: String
    @Flag(name: .long, help: "The device works: wipe the gateway's copy of the key. There is no way back then but another key.") var confirm = false

    func validate() throws {
        if file.png, file.output == nil { throw ValidationError("--png goes with --output") }
        if confirm, file.isGiven { throw ValidationError("--confirm goes alone") }
    }

    func run() async throws {
        let path = "/v1/users/\(ControlClient.escaped(name))/hand-over"
        if confirm {
            _ = try await control.ask { try await $0.send(.post, path + "/confirmation", Nothing(), as: Acknowledged.self) }
            return
        }
        let files = try NewFiles(file.paths)
        let (view, text) = try await files.or {
            let view = try await control.ask { try await $0.send(.post, path, Nothing(), as: HandOverView.self) }
            return (view, try configuration(view))
        }
        try file.write(text, to: files) {
            print("user \(name): \(view.addresses.map(\.description).joined(separator: ", ")), configuration in \($0)")
        } json: {
            try printJSON(Answer(handOver: view, configuration: $0))
        }
    }

    private func configuration(_ view: HandOverView) throws -> Secret {
        func key(_ text: String) -> Secret { Secret(Data(base64Encoded: text) ?? Data()) }
        return try Invitation(
            privateKey: key(view.privateKey), addresses: view.addresses.prefix(1).map(\.address), dns: view.dns, mtu: UInt16(clamping: view.mtu),
            peerPublicKey: "\(view.hubPublicKey)", presharedKey: view.presharedKey.map(key), endpoint: view.endpoint, allowedIPs: view.allowedIPs,
            keepalive: 25, comments: ["Causeway: WireGuard for \(name), straight to the hub"]
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
