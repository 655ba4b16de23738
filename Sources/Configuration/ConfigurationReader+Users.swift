import Addresses
import Authentication

// The secrets files and the [[user]] tables become one directory.
extension ConfigurationReader {
    /// A `[[user]]` with a password stands for itself; one without adds its keys to that user's lines in the secrets files.
    mutating func mergeUsers() {
        var entries = secretsEntries()
        let linesByName = Dictionary(grouping: entries.indices, by: { entries[$0].name })
        for user in configuredUsers {
            let indexes = linesByName[user.name] ?? []
            let displayName = String(decoding: user.name, as: UTF8.self)
            if let credential = user.credential {
                if let first = indexes.first {
                    report.refuse(
                        "user \"\(displayName)\" has another password in \(entries[first].origin); remove one of them",
                        at: user.path)
                }
                entries.append(
                    .init(
                        name: user.name, server: nil, credential: credential, attributes: user.attributes,
                        origin: .init(file: report.file, line: report.line(of: user.path) ?? 0)))
            } else if indexes.isEmpty {
                report.refuse(
                    "user \"\(displayName)\" has no password: expected password, nt-hash, or a line in one of the secrets files",
                    at: user.path)
            } else {
                for index in indexes {
                    var attributes = user.attributes
                    if user.address == nil { attributes.address = entries[index].attributes.address }
                    entries[index].attributes = attributes
                }
            }
        }
        if entries.isEmpty { report.warn("there are no users: nobody can log in", at: "authentication") }
        configuration.users = UserDirectory(entries)
    }

    private func secretsEntries() -> [UserDirectory.Entry] {
        var entries: [UserDirectory.Entry] = []
        var paths: Set<String> = []
        for (index, path) in configuration.authentication.secrets.enumerated() {
            let key = KeyLocator.path("authentication.secrets", index: index)
            guard paths.insert(path).inserted else {
                report.refuse("this file is named twice", at: key)
                continue
            }
            let contents: Secret
            do throws(FileIssue) {
                contents = try readFile(path, SecretsFile.maxSize)
            } catch {
                // The default is where distributions keep it. Users in this file alone are fine too.
                if namesSecrets || !configuredUsers.contains(where: { $0.credential != nil }) || error.kind != .missing {
                    report.refuse("\(error)", at: key)
                }
                continue
            }
            do throws(SecretsFileError) {
                let file = try SecretsFile.parse(contents, file: path) { path throws(FileIssue) in
                    try readFile(path, SecretsFile.maxIndirectSize)
                }
                entries += file.entries
                for warning in file.warnings { report.warn(warning) }
            } catch {
                for issue in error.issues { report.refuse(issue) }
            }
        }
        return entries
    }
}
