import Foundation
import HTTPTypes
import HubObserver
import Hummingbird
import Identities
import Migration
import Store
import WireGuard

/// Users, and where they stand on their way to WireGuard. Names in paths are percent-encoded; dates are ISO 8601.
///
///     GET    /v1/users                     ?phase= &wave= &prefix= &removed=true &after= &limit=   pages of at most 1000
///     POST   /v1/users                     {"names": [...], "origin": "import"}; those who are known are left alone
///     GET    /v1/users/{name}
///     PATCH  /v1/users/{name}              {"note": ...}
///     DELETE /v1/users/{name}              takes the user's peer away; the history stays
///     PUT    /v1/users/{name}/phase        {"phase": ..., "reason": ...}
///     POST   /v1/users/{name}/rollback     {"reason": ...}
///     POST   /v1/users/{name}/release
///     PUT    /v1/users/{name}/exemption    {"until": ..., "reason": ...}          DELETE takes it away
///     POST   /v1/users/{name}/invitation   {"publicKey": ..., "replace": false}   DELETE withdraws it
///     POST   /v1/users/{name}/hand-over              answers the user's own private key, once; .../confirmation wipes it here
///     POST   /v1/users/{name}/take-back              {"newKey": false}
///     GET    /v1/peers                     ?user= &after= &limit=
///     GET    /v1/migration
///     GET    /v1/migration/report          ?format=screen|text|json|csv|html &since=
///     POST   /v1/observations              what `causeway observe` saw on a hub
///     GET    /v1/waves
///     POST   /v1/waves                     {"name": ..., "invitesOnStart": true, "policy": {...}}
///     PUT    /v1/waves/{name}/policy       {...}
///     POST   /v1/waves/{name}/members      {"users": [...]}
///     POST   /v1/waves/{name}/{command}    schedule {"at": ...}, start, pause, rollback; answers {"toInvite": [...]}
///     GET    /v1/policies                  of phases; PUT and DELETE /v1/policies/{phase}
///
/// Who asks stands in the history (ControlDoor.swift).
extension ControlAPI {
    typealias Group = RouterGroup<ControlContext>

    struct Members: Codable, Sendable { var users: [String] }
    struct NewUsers: Codable, Sendable { var names: [String], origin: UserOrigin? }
    struct UserChange: Codable, Sendable { var note: String? }
    struct PhaseOrder: Codable, Sendable { var phase: Phase, reason: String }
    struct Reason: Codable, Sendable { var reason: String }
    struct ExemptionOrder: Codable, Sendable { var until: Date, reason: String }
    struct InvitationOrder: Codable, Sendable { var publicKey: PublicKey, replace: Bool? }
    struct TakeBackOrder: Codable, Sendable { var newKey: Bool? }
    struct NewWave: Codable, Sendable { var name: String, invitesOnStart: Bool?, policy: PolicyView? }
    struct WaveOrder: Codable, Sendable { var at: Date? }

    static func addMigration(to v1: Group, _ operations: any Operations) {
        addUsers(to: v1, operations)
        addHandOver(to: v1, operations)
        addWaves(to: v1, operations)
        v1.get("migration") { _, _ in try await answer(operations) { try await $0.status() } }
        v1.get("migration/report") { request, _ in
            let query = request.uri.queryParameters
            guard let form = ReportForm(rawValue: query["format"].map(String.init) ?? "text") else {
                throw HTTPError(.badRequest, message: "format: one of \(ReportForm.allCases.map(\.rawValue).joined(separator: ", "))")
            }
            let since = try query["since"].map { text in
                guard let date = try? Date(String(text), strategy: .iso8601) else { throw HTTPError(.badRequest, message: "since: expected a time such as 2027-01-31T00:00:00Z") }
                return date
            }
            return try await asked(operations) { try form.response(try await $0.report(since: since, withUsers: form.listsUsers)) }
        }
        v1.get("peers") { request, _ in
            let query = request.uri.queryParameters
            return try await answer(operations) { try await $0.peers(of: query["user"].map(String.init), after: try place(query["after"]), limit: try limit(query["limit"])) }
        }
        v1.post("observations") { request, context in
            let report = try await body(request, context, as: ObservationReport.self)
            return try await answer(operations) { ["known": try await $0.observed(report)] }
        }
    }

    private static func addUsers(to v1: Group, _ operations: any Operations) {
        v1.get("users") { request, _ in
            let query = request.uri.queryParameters
            var filter = UserFilter(wave: query["wave"].map(String.init), prefix: query["prefix"].map(String.init), includesRemoved: query["removed"] == "true")
            if let phase = query["phase"] { filter.phase = try phaseNamed(String(phase)) }
            let limit = try limit(query["limit"])
            return try await answer(operations) { [filter] in try await $0.users(filter, after: query["after"].map(String.init), limit: limit) }
        }
        v1.post("users") { request, context in
            let new = try await body(request, context, as: NewUsers.self)
            guard new.names.allSatisfy({ (1...255).contains($0.utf8.count) }) else { throw HTTPError(.badRequest, message: "a user name has 1 to 255 bytes") }
            return try await answer(operations) { ["added": try await $0.add(new.names, origin: new.origin ?? .command, by: context.caller.actor)] }
        }
        v1.get("users/:name") { _, context in
            let name = try name(context)
            return try await answer(operations) { try await $0.user(name) }
        }
        v1.delete("users/:name") { request, context in
            let name = try name(context)
            return try await done(operations) { try await $0.remove(name, by: context.caller.actor) }
        }
        v1.patch("users/:name") { request, context in
            let name = try name(context), change = try await body(request, context, as: UserChange.self)
            return try await done(operations) { if let note = change.note { try await $0.set(note: note, of: name, by: context.caller.actor) } }
        }
        v1.put("users/:name/phase") { request, context in
            let name = try name(context), order = try await body(request, context, as: PhaseOrder.self)
            return try await done(operations) { try await $0.set(order.phase, of: name, reason: order.reason, by: context.caller.actor) }
        }
        v1.post("users/:name/rollback") { request, context in
            let name = try name(context), order = try await body(request, context, as: Reason.self)
            return try await done(operations) { try await $0.rollBack(name, reason: order.reason, by: context.caller.actor) }
        }
        v1.post("users/:name/release") { request, context in
            let name = try name(context)
            return try await done(operations) { try await $0.release(name, by: context.caller.actor) }
        }
        v1.put("users/:name/exemption") { request, context in
            let name = try name(context), order = try await body(request, context, as: ExemptionOrder.self)
            return try await done(operations) { try await $0.exempt(name, until: order.until, reason: order.reason, by: context.caller.actor) }
        }
        v1.delete("users/:name/exemption") { request, context in
            let name = try name(context)
            return try await done(operations) { try await $0.exempt(name, until: nil, reason: "", by: context.caller.actor) }
        }
        v1.post("users/:name/invitation") { request, context in
            let name = try name(context), order = try await body(request, context, as: InvitationOrder.self)
            return try await answer(operations) {
                try await $0.invite(name, publicKey: order.publicKey, replacing: order.replace ?? false, by: context.caller.actor)
            }
        }
        v1.delete("users/:name/invitation") { request, context in
            let name = try name(context)
            return try await done(operations) { try await $0.withdraw(name, by: context.caller.actor) }
        }
    }

    private static func addHandOver(to v1: Group, _ operations: any Operations) {
        v1.post("users/:name/hand-over") { _, context in
            let name = try name(context)
            var response = try await answer(operations) { try await $0.handOver(name, by: context.caller.actor) }
            response.headers[.cacheControl] = "no-store"
            return response
        }
        v1.post("users/:name/hand-over/confirmation") { _, context in
            let name = try name(context)
            return try await done(operations) { try await $0.confirmHandOver(name) }
        }
        v1.post("users/:name/take-back") { request, context in
            let name = try name(context), order = try await body(request, context, as: TakeBackOrder.self)
            return try await done(operations) { try await $0.takeBack(name, renewing: order.newKey ?? false, by: context.caller.actor) }
        }
    }

    private static func addWaves(to v1: Group, _ operations: any Operations) {
        v1.get("waves") { _, _ in try await answer(operations) { try await $0.waves() } }
        v1.post("waves") { request, context in
            let new = try await body(request, context, as: NewWave.self)
            guard (1...64).contains(new.name.utf8.count) else { throw HTTPError(.badRequest, message: "a wave's name has 1 to 64 bytes") }
            let wave = Wave(name: new.name, policy: try policy(new.policy ?? PolicyView()), invitesOnStart: new.invitesOnStart ?? true)
            return try await done(operations) { try await $0.create(wave, by: context.caller.actor) }
        }
        v1.post("waves/:name/members") { request, context in
            let name = try name(context), members = try await body(request, context, as: Members.self)
            return try await done(operations) { try await $0.assign(members.users, to: name, by: context.caller.actor) }
        }
        v1.put("waves/:name/policy") { request, context in
            let name = try name(context), policy = try policy(try await body(request, context, as: PolicyView.self))
            return try await done(operations) { _ = try await $0.command(.policy(policy), wave: name, by: context.caller.actor) }
        }
        v1.post("waves/:name/:command") { request, context in
            let name = try name(context)
            let command: MigrationDesk.WaveCommand
            switch context.parameters.get("command") {
            case "schedule":
                guard let at = try await body(request, context, as: WaveOrder.self).at else { throw HTTPError(.badRequest, message: "at is missing") }
                command = .schedule(at)
            case "start": command = .start
            case "pause": command = .pause
            case "rollback": command = .rollBack
            default: throw HTTPError(.notFound)
            }
            return try await answer(operations) { ["toInvite": try await $0.command(command, wave: name, by: context.caller.actor)] }
        }
        v1.get("policies") { _, _ in try await answer(operations) { try await $0.policies() } }
        v1.put("policies/:phase") { request, context in
            let phase = try phaseNamed(try context.parameters.require("phase"))
            let policy = try policy(try await body(request, context, as: PolicyView.self))
            return try await done(operations) { try await $0.set(policy, of: phase, by: context.caller.actor) }
        }
        v1.delete("policies/:phase") { request, context in
            let phase = try phaseNamed(try context.parameters.require("phase"))
            return try await done(operations) { try await $0.set(nil, of: phase, by: context.caller.actor) }
        }
    }

    // MARK: -

    private static func answer<Value: Encodable & Sendable & SendableMetatype>(
        _ operations: any Operations, _ body: @Sendable (MigrationDesk) async throws -> Value
    ) async throws -> Response {
        try await asked(operations) { try json(try await body($0)) }
    }

    private static func asked(_ operations: any Operations, _ body: @Sendable (MigrationDesk) async throws -> Response) async throws -> Response {
        guard let desk = await operations.migration() else {
            throw HTTPError(.serviceUnavailable, message: "this gateway writes nothing down (store.enabled = false), or is starting or stopping")
        }
        do { return try await body(desk) } catch let error as StoreError {
            throw HTTPError(error.status, message: "\(error)")
        } catch let error as GatewayError {
            throw HTTPError(.conflict, message: "\(error)")
        } catch let error as IdentityError {
            throw HTTPError(.conflict, message: "\(error)")
        }
    }

    private static func done(_ operations: any Operations, _ body: @Sendable (MigrationDesk) async throws -> Void) async throws -> Response {
        try await answer(operations) { desk in
            try await body(desk)
            return ["done": true]
        }
    }

    private static func limit(_ text: Substring?) throws -> Int {
        guard let limit = text.map({ Int($0) }) ?? 100, (1...1000).contains(limit) else { throw HTTPError(.badRequest, message: "limit: 1 to 1000") }
        return limit
    }
    private static func place(_ text: Substring?) throws -> Int64? {
        guard let text else { return nil }
        guard let place = Int64(text) else { throw HTTPError(.badRequest, message: "after: what an earlier page gave as next") }
        return place
    }

    /// A list of 50,000 users is some megabytes.
    private static let longestBody = 16 << 20

    private static func body<Value: Decodable>(_ request: Request, _ context: ControlContext, as type: Value.Type) async throws -> Value {
        let buffer = try await request.body.collect(upTo: longestBody)
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        do { return try decoder.decode(type, from: Data(buffer.readableBytesView)) } catch {
            throw HTTPError(.badRequest, message: "the request's JSON is not what it should be: \(error)")
        }
    }

    private static func name(_ context: ControlContext) throws -> String {
        let name = try context.parameters.require("name")
        return name.removingPercentEncoding ?? name
    }

    private static func phaseNamed(_ text: String) throws -> Phase {
        guard let phase = Phase(rawValue: text) else {
            throw HTTPError(.badRequest, message: "\"\(text)\" is no phase: one of \(Phase.allCases.map(\.rawValue).joined(separator: ", "))")
        }
        return phase
    }

    private static func policy(_ view: PolicyView) throws -> Policy {
        do { return try view.policy() } catch { throw HTTPError(.badRequest, message: "hours: \(error)") }
    }
}

extension StoreError {
    fileprivate var status: HTTPResponse.Status {
        switch self {
        case .noSuch: .notFound
        case .addressTaken, .alreadyConnected, .keyTaken, .exists, .unfit, .violates: .conflict
        case .unavailable, .unanswered, .unusable: .serviceUnavailable
        }
    }
}
