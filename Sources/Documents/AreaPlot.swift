/// Areas on top of each other over time, as SVG: how a whole is divided, day by day.
public struct AreaPlot {
    public var title: String
    public var series: [String]
    /// One for each moment.
    public var labels: [String]
    /// For each moment the value of each series, the first series at the bottom.
    public var values: [[Double]]

    public init(title: String, series: [String], labels: [String], values: [[Double]]) {
        self.title = title
        self.series = series
        self.labels = labels
        self.values = values
    }

    private static let left = 40.0, width = 680.0, top = 26.0, height = 200.0

    /// Empty where there is nothing to see: fewer than two moments, or only zeros.
    public var svg: String {
        let greatest = values.map { $0.reduce(0, +) }.max() ?? 0
        guard values.count > 1, greatest > 0 else { return "" }
        func x(_ index: Int) -> String { tenth(Self.left + Self.width * Double(index) / Double(values.count - 1)) }
        func y(_ value: Double) -> String { tenth(Self.top + Self.height * (1 - value / greatest)) }
        var body = "<text class=\"title\" x=\"0\" y=\"16\">\(escaped(title))</text>"
        for index in series.indices {
            let upper = values.indices.map { "\(x($0)),\(y(values[$0][...index].reduce(0, +)))" }
            let lower = values.indices.reversed().map { "\(x($0)),\(y(values[$0][..<index].reduce(0, +)))" }
            body += "<polygon class=\"s\(index % HTMLPage.colours)\" points=\"\((upper + lower).joined(separator: " "))\"/>"
        }
        let bottom = Int(Self.top + Self.height)
        body += "<text x=\"34\" y=\"\(Int(Self.top) + 10)\" text-anchor=\"end\">\(number(greatest))</text><text x=\"34\" y=\"\(bottom)\" text-anchor=\"end\">0</text>"
        for (index, anchor) in [(0, "start"), (values.count / 2, "middle"), (values.count - 1, "end")] {
            body += "<text x=\"\(x(index))\" y=\"\(bottom + 16)\" text-anchor=\"\(anchor)\">\(escaped(labels[index]))</text>"
        }
        var at = Int(Self.left)
        for (index, name) in series.enumerated() {
            body += "<rect class=\"s\(index % HTMLPage.colours)\" x=\"\(at)\" y=\"\(bottom + 28)\" width=\"10\" height=\"10\"/><text x=\"\(at + 14)\" y=\"\(bottom + 37)\">\(escaped(name))</text>"
            at += 34 + name.count * 8
        }
        let size = (Int(Self.left + Self.width) + 20, bottom + 46)
        return "<svg role=\"img\" aria-label=\"\(escaped(title))\" viewBox=\"0 0 \(size.0) \(size.1)\" width=\"\(size.0)\">\(body)</svg>\n"
    }
}
