import Addresses
import Authentication
import Diagnosis
import Foundation
import Identities
import Store
import Tokens
import WireGuard

@testable import Gateway

/// A gateway with two sessions of ann, one of a user whose name needs escaping, and a caller who has not logged in yet.
actor FakeOperations: Operations {
    struct Unreadable: Error, CustomStringConvertible { let description = "causeway.toml:3: pool.ranges: \"x\" is no range" }

    var open: [SessionView]
    let reloadFails: Bool
    private(set) var reloads = 0
    private let desk: MigrationDesk?

    let bulletin = Bulletin(capacity: 2)
    nonisolated let tokens: TokenFile
    private(set) var audited: [NewEvent] = []
    private(set) var notes: [String] = []

    static let oddName = "DOM\\zoë a/b?c%20&d"

    init(reloadFails: Bool = false, desk: MigrationDesk? = nil, tokens: TokenFile = TokenFile(directory: "/nonexistent")) {
        self.desk = desk
        self.tokens = tokens
        self.reloadFails = reloadFails
        open = [.sample(1, user: "ann"), .sample(2, user: "ann"), .sample(3, user: Self.oddName), .sample(4, user: nil)]
    }

    func subscribe(backlog: Int) -> Bulletin.Subscription? { bulletin.subscribe(backlog: backlog) }
    func audit(_ event: NewEvent) { audited.append(event) }
    func note(_ text: String, isAlarm: Bool) { notes.append(text) }

    func status() -> StatusView? { .sample }
    func sessions() -> [SessionView] { open }
    func tunnels() -> [TunnelView] { [.sample] }
    func identities() throws -> [IdentityView] {
        if reloadFails { throw Unreadable() }
        return [.sample("ann", in: "hub"), .sample("bob", in: "other")]
    }

    func disconnect(session id: UInt64) -> Bool {
        defer { open.removeAll { $0.id == id } }
        return open.contains { $0.id == id }
    }

    func disconnect(user: String) -> [UInt64] {
        defer { open.removeAll { $0.user == user } }
        return open.filter { $0.user == user }.map(\.id)
    }

    func migration() -> MigrationDesk? { desk }

    func diagnosis(of subject: DiagnosisSubject) -> [DiagnosisView] {
        [DiagnosisView.sample(1, "ann"), .sample(5, nil)].filter { subject.matches($0.session, $0.user, $0.attempt.clientAddress) }
    }

    func reload() throws -> ReloadView {
        if reloadFails { throw Unreadable() }
        reloads += 1
        return ReloadView(applied: ["pool"], needRestart: ["listen"])
    }
}

extension SessionView {
    static func sample(_ id: UInt64, user: String?) -> SessionView {
        SessionView(
            id: id, kind: "pptp", user: user, state: user == nil ? "negotiating" : "open", clientAddress: IPAddress("198.51.100.7")!,
            gatewayAddress: IPAddress("192.0.2.1")!, callID: 4711, peerCallID: 0, innerAddress: user.map { _ in IPAddress("10.8.0.10")! },
            prefixes: user == "ann" ? [IPPrefix("192.168.5.0/24")!] : [], tunnel: user.map { _ in "hub" }, encryption: "MPPE-128 stateless",
            mtu: user.map { _ in 1396 }, startedAt: Date(timeIntervalSince1970: 1_700_000_000), uptimeSeconds: 61,
            clientHostName: "till", clientVendor: "Microsoft", clientFirmware: 0,
            device: user.map { _ in DeviceView(kind: "unknown", confidence: "none", wireGuard: "unknown", evidence: []) }, packetsIn: 1, bytesIn: 2, packetsOut: 3, bytesOut: 4,
            reordered: 5, lost: 6, drops: ["gre-late": 7])
    }
}

extension DiagnosisView {
    /// ann's goes well; the other has waited for GRE for too long.
    static func sample(_ session: UInt64, _ user: String?) -> DiagnosisView {
        let attempt = Attempt(
            clientAddress: IPAddress(user == nil ? "198.51.100.8" : "198.51.100.7")!, gatewayAddress: IPAddress("192.0.2.1")!, stage: user == nil ? .called : .open, seconds: 8)
        return DiagnosisView(
            session: session, connection: session, user: user, startedAt: Date(timeIntervalSince1970: 1_700_000_000), endedAt: nil, attempt: attempt,
            verdicts: attempt.verdicts)
    }
}

extension IdentityView {
    static func sample(_ name: String, in tunnel: String) -> IdentityView {
        let key = PrivateKey(base64: "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=")!
        return IdentityView(
            Identity(
                id: .init(tunnel: tunnel, kind: .user, name: name), publicKey: key.publicKey, privateKey: key.withBytes { Secret($0) },
                addresses: [IPAddress("10.8.0.10")!], createdAt: 1_700_000_000, handshakeAt: nil), up: true, sessions: 1)
    }
}

extension StatusView {
    static let sample = StatusView(
        version: "1.2.3", instance: "main", startedAt: Date(timeIntervalSince1970: 1_700_000_000), workers: 2, instructionSet: "scalar",
        gre: GREView(reception: "raw sockets", sentAtInterface: 7, sentThroughStack: 3),
        controlConnections: 3, sessions: 4, openSessions: 3, endedSessions: 5, failedLogins: 6, control: ["bad_magic": 1],
        refused: ["half_open": 2], drops: ["gre-unknown-call": 3], tunnels: [.sample])
}

extension TunnelView {
    static let sample = TunnelView(
        name: "hub", interface: "cw-hub", backend: "kernel", mode: "shared", up: true, publicKey: "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=",
        listenPort: 51820,
        peers: [
            PeerView(
                publicKey: "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=", endpoint: "192.0.2.9:51820",
                allowedIPs: [IPPrefix("0.0.0.0/0")!], lastHandshakeSeconds: 12, receivedBytes: 100, sentBytes: 200)
        ],
        hubs: [HubView(publicKey: "TrMvSoP4jYQlY6RIzBgbssQqY3vxI2Pi+y71lOWWXX0=", endpoint: "192.0.2.9:51820", inUse: true, answers: true)],
        failovers: 1, lostPacketsAtMost: 2, problem: "none really")
}
