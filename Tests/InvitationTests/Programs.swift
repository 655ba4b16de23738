import Foundation

/// A program of the system, run in a test.
struct Program {
    let url: URL

    /// nil: not installed here. The continuous integration installs it (`Config/lib/packages.sh`).
    init?(_ name: String) {
        guard let folder = ["/usr/bin", "/usr/sbin"].first(where: { FileManager.default.isExecutableFile(atPath: "\($0)/\(name)") }) else { return nil }
        url = URL(fileURLWithPath: "\(folder)/\(name)")
    }

    static func isInstalled(_ name: String) -> Bool { Program(name) != nil }

    func run(_ arguments: String...) throws -> (status: Int32, output: String, errors: String) {
        let process = Process(), output = Pipe(), errors = Pipe()
        process.executableURL = url
        process.arguments = arguments
        process.standardOutput = output
        process.standardError = errors
        try process.run()
        let data = output.fileHandleForReading.readDataToEndOfFile(), complaints = errors.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        return (process.terminationStatus, String(decoding: data, as: UTF8.self), String(decoding: complaints, as: UTF8.self))
    }
}

/// A folder that is gone when the test is over.
func withTemporaryFolder<Result>(_ body: (URL) throws -> Result) throws -> Result {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("causeway-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    return try body(folder)
}
