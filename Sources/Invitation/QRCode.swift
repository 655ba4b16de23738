import Authentication
import CQRencode

/// A QR code of some bytes. It says what they say: whoever sees it has the key.
public struct QRCode: Sendable, Equatable {
    /// Modules of one side.
    public let size: Int
    /// Row by row; true is dark.
    let modules: [Bool]

    public struct Problem: Error, Equatable, CustomStringConvertible { public var description: String }

    /// Light modules around it, which readers need (ISO/IEC 18004 section 9.1).
    static let margin = 4

    /// Error correction L, as for any screen: the code of a usual configuration then fits 80 columns.
    public init(_ content: Secret) throws(Problem) {
        let code = content.withUnsafeBytes { bytes in
            QRcode_encodeData(Int32(bytes.count), bytes.baseAddress!.assumingMemoryBound(to: UInt8.self), 0, QR_ECLEVEL_L)
        }
        guard let code else { throw Problem(description: "\(content.count) bytes are too many for a QR code") }
        size = Int(code.pointee.width)
        let data = UnsafeMutableBufferPointer(start: code.pointee.data, count: size * size)
        modules = data.map { $0 & 1 == 1 }
        data.update(repeating: 0)
        QRcode_free(code)
    }

    func isDark(_ row: Int, _ column: Int) -> Bool {
        guard (0..<size).contains(row), (0..<size).contains(column) else { return false }
        return modules[row * size + column]
    }

    /// For a terminal: two rows of modules in each line of text, light ones drawn. `colours` says that the terminal knows ANSI colours;
    /// without them it has to have a dark background.
    public func terminalText(colours: Bool) -> String {
        let range = -Self.margin..<(size + Self.margin)
        var text = ""
        for row in stride(from: range.lowerBound, to: range.upperBound, by: 2) {
            if colours { text += "\u{1B}[97;40m" }
            for column in range {
                // Below the last row there is nothing to draw.
                switch (!isDark(row, column), row + 1 < range.upperBound && !isDark(row + 1, column)) {
                case (true, true): text += "█"
                case (true, false): text += "▀"
                case (false, true): text += "▄"
                case (false, false): text += " "
                }
            }
            text += colours ? "\u{1B}[0m\n" : "\n"
        }
        return text
    }

    /// A picture of it, `scale` pixels for each module.
    public func png(scale: Int = 8) -> [UInt8] {
        let side = (size + 2 * Self.margin) * scale
        return PNG.encode(width: side, height: side) { row, column in !isDark(row / scale - Self.margin, column / scale - Self.margin) }
    }
}
