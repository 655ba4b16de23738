import CLoad

/// What happens to the GRE packets between clients and gateway, each way, by chance: `loss` percent of them vanish; of the others,
/// `reorder` percent are held until 1 to `places` others have passed.
public struct WireFaults: Codable, Sendable, Equatable {
    public var loss: Double
    public var reorder: Double
    public var places: Int

    public static let mostPlaces = Int(CLOAD_MOST_PLACES)
    /// Those of `--reorder` without a second number.
    public static let defaultPlaces = 8

    /// nil: these are no percentages, or the places are out of range.
    public init?(loss: Double = 0, reorder: Double = 0, places: Int = defaultPlaces) {
        guard (0..<100).contains(loss), (0...100).contains(reorder), (1...Self.mostPlaces).contains(places) else { return nil }
        self.loss = loss
        self.reorder = reorder
        self.places = places
    }

    /// `5` or `5:8`: percent, and places.
    public init?(reordering text: String) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard (1...2).contains(parts.count), let percent = Double(parts[0]), let places = parts.count == 1 ? Self.defaultPlaces : Int(parts[1]) else { return nil }
        self.init(reorder: percent, places: places)
    }

    /// They change nothing.
    public var isNone: Bool { loss == 0 && reorder == 0 }

    public var description: String {
        let parts = [
            loss > 0 ? "\(Self.text(loss)) % lost" : nil, reorder > 0 ? "\(Self.text(reorder)) % overtaken by up to \(places)" : nil,
        ].compactMap(\.self)
        return parts.isEmpty ? "none" : parts.joined(separator: ", ")
    }

    private static func text(_ percent: Double) -> String { percent == percent.rounded() ? "\(Int(percent))" : "\(percent)" }
}
