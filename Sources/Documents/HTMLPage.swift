/// One file that needs no other: light and dark, fit to be printed, no script.
public struct HTMLPage {
    public var title: String

    public init(title: String) { self.title = title }

    /// Classes `s0` to `s5` are the colours of series.
    static let colours = 6

    /// The whole page; `body` is HTML.
    public func text(_ body: String) -> String {
        """
        <!DOCTYPE html>
        <html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
        <title>\(escaped(title))</title>
        <style>
        :root { color-scheme: light dark; --ink: #1b1f24; --paper: #fff; --faint: #d0d7de; }
        @media (prefers-color-scheme: dark) { :root { --ink: #e6edf3; --paper: #0d1117; --faint: #30363d; } }
        @media print { :root { --ink: #000; --paper: #fff; --faint: #bbb; } body { margin: 0; } svg, tr { break-inside: avoid; } }
        body { font: 14px/1.45 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
        table { border-collapse: collapse; margin: 1rem 0; } th, td { text-align: left; padding: .2rem .8rem .2rem 0; border-bottom: 1px solid var(--faint); }
        td { font-variant-numeric: tabular-nums; } .scroll { overflow-x: auto; }
        svg { display: block; max-width: 100%; height: auto; margin: 1.5rem 0; } svg text { font-size: 12px; fill: var(--ink); }
        svg .title { font-size: 14px; font-weight: 600; } svg .range { stroke: var(--ink); stroke-width: 1.5; } svg .value { font-size: 11px; }
        .s0 { fill: #2f81f7; } .s1 { fill: #d29922; } .s2 { fill: #3fb950; } .s3 { fill: #a371f7; } .s4 { fill: #db61a2; } .s5 { fill: #8b949e; }
        </style></head><body>
        \(body)
        </body></html>

        """
    }

    /// Cells are plain text.
    public static func table(_ header: [String]?, _ rows: [[String]]) -> String {
        func row(_ cells: [String], _ tag: String) -> String { "<tr>" + cells.map { "<\(tag)>\(escaped($0))</\(tag)>" }.joined() + "</tr>\n" }
        return "<div class=\"scroll\"><table>\(header.map { row($0, "th") } ?? "")\(rows.map { row($0, "td") }.joined())</table></div>\n"
    }
}

/// Plain text as it may stand in HTML and in attributes.
public func escaped(_ text: String) -> String {
    var result = ""
    for character in text {
        switch character {
        case "&": result += "&amp;"
        case "<": result += "&lt;"
        case ">": result += "&gt;"
        case "\"": result += "&quot;"
        default: result.append(character)
        }
    }
    return result
}
