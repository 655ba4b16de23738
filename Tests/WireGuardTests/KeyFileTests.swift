import Foundation
import Testing

@testable import WireGuard

@Suite final class KeyFileTests {
    let directory = FileManager.default.temporaryDirectory.appendingPathComponent("causeway-\(UUID())")

    init() throws { try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true) }
    deinit { try? FileManager.default.removeItem(at: directory) }

    private func file(_ text: String, mode: Int = 0o600) throws -> String {
        let path = directory.appendingPathComponent("\(UUID())").path
        try text.write(toFile: path, atomically: false, encoding: .utf8)
        try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: path)
        return path
    }

    @Test func keysAreRead() throws {
        let key = PrivateKey()
        #expect(try KeyFile.readPrivateKey(file(key.exportBase64() + "\n")) == key)
        #expect(try KeyFile.readPrivateKey(file(key.exportBase64(), mode: 0o440)) == key)
        let preshared = PresharedKey()
        #expect(try KeyFile.readPresharedKey(file(preshared.exportBase64() + "\r\n")) == preshared)
    }

    @Test(arguments: [0o604, 0o644, 0o620, 0o602, 0o601])
    func whatOthersCanReadIsRefused(_ mode: Int) throws {
        let path = try file(PrivateKey().exportBase64(), mode: mode)
        #expect(throws: KeyFileError.exposed(path: path, mode: UInt32(mode))) { try KeyFile.readPrivateKey(path) }
        #expect("\(KeyFileError.exposed(path: path, mode: 0o644))".hasSuffix("run: chmod o=,g-wx \(path)"))
    }

    @Test func otherFilesAreRefused() throws {
        let path = try file("not a key")
        #expect(throws: KeyFileError.notAKey(path: path)) { try KeyFile.readPrivateKey(path) }
        #expect(throws: KeyFileError.notAFile(path: directory.path)) { try KeyFile.readPrivateKey(directory.path) }
        #expect(throws: KeyFileError.unreadable(path: "/nonexistent", code: ENOENT)) {
            try KeyFile.readPrivateKey("/nonexistent")
        }
        let two = try file(PrivateKey().exportBase64() + "\n" + PrivateKey().exportBase64())
        #expect(throws: KeyFileError.notAKey(path: two)) { try KeyFile.readPrivateKey(two) }
    }
}
