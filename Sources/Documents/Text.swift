import Foundation

/// Three digits that count.
public func number(_ value: Double) -> String {
    switch abs(value) {
    case 100...: String(format: "%.0f", value)
    case 10..<100: String(format: "%.1f", value)
    case 0: "0"
    case ..<0.01: String(format: "%.4f", value)
    default: String(format: "%.2f", value)
    }
}

/// One digit behind the point, for coordinates.
func tenth(_ value: Double) -> String {
    let tenths = Int((value * 10).rounded())
    return "\(tenths / 10).\(tenths % 10)"
}

extension String {
    public func padded(to width: Int) -> String { count < width ? self + String(repeating: " ", count: width - count) : self }
}

/// Lines of columns, as wide as their longest cell, with two spaces between them.
public func textTable(_ header: [String], _ rows: [[String]]) -> [String] {
    let lines = [header] + rows.map { $0.map(printable) }
    let widths = header.indices.map { column in lines.map { $0[column].count }.max() ?? 0 }
    return lines.map { row in
        let line = zip(row, widths).map { $0.padded(to: $1) }.joined(separator: "  ")
        return String(line.reversed().drop { $0 == " " }.reversed())
    }
}

/// On one line, and without what moves a terminal's cursor or turns its text around: much of what is shown comes from strangers.
public func printable(_ text: String) -> String {
    var result = ""
    for scalar in text.unicodeScalars {
        switch scalar.properties.generalCategory {
        case .control, .format, .lineSeparator, .paragraphSeparator, .privateUse, .unassigned, .surrogate:
            result += scalar.escaped(asASCII: true)
        default:
            result.unicodeScalars.append(scalar)
        }
    }
    return result
}
