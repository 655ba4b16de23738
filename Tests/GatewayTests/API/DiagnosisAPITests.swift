import Foundation
import Testing

@testable import Gateway

@Suite struct DiagnosisAPITests {
    private func ask(_ query: String) async throws -> ControlAPITests.Answer { try await ControlAPITests().ask(.get, "/v1/diagnosis\(query)") }

    @Test func names() async throws {
        let answer = try await ask("?session=5")
        #expect(answer.status == 200)
        let view = try #require(answer.list.first)
        #expect(Set(view.keys) == ["session", "connection", "startedAt", "attempt", "verdicts"])
        let verdict = try #require((view["verdicts"] as? [[String: Any]])?.first)
        #expect(Set(verdict.keys) == ["name", "severity", "evidence", "next", "commands"])
        #expect(verdict["name"] as? String == "gre-blocked-inbound")
        #expect(verdict["severity"] as? String == "failure")
    }

    @Test(arguments: [("", [1, 5]), ("?user=ann", [1]), ("?session=5", [5]), ("?address=198.51.100.8", [5]), ("?failed=true", [5]), ("?user=nobody", [])])
    func filters(_ query: String, _ sessions: [Int]) async throws {
        #expect(try await ask(query).list.compactMap { $0["session"] as? Int } == sessions)
    }

    @Test(arguments: ["?session=x", "?address=1.2.3"]) func nonsense(_ query: String) async throws {
        let answer = try await ask(query)
        #expect(answer.status == 400)
        #expect(answer.error?.contains("is no") == true)
    }
}
