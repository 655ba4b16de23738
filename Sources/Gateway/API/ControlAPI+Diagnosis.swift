import Addresses
import Hummingbird

// GET /v1/diagnosis ?session=ID &user=NAME &address=ADDRESS &failed=true: what is wrong with live sessions and with attempts that have ended.
extension ControlAPI {
    static func addDiagnosis(to v1: RouterGroup<ControlContext>, _ operations: any Operations) {
        v1.get("diagnosis") { request, _ in
            let query = request.uri.queryParameters
            var subject = DiagnosisSubject()
            subject.user = query["user"].map(String.init)
            if let text = query["session"] {
                guard let id = UInt64(text) else { throw HTTPError(.badRequest, message: "session: \"\(text)\" is no number") }
                subject.session = id
            }
            if let text = query["address"] {
                guard let address = IPAddress(String(text)) else { throw HTTPError(.badRequest, message: "address: \"\(text)\" is no address") }
                subject.address = address
            }
            let all = await operations.diagnosis(of: subject)
            return try Self.json(query["failed"] == "true" ? all.filter { $0.verdicts.contains { $0.severity == .failure } } : all)
        }
    }
}
