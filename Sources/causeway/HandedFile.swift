import ArgumentParser
import Authentication
import Foundation
import Invitation

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

/// How a configuration with a key in it leaves a command: to a file of its owner's, as a QR code, as JSON or as it is.
struct HandedFile: ParsableArguments {
    enum Form: String, ExpressibleByArgument, CaseIterable { case quick, wg }

    @Flag(name: .long, help: "Print JSON: what the gateway said, and the configuration's text.") var json = false
    @Option(name: .long, help: "quick for wg-quick(8) and the apps; wg for wg setconf.") var form = Form.quick
    @Option(name: .shortAndLong, help: ArgumentHelp("Write the configuration to this new file.", valueName: "file")) var output: String?
    @Flag(name: .long, help: "Show it as a QR code, for the WireGuard apps. Whoever sees it has the key.") var qr = false
    @Flag(name: .long, help: "Write the QR code beside the file, as FILE.png.") var png = false

    var isGiven: Bool { json || output != nil || qr || png }
    var paths: [String] { output.map { [$0] + (png ? [$0 + ".png"] : []) } ?? [] }

    func write(_ text: Secret, to files: NewFiles, said: (String) -> Void, json print: (String) throws -> Void) throws {
        if let output { try files.write(text, to: output) }
        if png, let output { try files.write(Secret(try Self.code(text).png()), to: output + ".png") }
        let configuration = text.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        if json { return try print(configuration) }
        if qr { Swift.print(try Self.code(text).terminalText(colours: isatty(STDOUT_FILENO) == 1), terminator: "") }
        if let output { said(output) } else if !qr { Swift.print(configuration, terminator: "") }
    }

    static func code(_ text: Secret) throws -> QRCode {
        do { return try QRCode(text) } catch {
            printError("\(error): hand the file over instead")
            throw ExitCode.failure
        }
    }
}

/// Files that must not be there yet, made before anything changes: a name that is taken must not cost a user their key.
struct NewFiles {
    private let handles: [String: FileHandle]

    init(_ paths: [String]) throws {
        var made: [String: FileHandle] = [:]
        for path in paths {
            let descriptor = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
            guard descriptor >= 0 else {
                printError("\(path): \(String(cString: strerror(errno)))")
                for path in made.keys { unlink(path) }
                throw ExitCode.failure
            }
            made[path] = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        }
        handles = made
    }

    /// Takes them away again if `body` fails.
    func or<Value>(_ body: () async throws -> Value) async throws -> Value {
        do { return try await body() } catch {
            for path in handles.keys { unlink(path) }
            throw error
        }
    }

    func write(_ text: Secret, to path: String) throws {
        try text.withUnsafeBytes { try handles[path]!.write(contentsOf: Data($0)) }
    }
}
