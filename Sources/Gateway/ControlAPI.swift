import Foundation
import HTTPTypes
import Hummingbird
import Logging
import NIOCore
import ServiceLifecycle
import Store
import Tokens

/// What the control socket can ask of the running gateway.
protocol Operations: Sendable {
    /// nil while the gateway starts or stops.
    func status() async -> StatusView?
    func sessions() async -> [SessionView]
    func tunnels() async -> [TunnelView]
    func identities() async throws -> [IdentityView]
    func disconnect(session id: UInt64) async -> Bool
    func disconnect(user: String) async -> [UInt64]
    func reload() async throws -> ReloadView
    func diagnosis(of subject: DiagnosisSubject) async -> [DiagnosisView]
    /// nil while there is no store.
    func migration() async -> MigrationDesk?
    /// nil: there are too many subscribers, or the gateway is stopping.
    func subscribe(backlog: Int) async -> Bulletin.Subscription?
    var tokens: TokenFile { get }
    /// Somebody has changed something, or tried to.
    func audit(_ event: NewEvent) async
    /// For the log.
    func note(_ text: String, isAlarm: Bool) async
}

/// HTTP/JSON on a Unix socket (mode 0600), and over TLS with tokens if the configuration says so. Paths carry their version; what is in /v1 stays as it is.
///
///     GET    /v1/status
///     GET    /v1/sessions            ?user=NAME
///     GET    /v1/sessions/{id}
///     DELETE /v1/sessions/{id}
///     DELETE /v1/users/{name}/sessions
///     GET    /v1/tunnels
///     GET    /v1/identities          ?tunnel=NAME
///     POST   /v1/reload
///     GET    /v1/diagnosis           ?session=ID &user=NAME &address=ADDRESS &failed=true
///
/// Users and their migration: ControlAPI+Migration.swift. Tokens: ControlAPI+Tokens.swift; live events: ControlAPI+Events.swift; who may do what: ControlDoor.swift.
/// Errors are `{"error": {"message": …}}` with a 4xx or 5xx status.
struct ControlAPI {
    static func router(_ operations: any Operations, door: ControlDoor = .socket) -> Router<ControlContext> {
        let router = Router(context: ControlContext.self)
        router.addMiddleware {
            ErrorsInWords()
            Doorkeeper(door: door, operations: operations)
        }
        let v1 = router.group("v1")
        v1.get("status") { _, _ in
            guard let status = await operations.status() else {
                throw HTTPError(.serviceUnavailable, message: "the gateway is starting or stopping")
            }
            return try Self.json(status)
        }
        v1.get("tunnels") { _, _ in try Self.json(await operations.tunnels()) }
        v1.get("identities") { request, _ in
            let tunnel = request.uri.queryParameters["tunnel"].map(String.init)
            do {
                return try Self.json(await operations.identities().filter { tunnel == nil || $0.tunnel == tunnel })
            } catch {
                throw HTTPError(.internalServerError, message: "\(error)")
            }
        }
        v1.get("sessions") { request, _ in
            let user = request.uri.queryParameters["user"].map(String.init)
            return try Self.json(await operations.sessions().filter { user == nil || $0.user == user })
        }
        v1.get("sessions/:id") { _, context in
            let id = try context.parameters.require("id", as: UInt64.self)
            guard let session = await operations.sessions().first(where: { $0.id == id }) else { throw Self.noSession(id) }
            return try Self.json(session)
        }
        v1.delete("sessions/:id") { _, context in
            let id = try context.parameters.require("id", as: UInt64.self)
            guard await operations.disconnect(session: id) else { throw Self.noSession(id) }
            return try Self.json(["disconnected": [id]])
        }
        v1.delete("users/:name/sessions") { _, context in
            let name = try context.parameters.require("name")
            let decoded = name.removingPercentEncoding ?? name
            let ended = await operations.disconnect(user: decoded)
            guard !ended.isEmpty else { throw HTTPError(.notFound, message: "user \"\(decoded)\" has no session") }
            return try Self.json(["disconnected": ended])
        }
        v1.post("reload") { _, _ in
            do {
                return try Self.json(try await operations.reload())
            } catch {
                throw HTTPError(.unprocessableContent, message: "\(error)")
            }
        }
        addDiagnosis(to: v1, operations)
        addMigration(to: v1, operations)
        addTokens(to: v1, operations)
        addEvents(to: v1, operations)
        return router
    }

    private static func noSession(_ id: UInt64) -> HTTPError { HTTPError(.notFound, message: "no session \(id)") }

    static var encoder: JSONEncoder {
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
        encoder.dateEncodingStrategy = .iso8601
        return encoder
    }

    static func json(_ value: some Encodable) throws -> Response {
        Response(
            status: .ok, headers: [.contentType: "application/json"], body: ResponseBody(byteBuffer: ByteBuffer(bytes: try encoder.encode(value))))
    }
}

/// An unknown path, or a method that it does not take, is answered in the same form as every other error.
private struct ErrorsInWords: RouterMiddleware {
    typealias Context = ControlContext

    func handle(_ request: Request, context: ControlContext, next: (Request, ControlContext) async throws -> Response) async throws -> Response {
        do {
            return try await next(request, context)
        } catch let error as HTTPError where error.body == nil {
            throw HTTPError(error.status, message: "\(request.method) \(request.uri.path): \(error.status.reasonPhrase.lowercased())")
        }
    }
}
