// A secrets file of any bytes: it is parsed or refused, every complaint points into it, and what was understood means the same
// when it is written down again with every byte escaped.

import Addresses
import Authentication

private func octal(_ bytes: some Collection<UInt8>) -> String {
    bytes.map { byte in
        let digits = String(byte, radix: 8)
        return "\\" + String(repeating: "0", count: 3 - digits.count) + digits
    }.joined()
}

private func line(_ entry: UserDirectory.Entry) -> String {
    let hash = entry.ntHashes[0].withUnsafeBytes {
        octal("nt-hash:".utf8)
            + $0.map { octal(String($0 >> 4, radix: 16).utf8) + octal(String($0 & 15, radix: 16).utf8) }.joined()
    }
    let addresses =
        switch entry.attributes.address {
        case .any: "*"
        case .refused: "-"
        case .fixed(let address): "\(address)"
        case .within(let networks): networks.map(\.description).joined(separator: " ")
        }
    return [entry.name.map(octal) ?? "*", entry.server.map { $0.isEmpty ? "\"\"" : octal($0) } ?? "*", hash, addresses].joined(
        separator: " ") + "\n"
}

private func parse(_ contents: Secret, indirect: Secret) -> Result<SecretsFile, SecretsFileError> {
    do throws(SecretsFileError) {
        return .success(
            try SecretsFile.parse(contents, file: "f") { path throws(FileIssue) in
                precondition(path.utf8.first == UInt8(ascii: "/"))
                return indirect
            })
    } catch {
        return .failure(error)
    }
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzz(_ start: UnsafePointer<UInt8>, _ count: Int) -> CInt {
    let bytes = UnsafeBufferPointer(start: start, count: count)
    let lines = bytes.reduce(1) { $0 + ($1 == UInt8(ascii: "\n") ? 1 : 0) }
    let contents = Secret(bytes)
    let result = parse(contents, indirect: contents)
    precondition(result.mapError { $0 } == parse(contents, indirect: contents), "two readings differ")
    switch result {
    case .failure(let error):
        precondition(!error.issues.isEmpty, "refused without a reason")
        for issue in error.issues { check(issue, lines) }
    case .success(let file):
        for issue in file.warnings { check(issue, lines) }
        for entry in file.entries {
            precondition((1...lines).contains(entry.origin.line) && !entry.ntHashes.isEmpty)
            precondition(entry.ntHashes.allSatisfy { $0.count == 16 } && entry.name?.isEmpty != true)
        }
        guard case .success(let again) = parse(Secret(utf8: file.entries.map(line).joined()), indirect: contents) else {
            preconditionFailure("what was understood is refused when written down again")
        }
        precondition(again.entries.count == file.entries.count)
        for (before, after) in zip(file.entries, again.entries) {
            precondition(before.name == after.name && before.server == after.server && before.ntHashes[0] == after.ntHashes[0])
            precondition(before.attributes == after.attributes)
        }
    }
    return 0
}

private func check(_ issue: FileIssue, _ lines: Int) {
    guard let line = issue.line else { preconditionFailure("a complaint without a line") }
    precondition((1...lines).contains(line) && !issue.message.isEmpty)
    precondition(!issue.description.utf8.contains(UInt8(ascii: "\n")), "a complaint of two lines")
}
