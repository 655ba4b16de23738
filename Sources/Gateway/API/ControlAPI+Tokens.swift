import Foundation
import HTTPTypes
import Hummingbird
import Tokens

//     GET    /v1/tokens
//     POST   /v1/tokens            {"name": …, "scope": …, "days": …}
//     DELETE /v1/tokens/{name}
extension ControlAPI {
    static func addTokens(to v1: RouterGroup<ControlContext>, _ operations: any Operations) {
        v1.get("tokens") { _, _ in try json(try await answering { try await operations.tokens.tokens() }.map(TokenView.init)) }
        v1.post("tokens") { request, context in
            let wanted = try await body(of: request, context, as: NewToken.self)
            if let days = wanted.days, !(1...3650).contains(days) { throw HTTPError(.badRequest, message: "days: expected 1 to 3650") }
            let made = try await answering {
                try await operations.tokens.create(wanted.name, wanted.scope, lifetime: wanted.days.map { Int64($0) * 86_400 })
            }
            return try json(TokenCreatedView(token: TokenView(made.token), text: made.text))
        }
        v1.delete("tokens/:name") { _, context in
            let name = try context.parameters.require("name")
            let decoded = name.removingPercentEncoding ?? name
            try await answering { try await operations.tokens.revoke(decoded) }
            return try json(["revoked": decoded])
        }
    }

    private static func answering<Value: Sendable>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch let error as TokenError {
            let status: HTTPResponse.Status =
                switch error {
                case .badName: .badRequest
                case .nameTaken, .tooMany: .conflict
                case .unknown: .notFound
                case .file: .internalServerError
                }
            throw HTTPError(status, message: "\(error)")
        }
    }

    /// What a request says in JSON; what is wrong with it in words.
    static func body<Value: Decodable>(of request: Request, _ context: ControlContext, as type: Value.Type) async throws -> Value {
        let bytes = try await request.body.collect(upTo: 1 << 20)
        do { return try JSONDecoder().decode(type, from: Data(bytes.readableBytesView)) } catch let error as DecodingError {
            throw HTTPError(.badRequest, message: "the body is not what is expected here: \(words(of: error))")
        }
    }

    private static func words(of error: DecodingError) -> String {
        func place(_ context: DecodingError.Context) -> String { context.codingPath.map(\.stringValue).joined(separator: ".") }
        switch error {
        case .keyNotFound(let key, _): return "\"\(key.stringValue)\" is missing"
        case .typeMismatch(_, let context), .valueNotFound(_, let context): return "\"\(place(context))\" is of another kind"
        case .dataCorrupted(let context): return context.codingPath.isEmpty ? "it is not JSON" : "\"\(place(context))\": \(context.debugDescription)"
        @unknown default: return "\(error)"
        }
    }
}

/// `POST /v1/tokens`.
public struct NewToken: Codable, Sendable {
    public var name: String
    public var scope: TokenScope
    /// Until it expires; nil: never.
    public var days: Int?

    public init(name: String, scope: TokenScope, days: Int?) {
        self.name = name
        self.scope = scope
        self.days = days
    }
}

/// A token as administrators see it: without what its bearer shows.
public struct TokenView: Codable, Sendable, Equatable {
    public var name: String
    /// `read`, `operate` or `admin`.
    public var scope: TokenScope
    public var createdAt: Date
    /// nil: never.
    public var expiresAt: Date?
    public var expired: Bool

    init(_ token: Token) {
        name = token.name
        scope = token.scope
        createdAt = Date(timeIntervalSince1970: Double(token.createdAt))
        expiresAt = token.expiresAt.map { Date(timeIntervalSince1970: Double($0)) }
        expired = token.isExpired(at: Int64(Date().timeIntervalSince1970))
    }
}

/// The only answer that ever has the token's text.
public struct TokenCreatedView: Codable, Sendable, Equatable {
    public var token: TokenView
    public var text: String
}
