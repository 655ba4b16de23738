/// Lengths of inner IP packets, in turn.
public struct PacketMix: Sendable, Equatable, CustomStringConvertible {
    public let name: String
    public let sizes: [UInt16]

    public static let range: ClosedRange<UInt16> = 52...2048

    /// `64`, `1400`; `imix`: seven packets of 64 octets, four of 570 and one of 1400, so mixed that equals are apart.
    public init?(_ text: String) {
        if text == "imix" {
            sizes = [64, 570, 64, 64, 570, 64, 1400, 64, 570, 64, 570, 64]
        } else if let size = UInt16(text), Self.range.contains(size) {
            sizes = [size]
        } else {
            return nil
        }
        name = text
    }

    public var description: String { name }
    public var mean: Double { sizes.reduce(0) { $0 + Double($1) } / Double(sizes.count) }

    /// nil: none of them is longer than `mtu`.
    public func firstLonger(than mtu: Int) -> UInt16? { sizes.first { Int($0) > mtu } }
}

public enum Direction: String, Sendable, CaseIterable, Codable {
    case toHub = "to-hub"
    case fromHub = "from-hub"
    case both
}

/// One line of the plan: what is sent, and where to.
public struct BenchCase: Sendable, Equatable {
    public enum Load: Sendable, Equatable {
        case udp(PacketMix)
        case tcp
    }

    public var load: Load
    public var direction: Direction

    public init(_ load: Load, _ direction: Direction) {
        self.load = load
        self.direction = direction
    }

    public var name: String {
        switch load {
        case .udp(let mix): "UDP \(mix.name) \(direction.rawValue)"
        case .tcp: "TCP \(direction.rawValue)"
        }
    }

    /// Every mix in every direction, then TCP.
    public static func all(mixes: [PacketMix], directions: [Direction], udp: Bool, tcp: Bool) -> [BenchCase] {
        let datagrams = udp ? mixes.flatMap { mix in directions.map { BenchCase(.udp(mix), $0) } } : []
        return datagrams + (tcp ? directions.map { BenchCase(.tcp, $0) } : [])
    }
}
