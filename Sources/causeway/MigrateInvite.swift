import ArgumentParser
import Authentication
import Foundation
import Gateway
import Invitation
import WireGuard

struct MigrateInvite: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "invite", abstract: "Give a user a WireGuard configuration.",
        discussion: """
            The user becomes a peer of the gateway's own listener ([access] in the configuration) with the inner address that they have with PPTP, \
            at once. The configuration is printed, or written to new files that only their owner can read. Its private key is made here and \
            is nowhere else: not in the gateway, and not in its database. With --public-key the user's device has made its own, and puts \
            the private key in itself.

            With --wave everybody of the wave who is in phase legacy gets one, as files NAME.conf (and NAME.conf.png with --png) in --directory. \
            Who cannot be invited is named, and the others are.

            EXAMPLES
              sudo causeway migrate invite ann --output ann.conf
              sudo causeway migrate invite ann --qr
              sudo causeway migrate invite ann --public-key BVRY7rX7NNpEyU+muJystZtvwvE01iwPz7+uPHvcuSY=
              sudo causeway migrate invite --wave shops --directory invitations --png

            \(gatewayExitStatus)
            """)

    struct Order: Encodable { var publicKey: PublicKey, replace: Bool }
    struct Answer: Encodable { var invitation: InvitationView, configuration: String }

    @OptionGroup var control: ControlOption
    @OptionGroup var file: HandedFile
    @Argument(help: ArgumentHelp("The user's name.", valueName: "user")) var name: String?
    @Option(name: .long, help: ArgumentHelp("Everybody of this wave instead.", valueName: "name")) var wave: String?
    @Option(name: .long, help: ArgumentHelp("Where the files of a wave go; made if it is not there.", valueName: "path")) var directory: String?
    @Option(name: .long, help: ArgumentHelp("The public key of the user's device.", valueName: "key"), transform: key) var publicKey: PublicKey?
    @Flag(name: .long, help: "Instead of an earlier invitation, whose key does not work any more.") var replace = false

    static func key(_ text: String) throws -> PublicKey {
        guard let key = PublicKey(text) else { throw ValidationError("\"\(text)\" is no public key: expected base64 of 32 bytes") }
        return key
    }

    func validate() throws {
        guard (name == nil) != (wave == nil) else { throw ValidationError("either a user or --wave") }
        if wave != nil {
            guard directory != nil else { throw ValidationError("--wave needs a --directory for the files") }
            if publicKey != nil || file.output != nil || file.qr { throw ValidationError("--wave goes with --directory, --png and --replace only") }
        } else if directory != nil {
            throw ValidationError("--directory goes with --wave")
        }
        if file.png, wave == nil, file.output == nil { throw ValidationError("--png goes with --output or --wave") }
        if publicKey != nil, file.qr || file.png { throw ValidationError("a QR code without the private key is of no use: --public-key excludes --qr and --png") }
    }

    func run() async throws {
        if let wave {
            return try await WaveFiles(wave: wave, directory: directory!, file: file).hand(to: { replace || $0.phase == "legacy" }, "invited", control) { name in
                let (view, text) = try await invite(name)
                return (view.addresses, text)
            }
        }
        let name = name!
        let files = try NewFiles(file.paths)
        let (invitation, text) = try await files.or { try await invite(name) }
        try file.write(text, to: files) {
            print("user \(name): \(invitation.addresses.map(\.description).joined(separator: ", ")), configuration in \($0)")
        } json: {
            try printJSON(Answer(invitation: invitation, configuration: $0))
        }
    }

    /// Makes the key, and asks the gateway to take it.
    private func invite(_ name: String) async throws -> (InvitationView, Secret) {
        let privateKey = publicKey == nil ? PrivateKey() : nil
        let order = Order(publicKey: publicKey ?? privateKey!.publicKey, replace: replace)
        let path = "/v1/users/\(ControlClient.escaped(name))/invitation"
        let view = try await control.ask { try await $0.send(.post, path, order, as: InvitationView.self) }
        let invitation = try Invitation(
            privateKey: privateKey?.withBytes { Secret($0) }, addresses: view.addresses.map(\.address), dns: view.dns, mtu: UInt16(clamping: view.mtu),
            peerPublicKey: "\(view.gatewayPublicKey)", endpoint: view.endpoint, allowedIPs: view.allowedIPs, keepalive: 25,
            comments: ["Causeway: WireGuard for \(name)"])
        return (view, invitation.text(file.form == .quick ? .quick : .wg))
    }
}
