import Diagnosis
import Foundation
import HubObserver
import Hummingbird
import Testing

@testable import Gateway

/// Config/openapi.json says what the gateway does: the same routes with the same scopes, and objects with the same fields.
@Suite struct OpenAPITests {
    // Read once, and only read.
    nonisolated(unsafe) private static let document: [String: Any] = {
        let file = URL(fileURLWithPath: #filePath).deletingLastPathComponent().appendingPathComponent("../../../Config/openapi.json")
        let object = (try? Data(contentsOf: file)).flatMap { try? JSONSerialization.jsonObject(with: $0) }
        return object as? [String: Any] ?? [:]
    }()
    private static var paths: [String: [String: [String: Any]]] { document["paths"] as? [String: [String: [String: Any]]] ?? [:] }
    private static var schemas: [String: [String: Any]] {
        (document["components"] as? [String: Any])?["schemas"] as? [String: [String: Any]] ?? [:]
    }

    // MARK: Routes

    @Test func everyRouteIsDocumentedWithItsScopeAndTheOtherWayRound() throws {
        var documented: [String: String] = [:]
        for (path, operations) in Self.paths {
            for (method, operation) in operations { documented["\(method.uppercased()) \(path)"] = operation["x-scope"] as? String ?? "none" }
        }
        var real: [String: String] = [:]
        for route in ControlAPI.router(FakeOperations()).routes {
            let path = route.path.description
            real["\(route.method) \(path)"] = ControlScope.needed(route.method, path).rawValue
        }
        #expect(real.count > 5)
        #expect(documented == real)
    }

    @Test func everyParameterOfAPathIsDescribed() throws {
        for (path, operations) in Self.paths {
            let wanted = Set(path.split(separator: "/").filter { $0.hasPrefix("{") }.map { String($0.dropFirst().dropLast()) })
            for (method, operation) in operations {
                let parameters = operation["parameters"] as? [[String: Any]] ?? []
                let described = Set(parameters.filter { $0["in"] as? String == "path" }.compactMap { $0["name"] as? String })
                #expect(described == wanted, "\(method) \(path)")
            }
        }
    }

    @Test func everyReferenceLeadsSomewhere() throws {
        let text = String(decoding: try JSONSerialization.data(withJSONObject: Self.document, options: .withoutEscapingSlashes), as: UTF8.self)
        let names = Set(text.matches(of: /"#\/components\/schemas\/([A-Za-z]+)"/).map { String($0.1) })
        #expect(names.isSubset(of: Self.schemas.keys))
        // And nothing is described that nobody uses.
        #expect(Set(Self.schemas.keys) == names)
    }

    // MARK: Objects

    private static let types: [String: any (Codable & Sendable).Type] = [
        "Status": StatusView.self, "Store": StoreView.self, "GRE": GREView.self, "WireGuardEngine": WireGuardView.self, "Access": AccessView.self, "Webhook": WebhookView.self,
        "Tunnel": TunnelView.self, "Hub": HubView.self, "IdentityCounts": IdentityCounts.self, "Peer": PeerView.self, "Session": SessionView.self,
        "Device": DeviceView.self, "Identity": IdentityView.self, "Reload": ReloadView.self, "Token": TokenView.self, "NewToken": NewToken.self,
        "TokenCreated": TokenCreatedView.self, "Event": EventView.self,
        "User": UserView.self, "Exemption": ExemptionView.self, "UserDetail": UserDetailView.self, "KnownDevice": KnownDeviceView.self,
        "PastSession": PastSessionView.self, "PeerLink": LinkView.self, "PhaseChange": PhaseChangeView.self, "Migration": MigrationView.self,
        "Trend": TrendView.self, "Blocker": BlockerView.self, "DeviceCount": DeviceCountView.self, "Wave": WaveView.self, "Policy": PolicyView.self,
        "Invitation": InvitationView.self, "UserPage": PageView<UserView>.self, "PeerPage": PageView<LinkView>.self, "PeerSighting": PeerSighting.self, "Observation": ObservationReport.self, "Members": ControlAPI.Members.self,
        "NewUsers": ControlAPI.NewUsers.self, "UserChange": ControlAPI.UserChange.self, "PhaseOrder": ControlAPI.PhaseOrder.self,
        "Reason": ControlAPI.Reason.self, "ExemptionOrder": ControlAPI.ExemptionOrder.self, "InvitationOrder": ControlAPI.InvitationOrder.self,
        "NewWave": ControlAPI.NewWave.self, "WaveOrder": ControlAPI.WaveOrder.self, "HandOver": HandOverView.self,
        "TakeBackOrder": ControlAPI.TakeBackOrder.self,
        "Diagnosis": DiagnosisView.self, "Verdict": Verdict.self, "Attempt": Attempt.self, "AttemptGRE": Attempt.GRE.self, "Negotiation": Negotiation.self,
        "NegotiationExchange": Negotiation.Exchange.self, "AttemptEncryption": Attempt.Encryption.self, "AttemptNeighbours": Attempt.Neighbours.self,
        "AttemptPath": Attempt.Path.self, "AttemptTunnel": Attempt.Tunnel.self,
    ]
    /// Without a type of their own.
    private static let loose: Set = ["Disconnected", "Revoked", "Error", "Scope", "Done", "Added", "ToInvite", "Known"]

    @Test func everyObjectHasItsType() { #expect(Set(Self.schemas.keys) == Set(Self.types.keys).union(Self.loose)) }

    /// An object made from its description is read and written again without loss; a field that is required is missed, one that is not is
    /// not; and the type has no field that is not described.
    @Test(arguments: Array(types.keys).sorted()) func descriptionAndTypeAgree(name: String) throws {
        let schema = try #require(Self.schemas[name]), type = try #require(Self.types[name])
        let properties = try #require(schema["properties"] as? [String: Any])
        let required = Set(schema["required"] as? [String] ?? [])
        let full = try #require(Self.example(schema) as? [String: Any])
        #expect(Set(full.keys) == Set(properties.keys))
        #expect(try Self.throughType(full, type) as NSDictionary == full as NSDictionary)
        let least = full.filter { required.contains($0.key) }
        #expect(try Self.throughType(least, type) as NSDictionary == least as NSDictionary)
        for key in required {
            #expect(throws: DecodingError.self, "\(key) is not required by the type") { try Self.throughType(full.filter { $0.key != key }, type) }
        }
        #expect(Set(try Self.fields(full, type)) == Set(properties.keys))
    }

    private static func throughType<Value: Codable>(_ object: [String: Any], _ type: Value.Type) throws -> [String: Any] {
        let written = try ControlAPI.encoder.encode(try decode(object, type))
        return try JSONSerialization.jsonObject(with: written) as? [String: Any] ?? [:]
    }
    private static func fields<Value: Codable>(_ object: [String: Any], _ type: Value.Type) throws -> [String] {
        Mirror(reflecting: try decode(object, type)).children.compactMap(\.label)
    }
    private static func decode<Value: Codable>(_ object: [String: Any], _ type: Value.Type) throws -> Value {
        let decoder = JSONDecoder()
        decoder.dateDecodingStrategy = .iso8601
        return try decoder.decode(type, from: try JSONSerialization.data(withJSONObject: object))
    }

    /// A value with everything that its description has.
    private static func example(_ schema: [String: Any]) -> Any {
        if let reference = schema["$ref"] as? String { return example(schemas[String(reference.split(separator: "/").last!)] ?? [:]) }
        if let parts = schema["allOf"] as? [[String: Any]] { return example(parts[0]) }
        if let first = (schema["enum"] as? [String])?.first { return first }
        switch (schema["type"] as? String, schema["format"] as? String) {
        case ("string", "date-time"): return "2023-11-14T22:13:20Z"
        case ("string", "ip"): return "10.8.0.10"
        case ("string", "ip-prefix"): return "10.8.0.0/16"
        case ("string", "wireguard-key"): return "BVRY7rX7NNpEyU+muJystZtvwvE01iwPz7+uPHvcuSY="
        case ("string", _): return "a text"
        case ("number", _): return 1.5
        case ("integer", _): return 3
        case ("boolean", _): return true
        case ("array", _): return [example(schema["items"] as? [String: Any] ?? [:])]
        default:
            if let values = schema["additionalProperties"] as? [String: Any] { return ["name": example(values)] }
            return (schema["properties"] as? [String: [String: Any]] ?? [:]).mapValues(example)
        }
    }
}
