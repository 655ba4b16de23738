import Addresses
import Migration
import MigrationTracker
import Store
import Testing

@testable import Gateway
@testable import LegacyClient

/// A book that says what a test wants it to say, and keeps what it was told in order.
private actor FakeBook: SessionBook {
    enum Line: Equatable { case opened(AccessKind, String, IPAddress, pool: String?), closed(String) }

    var lines: [Line] = []
    var refusals: [RefusedLogIn] = []
    private var answers: [MigrationTracker.Admission]
    private let verdict: LoginVerdict
    private var open: Set<UInt64> = []

    init(_ verdict: LoginVerdict = .admit(rate: nil, warnings: []), answers: [MigrationTracker.Admission] = []) {
        self.verdict = verdict
        self.answers = answers
    }

    func verdict(of user: String) -> LoginVerdict { verdict }
    func open(_ handle: UInt64, _ opening: SessionOpening) -> MigrationTracker.Admission {
        let answer = answers.isEmpty ? .admitted(nil) : answers.removeFirst()
        lines.append(.opened(opening.kind, opening.user, opening.address, pool: opening.pool))
        if case .admitted = answer { open.insert(handle) }
        return answer
    }
    func refused(_ refusal: RefusedLogIn) { refusals.append(refusal) }
    func close(_ handle: UInt64, cause: String, total: Traffic) {
        if open.remove(handle) != nil { lines.append(.closed(cause)) }
    }
}

extension SessionController {
    fileprivate func rates() -> [Int?] { sessions.values.map(\.attributes.rate) }
}

extension GatewayNamespace {
    /// What the controller asks of its book, and writes into it.
    @Suite(.timeLimit(.minutes(1))) struct SessionBookTests {
        static let first = IPAddress("10.8.0.10")!, second = IPAddress("10.8.0.11")!

        @Test func aSessionBeginsAndEnds() async throws {
            let book = FakeBook()
            try await Rig.run(book: book) { rig in
                let client = try await rig.client("ann", "annspw")
                await eventually("the session is up") { await client.phase() == .up }
                #expect(await book.lines == [.opened(.pptp, "ann", Self.first, pool: "users")])
                #expect(await rig.controller.traffic().count == 1)
                await rig.end(client)
                await eventually("its end is written") { await book.lines.count == 2 }
                guard case .closed(let cause) = await book.lines[1] else { return }
                #expect(cause.hasPrefix("the client hung up"))
                #expect(await rig.controller.traffic().isEmpty)
            }
        }

        /// A client that was turned away by the policy is not asked for another password.
        @Test(arguments: [
            (LoginRefusal.retired, 649), (.dateIsOver(since: 0), 649), (.outsideHours, 646),
        ])
        func aLogInThatIsNotWanted(_ refusal: LoginRefusal, _ code: Int) async throws {
            let book = FakeBook(.refuse(refusal))
            try await Rig.run(book: book) { rig in
                let client = try await rig.client("ann", "annspw")
                await eventually("the client gives up") { await client.phase() == .failed }
                #expect(await client.failure() == .authentication(code: code))
                await rig.end(client)
                #expect(await book.lines.isEmpty)
                await eventually("it is written down") { await book.refusals.map(\.user) == ["ann"] }
            }
        }

        @Test(arguments: [("ann", "wrong", "ann"), ("nobody", "at all", nil)] as [(String, String, String?)])
        func aRefusedLogInIsWrittenDown(_ name: String, _ password: String, _ user: String?) async throws {
            let book = FakeBook()
            try await Rig.run(authentication: "max-retries = 0", book: book) { rig in
                let client = try await rig.client(name, password)
                await eventually("the client gives up") { await client.phase() == .failed }
                await eventually("it is written down") { await book.refusals.count == 1 }
                let refusal = try #require(await book.refusals.first)
                #expect(refusal.user == user && refusal.reason.contains(user == nil ? "no such user" : "wrong password"))
                await rig.end(client)
            }
        }

        @Test(arguments: [(nil, nil), (200, 200), (50, 50)] as [(UInt32?, Int?)])
        func aPolicySlowsTheUserDown(_ rate: UInt32?, _ expected: Int?) async throws {
            try await Rig.run(book: FakeBook(.admit(rate: rate, warnings: [.policy]))) { rig in
                let client = try await rig.client("ann", "annspw")
                await eventually("the session is up") { await client.phase() == .up }
                #expect(await rig.controller.rates() == [expected])
                await rig.end(client)
            }
        }

        @Test func anAddressThatIsTakenElsewhereIsReplaced() async throws {
            let book = FakeBook(answers: [.addressTaken])
            try await Rig.run(book: book) { rig in
                let client = try await rig.client("ann", "annspw")
                await eventually("the session is up") { await client.phase() == .up }
                #expect(await client.statuses()[0].network?.address == Self.second)
                #expect(
                    await book.lines == [.opened(.pptp, "ann", Self.first, pool: "users"), .opened(.pptp, "ann", Self.second, pool: "users")])
                await rig.end(client)
            }
        }

        @Test(arguments: [MigrationTracker.Admission.storeAway("disk full"), .alreadyConnected])
        func whoCannotBeWrittenDownStaysOut(_ answer: MigrationTracker.Admission) async throws {
            let book = FakeBook(answers: [answer])
            try await Rig.run(book: book) { rig in
                let client = try await rig.client("ann", "annspw")
                await eventually("the client is turned away") { await client.phase() == .failed }
                await rig.end(client)
                await rig.expectNothingLeft()
                #expect(await book.lines.count == 1)
            }
        }

        @Test func aStaticAddressThatIsTakenIsNotReplaced() async throws {
            let book = FakeBook(answers: [.addressTaken])
            try await Rig.run(book: book) { rig in
                let client = try await rig.client("till", "tillspw")
                await eventually("the client is turned away") { await client.phase() == .failed }
                #expect(await book.lines == [.opened(.pptp, "till", IPAddress("10.8.0.77")!, pool: nil)])
                await rig.end(client)
            }
        }

        /// The end of the one is written before the beginning of the other: the address is the same.
        @Test func aReplacedSessionEndsBeforeTheNewOneBegins() async throws {
            let book = FakeBook()
            try await Rig.run(authentication: "when-connected = \"replace\"", book: book) { rig in
                let old = try await rig.client("till", "tillspw")
                await eventually("the old session is up") { await old.phase() == .up }
                let new = try await rig.client("till", "tillspw")
                await eventually("the new session is up") { await new.phase() == .up }
                let till = FakeBook.Line.opened(.pptp, "till", IPAddress("10.8.0.77")!, pool: nil)
                #expect(await book.lines == [till, .closed("replaced by a new log-in"), till])
                await rig.end(old)
                await rig.end(new)
            }
        }

        @Test func aNativePeerComesAndGoes() async throws {
            let book = FakeBook()
            try await Rig.run(ConfigurationMappingTests.access, book: book) { rig in
                let natives = NativeSessionControllerTests()
                #expect(await book.lines.isEmpty)
                await natives.handshake(rig, ago: 1)
                let opened = FakeBook.Line.opened(.native, "eve", NativeSessionControllerTests.address, pool: nil)
                await eventually("it is written down") { await book.lines == [opened] }
                await natives.handshake(rig, ago: 100)
                #expect(await rig.controller.liveNatives() == ["eve"])
                await natives.handshake(rig, ago: 181)
                await eventually("and its silence") { await book.lines == [opened, .closed("no sign of life for three minutes")] }
                #expect(await rig.controller.liveNatives().isEmpty)
                await natives.handshake(rig, ago: 1)
                await eventually("and its return") { await book.lines.count == 3 }
            }
        }

        /// No moment in which both have the address.
        @Test func theHandshakeEndsThePPTPSessionFirst() async throws {
            let book = FakeBook()
            try await Rig.run(ConfigurationMappingTests.access, book: book) { rig in
                let client = try await rig.client("eve", "evespw")
                await eventually("the session is up") { await client.phase() == .up }
                await NativeSessionControllerTests().handshake(rig, ago: 1)
                let address = NativeSessionControllerTests.address
                await eventually("three lines") { await book.lines.count == 3 }
                #expect(
                    await book.lines == [
                        .opened(.pptp, "eve", address, pool: nil), .closed("the user has connected over WireGuard"),
                        .opened(.native, "eve", address, pool: nil),
                    ])
                await rig.end(client)
            }
        }
    }
}
