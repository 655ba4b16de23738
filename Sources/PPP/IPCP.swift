import Addresses

/// IPCP's options (RFC 1332 section 3, RFC 1877 section 1), both ways.
struct IPCPPolicy: OptionPolicy {
    static let number = PPPProtocol.ipcp

    private static let nameServerTypes = [
        IPCPOption.primaryDNS, IPCPOption.primaryNBNS, IPCPOption.secondaryDNS, IPCPOption.secondaryNBNS,
    ]
    /// RFC 1332 section 4: Van Jacobson, 16 slots, slot identifiers may be compressed.
    private static let vanJacobson = ConfigurationOption(type: IPCPOption.compression, data: [0x00, 0x2D, 0x0F, 0x01])

    private let configuration: PPPConfiguration
    /// Server: what the owner gave.
    var assignment: AddressAssignment?

    // Our request.
    private var asksAddress = true
    private var address: UInt32 = 0
    private var asksCompression = false
    private var nameServers: [UInt8: UInt32] = [:]

    // Outcome.
    private(set) var local: IPAddress?
    private(set) var peer: IPAddress?

    init(configuration: PPPConfiguration) {
        self.configuration = configuration
    }

    mutating func restart(random: inout RandomSource) {
        asksAddress = true
        local = nil
        nameServers = [:]
        asksCompression = false
        switch configuration.role {
        case .server: address = assignment?.local.v4 ?? 0
        case .client:
            address = configuration.requestedAddress?.v4 ?? 0
            asksCompression = configuration.requestsHeaderCompression
            if configuration.requestsNameServers {
                for type in Self.nameServerTypes { nameServers[type] = 0 }
            }
        }
    }

    func request() -> [ConfigurationOption] {
        var options: [ConfigurationOption] = []
        if asksCompression { options.append(Self.vanJacobson) }
        if asksAddress { options.append(ConfigurationOption(type: IPCPOption.address, address)) }
        for type in Self.nameServerTypes {
            if let value = nameServers[type] { options.append(ConfigurationOption(type: type, value)) }
        }
        return options
    }

    // ---- The peer's request ----

    /// The address that a peer's request names, for whoever chooses one.
    static func requestedAddress(_ options: [ConfigurationOption]) -> IPAddress? {
        guard let value = options.first(where: { $0.type == IPCPOption.address })?.uint32, value != 0 else { return nil }
        return IPAddress(v4: value)
    }

    mutating func judge(_ options: [ConfigurationOption], random: inout RandomSource) -> Judgement {
        peer = nil
        var refused = options.repeated
        var wanted: [ConfigurationOption] = []
        var asked: UInt32?
        for option in options {
            switch option.type {
            case IPCPOption.address:
                guard let value = option.uint32 else { refused.append(option); continue }
                asked = value
                if let right = rightAddress(asked: value), right != value {
                    wanted.append(ConfigurationOption(type: IPCPOption.address, right))
                } else if value == 0 {
                    refused.append(option)
                }
            case _ where Self.nameServerTypes.contains(option.type):
                guard let value = option.uint32, let right = nameServer(option.type) else { refused.append(option); continue }
                if right != value { wanted.append(ConfigurationOption(type: option.type, right)) }
            default:
                // Header compression, and IP-Addresses, which RFC 1332 section 3.1 has replaced.
                refused.append(option)
            }
        }
        if !refused.isEmpty { return .reject(options.filter(refused.contains)) }
        // A client that does not name its address is told (RFC 1661 section 5.3: a Nak may bring options that were left out).
        if asked == nil, configuration.role == .server, let right = assignment?.peer.v4 {
            wanted.append(ConfigurationOption(type: IPCPOption.address, right))
        }
        if !wanted.isEmpty { return .nak(wanted) }
        peer = asked.map { IPAddress(v4: $0) }
        return .ack
    }

    /// The address that the peer is to have. A client believes what the server says of itself.
    private func rightAddress(asked: UInt32) -> UInt32? {
        configuration.role == .server ? assignment?.peer.v4 : asked == 0 ? nil : asked
    }

    private func nameServer(_ type: UInt8) -> UInt32? {
        guard let assignment else { return nil }
        let (servers, index) =
            switch type {
            case IPCPOption.primaryDNS: (assignment.dns, 0)
            case IPCPOption.secondaryDNS: (assignment.dns, 1)
            case IPCPOption.primaryNBNS: (assignment.nbns, 0)
            default: (assignment.nbns, 1)
            }
        let v4 = servers.compactMap(\.v4)
        return index < v4.count ? v4[index] : nil
    }

    // ---- The peer's answers ----

    mutating func acknowledged(_ options: [ConfigurationOption]) {
        local = asksAddress && address != 0 ? IPAddress(v4: address) : nil
    }

    mutating func naked(_ options: [ConfigurationOption], random: inout RandomSource) {
        for option in options {
            guard let value = option.uint32 else {
                if option.type == IPCPOption.compression { asksCompression = false }
                continue
            }
            switch option.type {
            // The gateway's own address is not the client's to choose: it stays, and Max-Failure decides.
            case IPCPOption.address: if configuration.role == .client { address = value }
            case IPCPOption.compression: asksCompression = false
            default: if nameServers[option.type] != nil { nameServers[option.type] = value }
            }
        }
    }

    mutating func rejected(_ options: [ConfigurationOption]) {
        for option in options {
            switch option.type {
            case IPCPOption.address: asksAddress = false
            case IPCPOption.compression: asksCompression = false
            default: nameServers[option.type] = nil
            }
        }
    }

    // ---- Outcome ----

    /// Our address and the peer's; nil while one of them is missing. A gateway knows its own even if the peer will not hear it,
    /// and a client can do without the server's.
    var addresses: (local: IPAddress, peer: IPAddress)? {
        switch configuration.role {
        case .server:
            guard let assignment, peer == assignment.peer else { return nil }
            return (assignment.local, assignment.peer)
        case .client:
            guard let local else { return nil }
            return (local, peer ?? .anyV4)
        }
    }

    var dns: [IPAddress] {
        configuration.role == .server ? assignment?.dns ?? [] : told(IPCPOption.primaryDNS, IPCPOption.secondaryDNS)
    }
    var nbns: [IPAddress] {
        configuration.role == .server ? assignment?.nbns ?? [] : told(IPCPOption.primaryNBNS, IPCPOption.secondaryNBNS)
    }
    private func told(_ types: UInt8...) -> [IPAddress] {
        types.compactMap { nameServers[$0] }.filter { $0 != 0 }.map { IPAddress(v4: $0) }
    }
}
