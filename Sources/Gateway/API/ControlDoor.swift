import Addresses
import Authentication
import Foundation
import HTTPTypes
import Hummingbird
import Migration
import Store
import Tokens

/// How requests come in, and what makes them welcome.
enum ControlDoor: Sendable {
    /// The file system has decided: the socket's mode is 0600.
    case socket
    /// A bearer token (RFC 6750) over TLS.
    case tokens(TokenGuard)
}

/// Decides who a bearer is. Failures are counted by source: guessing gets slower and slower, and locks nobody else out.
actor TokenGuard {
    enum Verdict: Equatable {
        case accepted(Token)
        case refused
        case tooManyFailures
    }

    let tokens: TokenFile
    private var limiter: LoginLimiter

    init(_ tokens: TokenFile, limits: LoginLimiter.Limits = LoginLimiter.Limits(failures: 10, lockTime: .seconds(60))) {
        self.tokens = tokens
        limiter = LoginLimiter(limits: limits)
    }

    func verdict(on text: String?, from source: IPAddress, now: ContinuousClock.Instant = .now) async throws(TokenError) -> Verdict {
        guard limiter.permits(user: [], source: source, now: now) else { return .tooManyFailures }
        if let text, let token = try await tokens.bearer(of: text) {
            limiter.succeeded(user: [], source: source)
            return .accepted(token)
        }
        limiter.failed(user: [], source: source, now: now)
        return .refused
    }
}

/// Before every route: who asks, and whether they may; after every change: a line in the log and in the history.
struct Doorkeeper: RouterMiddleware {
    typealias Context = ControlContext

    let door: ControlDoor
    let operations: any Operations

    /// What our own command line says about whoever runs it. Over the socket everybody could be root anyway: it is for the history alone.
    static let actorField = HTTPField.Name("Causeway-Actor")!

    func handle(
        _ request: Request, context: ControlContext, next: (Request, ControlContext) async throws -> Response
    ) async throws -> Response {
        var context = context
        context.caller = try await caller(of: request, context)
        let needed = ControlScope.needed(request.method, context.endpointPath)
        guard let scope = context.caller.scope, scope >= needed else {
            throw HTTPError(.forbidden, message: "this needs a token with scope \(needed.rawValue); this one's is \(context.caller.scope?.rawValue ?? "none")")
        }
        guard needed > .read else { return try await next(request, context) }
        do {
            let response = try await next(request, context)
            await audit(request, context, "\(response.status.code)")
            return response
        } catch {
            await audit(request, context, (error as? any HTTPResponseError).map { "\($0.status.code)" } ?? "\(error)")
            throw error
        }
    }

    private func caller(of request: Request, _ context: ControlContext) async throws -> Caller {
        guard case .tokens(let guardian) = door else {
            let name = (request.headers[Self.actorField] ?? "").filter { $0.isASCII && !$0.isWhitespace }.prefix(64)
            return Caller(actor: Actor(name: String(name), source: "socket"), scope: .admin)
        }
        guard let source = context.remoteAddress else { throw HTTPError(.forbidden, message: "nobody knows where this comes from") }
        let verdict: TokenGuard.Verdict
        do throws(TokenError) { verdict = try await guardian.verdict(on: Self.bearer(of: request), from: source) } catch {
            await operations.note("control API: tokens cannot be read, nobody is let in: \(error)", isAlarm: true)
            throw HTTPError(.serviceUnavailable, message: "tokens cannot be checked; the gateway's log says why")
        }
        switch verdict {
        case .accepted(let token): return Caller(actor: Actor(name: token.name, source: "\(source)"), scope: token.scope)
        case .tooManyFailures:
            throw HTTPError(.tooManyRequests, headers: [.retryAfter: "60"], message: "too many wrong tokens from your address; try again later")
        case .refused:
            await operations.note("control API: \(request.method) \(request.uri.path) from \(source): no valid token", isAlarm: true)
            throw HTTPError(.unauthorized, headers: [.wwwAuthenticate: "Bearer"], message: "a valid token is needed (Authorization: Bearer ...)")
        }
    }

    /// RFC 9110 section 11.4: the scheme's name in any case.
    private static func bearer(of request: Request) -> String? {
        guard let field = request.headers[.authorization], field.utf8.count <= 512 else { return nil }
        let parts = field.split(separator: " ", maxSplits: 1)
        guard parts.count == 2, parts[0].lowercased() == "bearer" else { return nil }
        return parts[1].trimmingCharacters(in: .whitespaces)
    }

    private func audit(_ request: Request, _ context: ControlContext, _ outcome: String) async {
        await operations.audit(
            NewEvent(
                at: SessionController.unixTime, actor: context.caller.actor, kind: "api",
                text: "\(request.method) \(request.uri.path): \(outcome)"))
    }
}

/// What each route needs. A change that is not named here is for administrators.
enum ControlScope {
    private static let operate: Set = [
        "DELETE /v1/sessions/{id}", "DELETE /v1/users/{name}/sessions", "POST /v1/reload",
        // One user's migration; everybody's (waves, policies) and who is known are for administrators.
        "PATCH /v1/users/{name}", "PUT /v1/users/{name}/phase", "POST /v1/users/{name}/rollback", "POST /v1/users/{name}/release",
        "PUT /v1/users/{name}/exemption", "DELETE /v1/users/{name}/exemption", "POST /v1/users/{name}/invitation",
        "DELETE /v1/users/{name}/invitation", "POST /v1/observations",
    ]
    /// Who has tokens is no business of everybody who has one.
    private static let adminOnly: Set = ["GET /v1/tokens"]

    static func needed(_ method: HTTPRequest.Method, _ path: String?) -> TokenScope {
        let route = "\(method.rawValue) \(path ?? "")"
        if adminOnly.contains(route) { return .admin }
        if method == .get || method == .head { return .read }
        return operate.contains(route) ? .operate : .admin
    }
}
