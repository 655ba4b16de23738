import ArgumentParser
import Authentication
import DataPath
import Documents
import Foundation
import Gateway
import Settings

#if canImport(Glibc)
import Glibc
#else
import Musl
#endif

struct ConfigurationOption: ParsableArguments {
    @Option(name: .long, help: ArgumentHelp("The configuration, in TOML.", valueName: "file"))
    var config = "/etc/causeway/causeway.toml"

    /// Prints every complaint and exits 78 if there is one.
    func load() throws -> CausewayConfiguration {
        do {
            return try CausewayConfiguration.load(path: config)
        } catch {
            printError("\(error)")
            throw ExitCode.configuration
        }
    }
}

struct ControlOption: ParsableArguments {
    static let defaultSocket = "/run/causeway/causeway.sock"

    @Option(name: .long, help: ArgumentHelp("The gateway's control socket. (default: \(ControlOption.defaultSocket))", valueName: "path"))
    var socket: String?
    @Option(name: .long, help: ArgumentHelp("A gateway elsewhere, such as https://gw.example.org:8443. (CAUSEWAY_API)", valueName: "url"))
    var api: String?
    @Option(name: .long, help: ArgumentHelp("A file with the token for it. (CAUSEWAY_TOKEN_FILE)", valueName: "file"))
    var tokenFile: String?
    @Option(name: .long, help: ArgumentHelp("Trust the authorities in this file, in PEM. (CAUSEWAY_CA_FILE)", valueName: "file"))
    var caFile: String?

    func validate() throws {
        guard socket == nil || api == nil else { throw ValidationError("give either --socket or --api, not both") }
    }

    /// Runs `body`; what goes wrong is printed and becomes the exit code.
    func ask<Value>(_ body: (ControlClient) async throws -> Value) async throws -> Value {
        do {
            return try await body(ControlClient(try place()))
        } catch let error as ControlError {
            printError("\(error)")
            if case .unreachable = error { throw ExitCode.unavailable }
            throw ExitCode.failure
        }
    }

    /// What the command line says goes before the environment.
    func place(_ environment: [String: String] = ProcessInfo.processInfo.environment) throws -> ControlPlace {
        func chosen(_ option: String?, _ name: String) -> String? { option ?? environment[name].flatMap { $0.isEmpty ? nil : $0 } }
        guard socket == nil, let url = chosen(api, "CAUSEWAY_API") else { return .socket(socket ?? Self.defaultSocket) }
        guard let file = chosen(tokenFile, "CAUSEWAY_TOKEN_FILE") else {
            throw ValidationError("\(url) needs a token: --token-file FILE, or CAUSEWAY_TOKEN_FILE in the environment")
        }
        let place = ControlPlace.network(url, token: try token(in: file), authorities: chosen(caFile, "CAUSEWAY_CA_FILE"))
        guard let place else { throw ValidationError("\(url) is no address of a gateway, such as https://gw.example.org:8443") }
        return place
    }

    private func token(in file: String) throws -> String {
        do {
            let contents = try ProtectedFile(group: "root").read(file, limit: 4096)
            let line = contents.withUnsafeBytes { bytes in String(decoding: bytes.prefix { $0 > 0x20 && $0 < 0x7F }, as: UTF8.self) }
            guard !line.isEmpty else { throw ValidationError("\(file) has no token on its first line") }
            return line
        } catch let issue as FileIssue {
            printError("\(issue)")
            throw ExitCode.noPermission
        }
    }
}

/// Exits 78 if CAUSEWAY_ISA asks for instructions that there are not.
func checkInstructions() throws {
    guard let complaint = InstructionSet.complaint else { return }
    printError(complaint)
    throw ExitCode.configuration
}

func printError(_ text: String) {
    for line in text.split(separator: "\n") { FileHandle.standardError.write(Data("causeway: \(line)\n".utf8)) }
}

func printJSON(_ value: some Encodable) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes, .prettyPrinted]
    encoder.dateEncodingStrategy = .iso8601
    print(String(decoding: try encoder.encode(value), as: UTF8.self))
}

func printTable(_ header: [String], _ rows: [[String]]) { print(textTable(header, rows).joined(separator: "\n")) }

/// A line that holds what others have said.
func printLine(_ text: String) { print(printable(text)) }

/// `1.5 MiB`, `312 B`.
func byteText(_ count: UInt64) -> String {
    guard count >= 1024 else { return "\(count) B" }
    var value = Double(count) / 1024
    var units = ["KiB", "MiB", "GiB", "TiB", "PiB"][...]
    // What would be shown as 1024.0 is 1.0 of the next unit.
    while value >= 1023.95, units.count > 1 {
        value /= 1024
        units.removeFirst()
    }
    return String(format: "%.1f %@", value, units.first!)
}

/// `2d 03:04:05`, `00:00:07`.
func durationText(_ seconds: Int) -> String {
    let clock = String(format: "%02d:%02d:%02d", seconds / 3600 % 24, seconds / 60 % 60, seconds % 60)
    return seconds >= 86_400 ? "\(seconds / 86_400)d \(clock)" : clock
}
