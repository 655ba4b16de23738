import Addresses

/// A policy routing rule: which packets are looked up in which table, in the order of the priorities.
public struct Rule: Hashable, Sendable {
    public enum Action: Hashable, Sendable {
        case lookup(table: UInt32)
        /// FR_ACT_UNREACHABLE: dropped, and the sender gets ICMP unreachable.
        case unreachable
        /// FR_ACT_BLACKHOLE: dropped without a word.
        case blackhole
        /// Another action (FR_ACT_ number); read back only.
        case other(UInt8)
    }

    public var family: IPAddress.Family
    public var priority: UInt32
    public var source: IPPrefix?
    public var destination: IPPrefix?
    /// Where the packet came in; `lo` is what the host itself sends.
    public var inputInterface: String?
    public var action: Action
    public var origin: UInt8
    /// The rule has more conditions than this type holds (marks, ports, TOS, output interface); read back only.
    public var hasOtherConditions = false

    public init(
        _ family: IPAddress.Family, priority: UInt32, from source: IPPrefix? = nil, to destination: IPPrefix? = nil,
        inputInterface: String? = nil, _ action: Action, origin: UInt8 = RouteOrigin.causeway
    ) {
        self.family = family
        self.priority = priority
        self.source = source
        self.destination = destination
        self.inputInterface = inputInterface
        self.action = action
        self.origin = origin
    }

    static let fixedLength = 12
    static let actionLookup: UInt8 = 1
    static let actionBlackhole: UInt8 = 6
    static let actionUnreachable: UInt8 = 7
    private static let invert: UInt32 = 0x2

    /// nil for messages about something else or another family.
    public init?(_ message: NetlinkMessage) throws {
        guard message.type == RouteMessageType.newRule || message.type == RouteMessageType.deleteRule else { return nil }
        let attributes = try message.attributes(after: Self.fixedLength)
        let payload = message.payload
        guard let family = IPAddress.Family(wire: payload.number(at: 0)) else { return nil }
        let table: UInt32 = try attributes[type: RuleAttribute.table]?.number() ?? UInt32(payload.number(at: 4, as: UInt8.self))
        let action: Action =
            switch payload.number(at: 7, as: UInt8.self) {
            case Self.actionLookup: .lookup(table: table)
            case Self.actionUnreachable: .unreachable
            case Self.actionBlackhole: .blackhole
            case let other: .other(other)
            }
        self.init(
            family, priority: try attributes[type: RuleAttribute.priority]?.number() ?? 0,
            from: try Self.prefix(attributes[type: RuleAttribute.source], length: payload.number(at: 2), family),
            to: try Self.prefix(attributes[type: RuleAttribute.destination], length: payload.number(at: 1), family),
            inputInterface: attributes[type: RuleAttribute.inputInterface]?.text, action,
            origin: try attributes[type: RuleAttribute.protocolNumber]?.number() ?? 0)
        let marked = try attributes[type: RuleAttribute.mark]?.number(UInt32.self) ?? 0
        let simple: Set<UInt16> = [
            RuleAttribute.destination, RuleAttribute.source, RuleAttribute.inputInterface, RuleAttribute.priority,
            RuleAttribute.table,
            RuleAttribute.protocolNumber, Self.suppressPrefixLength, Self.suppressInterfaceGroup, RuleAttribute.mark,
            RuleAttribute.markMask,
        ]
        hasOtherConditions =
            marked != 0 || payload.number(at: 3, as: UInt8.self) != 0 || payload.number(at: 8, as: UInt32.self) & Self.invert != 0
            || attributes.contains { !simple.contains($0.type) }
    }

    private static let suppressInterfaceGroup: UInt16 = 13
    private static let suppressPrefixLength: UInt16 = 14

    private static func prefix(_ attribute: Attribute?, length: UInt8, _ family: IPAddress.Family) throws -> IPPrefix? {
        guard let attribute else { return nil }
        guard let address = IPAddress(bytes: attribute.value), address.family == family,
            let prefix = IPPrefix(containing: address, length: Int(length))
        else { throw MalformedMessage("a rule with a wrong prefix") }
        return prefix
    }
}

extension Rule: CustomStringConvertible {
    public var description: String {
        var words = ["\(priority):", "from \(source.map(\.description) ?? "all")"]
        if let destination { words.append("to \(destination)") }
        if let inputInterface { words.append("iif \(inputInterface)") }
        switch action {
        case .lookup(let table): words.append("lookup \(table)")
        case .unreachable: words.append("unreachable")
        case .blackhole: words.append("blackhole")
        case .other(let number): words.append("action \(number)")
        }
        return words.joined(separator: " ")
    }
}

/// Requests about policy rules (RTM_*RULE).
public enum RuleRequest {
    public static func add(_ rule: Rule) -> NetlinkRequest {
        NetlinkRequest(
            type: RouteMessageType.newRule, flags: NetlinkFlags.create | NetlinkFlags.exclusive, payload: payload(rule),
            operation: "add \(rule.family) rule \(rule)")
    }

    public static func delete(_ rule: Rule) -> NetlinkRequest {
        NetlinkRequest(
            type: RouteMessageType.deleteRule, flags: 0, payload: payload(rule), operation: "delete \(rule.family) rule \(rule)")
    }

    public static func dump(_ family: IPAddress.Family) -> NetlinkRequest {
        // struct fib_rule_hdr: nothing but the family.
        NetlinkRequest(
            type: RouteMessageType.getRule, flags: 0, payload: [family.wire] + [UInt8](repeating: 0, count: 11),
            operation: "list the \(family) rules")
    }

    private static func payload(_ rule: Rule) -> [UInt8] {
        let table: UInt32
        let action: UInt8
        switch rule.action {
        case .lookup(let number): (table, action) = (number, Rule.actionLookup)
        case .unreachable: (table, action) = (0, Rule.actionUnreachable)
        case .blackhole: (table, action) = (0, Rule.actionBlackhole)
        case .other(let number): (table, action) = (0, number)
        }
        var writer = MessageWriter()
        for byte in [
            rule.family.wire, UInt8(rule.destination?.length ?? 0), UInt8(rule.source?.length ?? 0), 0,
            table > 255 ? 0 : UInt8(table), 0, 0,
            action,
        ] { writer.fixed(byte) }
        writer.fixed(UInt32(0))
        writer.attribute(RuleAttribute.priority, number: rule.priority)
        writer.attribute(RuleAttribute.protocolNumber, number: rule.origin)
        if let source = rule.source { writer.attribute(RuleAttribute.source, source.address.bytes) }
        if let destination = rule.destination { writer.attribute(RuleAttribute.destination, destination.address.bytes) }
        if let name = rule.inputInterface { writer.attribute(RuleAttribute.inputInterface, text: name) }
        if table != 0 { writer.attribute(RuleAttribute.table, number: table) }
        return writer.bytes
    }
}
