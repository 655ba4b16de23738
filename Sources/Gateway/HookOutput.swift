/// What a program of the administrator's says, as much as a log takes: the beginning, the last words, and how much there was in all.
struct HookOutput: Equatable {
    /// Limits of ours.
    static let mostKept = 4096
    static let mostLastWords = 300

    private var beginning: [UInt8] = []
    private var end: [UInt8] = []
    private(set) var count = 0

    mutating func append(_ bytes: some RandomAccessCollection<UInt8>) {
        count += bytes.count
        beginning += bytes.prefix(Self.mostKept - beginning.count)
        end += bytes.suffix(Self.mostLastWords)
        end.removeFirst(max(0, end.count - Self.mostLastWords))
    }

    /// Lines of the beginning, and a last one if that is not all.
    var lines: [String] {
        let kept = beginning.split { $0 == 0x0A || $0 == 0x0D }.map { printable(Array($0)) }
        return count > beginning.count ? kept + ["... and \(count - beginning.count) bytes more"] : kept
    }

    /// The last line, or its end; empty if nothing was said.
    var lastWords: String { end.split { $0 == 0x0A || $0 == 0x0D }.last.map { printable(Array($0)) } ?? "" }
}
