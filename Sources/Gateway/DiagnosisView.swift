import Addresses
import Diagnosis
import Foundation

/// What is to be said of one attempt: `GET /v1/diagnosis`, `causeway diagnose`. Field names are part of the API.
public struct DiagnosisView: Codable, Sendable, Equatable {
    /// nil: it never came to a call.
    public var session: UInt64?
    public var connection: UInt64
    public var user: String?
    public var startedAt: Date
    /// nil: it lives.
    public var endedAt: Date?
    public var attempt: Attempt
    /// The most telling first; none: nothing is wrong.
    public var verdicts: [Verdict]
}

/// Whom a question is about; nothing: everybody.
struct DiagnosisSubject: Sendable {
    var session: UInt64?
    var user: String?
    var address: IPAddress?

    func matches(_ session: UInt64?, _ user: String?, _ address: IPAddress) -> Bool {
        (self.session == nil || self.session == session) && (self.user == nil || self.user == user) && (self.address == nil || self.address == address)
    }
}
