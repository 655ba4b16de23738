import Addresses
import ArgumentParser
import Authentication
import Foundation
import Gateway

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// A configuration for everybody of a wave, each in a file of their own in one directory.
struct WaveFiles {
    struct Member: Encodable {
        var user: String
        /// Left out for who could not be served.
        var addresses: [IPPrefix]?, path: String?
    }

    var wave: String
    var directory: String
    var file: HandedFile

    /// Who fails is named, and the others go on.
    /// - Parameter one: addresses and text of a user.
    func hand(
        to isMeant: (UserView) -> Bool, _ done: String, _ control: ControlOption, _ one: (String) async throws -> ([IPPrefix], Secret)
    ) async throws {
        let members = try await members(control), meant = members.filter(isMeant)
        guard mkdir(directory, 0o700) == 0 || errno == EEXIST else {
            printError("\(directory): \(String(cString: strerror(errno)))")
            throw ExitCode.failure
        }
        var handed: [Member] = []
        for user in meant {
            do { handed.append(try await serve(user.name, one)) } catch is ExitCode { handed.append(Member(user: user.name)) }
        }
        let failed = handed.count { $0.path == nil }
        if file.json {
            try printJSON(handed)
        } else {
            print("\(meant.count - failed) of \(members.count) members of wave \(wave) \(done)" + (failed > 0 ? ", \(failed) could not be" : ""))
        }
        if failed > 0 { throw ExitCode.failure }
    }

    private func members(_ control: ControlOption) async throws -> [UserView] {
        var members: [UserView] = [], next: String?
        repeat {
            let path = "/v1/users?limit=1000&wave=\(ControlClient.escaped(wave))" + (next.map { "&after=\(ControlClient.escaped($0))" } ?? "")
            let page = try await control.ask { try await $0.get(path, as: PageView<UserView>.self) }
            members += page.items
            next = page.next
        } while next != nil
        return members
    }

    private func serve(_ name: String, _ one: (String) async throws -> ([IPPrefix], Secret)) async throws -> Member {
        let path = "\(directory)/\(Self.fileName(name)).conf"
        let files = try NewFiles([path] + (file.png ? [path + ".png"] : []))
        let (addresses, text) = try await files.or { try await one(name) }
        try files.write(text, to: path)
        if file.png { try files.write(Secret(try HandedFile.code(text).png()), to: path + ".png") }
        if !file.json { print("user \(name): \(addresses.map(\.description).joined(separator: ", ")), configuration in \(path)") }
        return Member(user: name, addresses: addresses, path: path)
    }

    /// A name is any text; a file's is not.
    static func fileName(_ name: String) -> String {
        let safe = name.utf8.map { byte -> String in
            let plain = (0x30...0x39).contains(byte) || (0x41...0x5A).contains(byte) || (0x61...0x7A).contains(byte) || "-_.@".utf8.contains(byte)
            return plain ? String(UnicodeScalar(byte)) : "%" + String(byte >> 4, radix: 16, uppercase: true) + String(byte & 15, radix: 16, uppercase: true)
        }.joined()
        return safe.hasPrefix(".") ? "%2E" + safe.dropFirst() : safe
    }
}
