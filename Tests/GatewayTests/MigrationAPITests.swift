import Foundation
import HTTPTypes
import Logging
import Settings
import Testing

@testable import Gateway

/// The routes of the migration, over a real database in a directory of the test's own.
@Suite struct MigrationAPITests {
    private let api = ControlAPITests()
    private let key = "BVRY7rX7NNpEyU+muJystZtvwvE01iwPz7+uPHvcuSY="

    private func withDesk(_ body: (FakeOperations) async throws -> Void) async throws {
        let directory = FileManager.default.temporaryDirectory.appendingPathComponent("causeway-\(UUID())")
        try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
        defer { try? FileManager.default.removeItem(at: directory) }
        var configuration = CausewayConfiguration()
        configuration.store.path = directory.appendingPathComponent("causeway.db").path
        let desk = try await MigrationDesk.open(configuration, bulletin: Bulletin(), logger: Logger(label: "test") { _ in SwiftLogNoOpLogHandler() })
        let operations = FakeOperations(desk: desk)
        do { try await body(operations) } catch {
            await desk.stop()
            throw error
        }
        await desk.stop()
    }

    @Test func withoutAStoreEveryRouteSaysSo() async throws {
        for path in ["/v1/users", "/v1/users/ann", "/v1/migration", "/v1/waves", "/v1/policies"] {
            let answer = try await api.ask(.get, path)
            #expect(answer.status == 503 && answer.error?.contains("store.enabled") == true)
        }
    }

    @Test func usersAreAddedOnceAndListedInPages() async throws {
        try await withDesk { operations in
            let names = #"{"names": ["bob", "ann", "caf\u00e9", "ann"]}"#
            #expect(try await api.ask(.post, "/v1/users", operations, body: names).object["added"] as? Int == 3)
            #expect(try await api.ask(.post, "/v1/users", operations, body: names).object["added"] as? Int == 0)
            let first = try await api.ask(.get, "/v1/users?limit=2", operations)
            #expect((first.object["items"] as? [[String: Any]])?.compactMap { $0["name"] as? String } == ["ann", "bob"])
            let next = try #require(first.object["next"] as? String)
            let second = try await api.ask(.get, "/v1/users?limit=2&after=\(next)", operations)
            #expect((second.object["items"] as? [[String: Any]])?.compactMap { $0["name"] as? String } == ["café"])
            #expect(second.object["next"] == nil)
            #expect(try await api.ask(.get, "/v1/users/caf%C3%A9", operations).status == 200)
        }
    }

    @Test func whatIsWrongIsNamed() async throws {
        try await withDesk { operations in
            for (method, path, body, status) in [
                (.get, "/v1/users/nobody", "", 404), (.get, "/v1/users?limit=0", "", 400), (.get, "/v1/users?limit=1001", "", 400),
                (.get, "/v1/users?phase=never", "", 400), (.post, "/v1/users", "{", 400), (.post, "/v1/users", #"{"names": [""]}"#, 400),
                (.put, "/v1/users/nobody/phase", #"{"phase": "dual", "reason": ""}"#, 404), (.delete, "/v1/users/nobody/invitation", "", 404),
                (.post, "/v1/users/nobody/invitation", #"{"publicKey": "short"}"#, 400), (.post, "/v1/waves/none/start", "", 404),
                (.post, "/v1/waves/none/fly", "", 404), (.put, "/v1/policies/legacy", #"{"hours": "always"}"#, 400),
            ] as [(HTTPRequest.Method, String, String, Int)] {
                let answer = try await api.ask(method, path, operations, body: body)
                #expect(answer.status == status && answer.error?.isEmpty == false, "\(method) \(path): \(answer.status) \(answer.text)")
            }
        }
    }

    @Test func aPhaseByHandStandsInTheHistoryWithItsReason() async throws {
        try await withDesk { operations in
            _ = try await api.ask(.post, "/v1/users", operations, body: #"{"names": ["ann"]}"#)
            let order = #"{"phase": "retired", "reason": "for good"}"#
            #expect(try await api.ask(.put, "/v1/users/ann/phase", operations, body: order, by: "root").status == 200)
            let user = try await api.ask(.get, "/v1/users/ann", operations)
            #expect((user.object["user"] as? [String: Any])?["phase"] as? String == "retired")
            let history = try #require(user.object["history"] as? [[String: Any]])
            #expect(history.count == 1 && history[0]["by"] as? String == "administrator root" && history[0]["reason"] as? String == "for good")
            #expect(try await api.ask(.post, "/v1/users/ann/rollback", operations, body: #"{"reason": "too early"}"#).status == 200)
            #expect(try await api.ask(.post, "/v1/users/ann/rollback", operations, body: #"{"reason": "again"}"#).status == 409)
        }
    }

    @Test func aWaveGoesItsWay() async throws {
        try await withDesk { operations in
            _ = try await api.ask(.post, "/v1/users", operations, body: #"{"names": ["ann", "bob"]}"#)
            let wave = #"{"name": "shops", "policy": {"warn": true, "rate": 512, "hours": "mon-fri 08:00-18:00"}}"#
            #expect(try await api.ask(.post, "/v1/waves", operations, body: wave).status == 200)
            #expect(try await api.ask(.post, "/v1/waves", operations, body: wave).status == 409)
            #expect(try await api.ask(.post, "/v1/waves/shops/members", operations, body: #"{"users": ["ann"]}"#).status == 200)
            #expect(try await api.ask(.post, "/v1/waves/shops/start", operations).object["toInvite"] as? [String] == ["ann"])
            let waves = try await api.ask(.get, "/v1/waves", operations).list
            #expect(waves.first?["state"] as? String == "running" && (waves.first?["policy"] as? [String: Any])?["rate"] as? Int == 512)
            let status = try await api.ask(.get, "/v1/migration", operations).object
            #expect(status["total"] as? Int == 2 && (status["withoutWave"] as? [String: Int])?["legacy"] == 1)
            #expect(try await api.ask(.post, "/v1/waves/shops/rollback", operations).status == 200)
        }
    }

    /// Nobody can connect natively here: no invitation, and no trace of one.
    @Test func anInvitationThatCannotBeLeavesNothing() async throws {
        try await withDesk { operations in
            _ = try await api.ask(.post, "/v1/users", operations, body: #"{"names": ["ann"]}"#)
            #expect(try await api.ask(.post, "/v1/users/ann/invitation", operations, body: "{\"publicKey\": \"\(key)\"}").status == 503)
            let user = try await api.ask(.get, "/v1/users/ann", operations).object
            #expect((user["peers"] as? [Any])?.isEmpty == true && (user["user"] as? [String: Any])?["phase"] as? String == "legacy")
        }
    }

    @Test func aRemovedUserIsListedOnlyWhenAskedFor() async throws {
        try await withDesk { operations in
            _ = try await api.ask(.post, "/v1/users", operations, body: #"{"names": ["ann"]}"#)
            #expect(try await api.ask(.delete, "/v1/users/ann", operations).status == 200)
            #expect((try await api.ask(.get, "/v1/users", operations).object["items"] as? [Any])?.isEmpty == true)
            #expect((try await api.ask(.get, "/v1/users?removed=true", operations).object["items"] as? [Any])?.count == 1)
            #expect(try await api.ask(.post, "/v1/users", operations, body: #"{"names": ["ann"]}"#).object["added"] as? Int == 1)
            #expect((try await api.ask(.get, "/v1/users", operations).object["items"] as? [Any])?.count == 1)
        }
    }
}
