import Authentication
import Foundation
import Testing

@testable import Invitation

/// What a reader of QR codes sees in the picture; nil: nothing.
private func decoded(_ png: [UInt8]) throws -> String? {
    try withTemporaryFolder { folder in
        let file = folder.appendingPathComponent("code.png")
        try Data(png).write(to: file)
        let result = try Program("zbarimg")!.run("--quiet", "--raw", "-Sdisable", "-Sqrcode.enable", file.path)
        return result.status == 0 ? String(result.output.dropLast()) : nil
    }
}

@Suite struct QRCodeTests {
    @Test(.enabled(if: Program.isInstalled("zbarimg")), arguments: [2, 3, 8])
    func `a reader gets the configuration out of the picture`(scale: Int) throws {
        let text = try makeInvitation().text()
        #expect(try decoded(QRCode(text).png(scale: scale)) == text.text)
    }

    /// The largest pictures need several deflate blocks.
    @Test(.enabled(if: Program.isInstalled("zbarimg"))) func `a long text`() throws {
        let text = String((0..<2500).map { Character(UnicodeScalar(UInt8(33 + $0 % 90))) })
        let png = try QRCode(Secret(utf8: text)).png(scale: 6)
        #expect(png.count > 2 * 65_535)
        #expect(try decoded(png) == text)
    }

    @Test(.enabled(if: Program.isInstalled("zbarimg"))) func `a reader gets it out of what the terminal shows`() throws {
        let text = try makeInvitation().text()
        for colours in [false, true] {
            let code = try QRCode(text)
            let lines = code.terminalText(colours: colours).split(separator: "\n")
                .map { $0.replacing("\u{1B}[97;40m", with: "").replacing("\u{1B}[0m", with: "") }.map(Array.init)
            let side = code.size + 8
            #expect(lines.allSatisfy { $0.count == side })
            // What the terminal shows becomes a picture: white characters on black.
            let png = PNG.encode(width: side * 4, height: side * 4) { row, column in
                let character = lines[row / 4 / 2][column / 4]
                return character == "█" || character == (row / 4 % 2 == 0 ? "▀" : "▄")
            }
            #expect(try decoded(png) == text.text)
        }
    }

    @Test func `it fits a terminal of 80 columns`() throws {
        let lines = try QRCode(makeInvitation().text()).terminalText(colours: false).split(separator: "\n")
        #expect(lines.allSatisfy { $0.count <= 80 })
        #expect(lines.count <= 40)
    }

    @Test func `the margin is light and the finder patterns are where they belong`() throws {
        let code = try QRCode(Secret(utf8: "x"))
        #expect(code.size == 21)
        #expect(!code.isDark(-1, 3) && !code.isDark(21, 3) && !code.isDark(3, -4))
        for (row, column) in [(0, 0), (0, 14), (14, 0)] {
            for i in 0..<7 {
                #expect(code.isDark(row, column + i) && code.isDark(row + 6, column + i) && code.isDark(row + i, column) && code.isDark(row + i, column + 6))
            }
        }
    }

    @Test func `more than a QR code holds is refused`() {
        #expect(throws: QRCode.Problem(description: "2954 bytes are too many for a QR code")) { try QRCode(Secret(Array(repeating: 200, count: 2954))) }
        #expect(throws: Never.self) { try QRCode(Secret(Array(repeating: 200, count: 2953))) }
    }

    /// The known picture of one white pixel among three black ones.
    @Test func `a PNG byte for byte`() {
        let png = PNG.encode(width: 2, height: 2) { row, column in row == 1 && column == 0 }
        #expect(Array(png.prefix(8)) == [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A])
        // IDAT: zlib header, one final stored block of four bytes, 00 00 / 00 80, Adler-32.
        #expect(Array(png[41...]).starts(with: [0x78, 0x01, 1, 4, 0, 0xFB, 0xFF, 0, 0, 0, 0x80, 0, 0x84, 0, 0x81]))
        #expect(Array(png.suffix(12)) == [0, 0, 0, 0, 0x49, 0x45, 0x4E, 0x44, 0xAE, 0x42, 0x60, 0x82])
    }
}
