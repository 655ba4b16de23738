/// Grouped horizontal bars as SVG: a group for each case, a bar for each series, with the range of the rounds.
public struct BarPlot {
    public struct Bar {
        public var value: Double
        public var least: Double
        public var greatest: Double

        public init(value: Double, least: Double, greatest: Double) {
            self.value = value
            self.least = least
            self.greatest = greatest
        }
    }

    public var title: String
    public var series: [String]
    /// Name and the series' bars, nil where there is none.
    public var groups: [(name: String, bars: [Bar?])]

    public init(title: String, series: [String], groups: [(name: String, bars: [Bar?])]) {
        self.title = title
        self.series = series
        self.groups = groups
    }

    private static let barHeight = 14, groupGap = 10, labelWidth = 170, plotWidth = 470, valueWidth = 150, titleHeight = 26

    public var svg: String {
        let greatest = groups.flatMap(\.bars).compactMap { $0?.greatest }.max() ?? 0
        guard greatest > 0 else { return "" }
        let groupHeight = series.count * Self.barHeight + Self.groupGap
        let height = Self.titleHeight + groups.count * groupHeight + (series.count > 1 ? 22 : 4)
        let width = Self.labelWidth + Self.plotWidth + Self.valueWidth
        func scaled(_ value: Double) -> String { tenth(value / greatest * Double(Self.plotWidth)) }
        var body = "<text class=\"title\" x=\"0\" y=\"16\">\(escaped(title))</text>"
        for (row, group) in groups.enumerated() {
            let top = Self.titleHeight + row * groupHeight
            body += "<text x=\"\(Self.labelWidth - 8)\" y=\"\(top + series.count * Self.barHeight / 2 + 4)\" text-anchor=\"end\">\(escaped(group.name))</text>"
            for (index, bar) in group.bars.enumerated() {
                guard let bar else { continue }
                let y = top + index * Self.barHeight
                let middle = y + Self.barHeight / 2 - 1
                body += "<rect class=\"s\(index % HTMLPage.colours)\" x=\"\(Self.labelWidth)\" y=\"\(y)\" width=\"\(scaled(bar.value))\" height=\"\(Self.barHeight - 2)\"/>"
                let from = tenth(Double(Self.labelWidth) + bar.least / greatest * Double(Self.plotWidth))
                let to = tenth(Double(Self.labelWidth) + bar.greatest / greatest * Double(Self.plotWidth))
                if bar.least < bar.greatest { body += "<line class=\"range\" x1=\"\(from)\" x2=\"\(to)\" y1=\"\(middle)\" y2=\"\(middle)\"/>" }
                body += "<text class=\"value\" x=\"\(tenth(Double(Self.labelWidth + 6) + bar.greatest / greatest * Double(Self.plotWidth)))\" y=\"\(middle + 4)\">\(number(bar.value))</text>"
            }
        }
        if series.count > 1 {
            var x = Self.labelWidth
            for (index, name) in series.enumerated() {
                body += "<rect class=\"s\(index % HTMLPage.colours)\" x=\"\(x)\" y=\"\(height - 14)\" width=\"10\" height=\"10\"/><text x=\"\(x + 14)\" y=\"\(height - 5)\">\(escaped(name))</text>"
                x += 34 + name.count * 8
            }
        }
        return "<svg role=\"img\" aria-label=\"\(escaped(title))\" viewBox=\"0 0 \(width) \(height)\" width=\"\(width)\">\(body)</svg>\n"
    }
}
