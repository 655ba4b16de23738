import Addresses
import Authentication
import Glibc

extension CausewayConfiguration {
    /// Of the configuration file, in bytes.
    public static let maxFileSize = 16 << 20

    /// Reads, checks and completes the configuration at `path`, with the key and secrets files that it names.
    ///
    /// Either everything holds together, or the error lists everything that does not.
    public static func load(path: String) throws(ConfigurationError) -> CausewayConfiguration {
        let contents: Secret
        let exposure: FileIssue?
        do throws(FileIssue) {
            (contents, exposure) = try ProtectedFile().readAny(path, limit: maxFileSize)
        } catch {
            throw ConfigurationError([ConfigurationIssue(file: error.file, message: error.message)])
        }
        guard let text = contents.withUnsafeBytes({ String(validating: $0, as: UTF8.self) }) else {
            throw ConfigurationError([ConfigurationIssue(file: path, message: "is not UTF-8 text")])
        }
        return try parse(text, file: path, exposure: exposure)
    }

    /// What `load` does with the text of a file.
    ///
    /// - Parameters:
    ///   - exposure: why nobody should put a password into that file, if so.
    ///   - readFile: stands in for the file system: path and size limit in, contents out. By default, files must be safe from
    ///     others and belong to root, to this process or to the account that the configuration names.
    public static func parse(
        _ text: String, file: String, exposure: FileIssue? = nil, readFile: ((String, Int) throws(FileIssue) -> Secret)? = nil
    ) throws(ConfigurationError) -> CausewayConfiguration {
        let locator = KeyLocator(text)
        let document: [String: TOMLNode]
        do throws(ConfigurationIssue) {
            document = try TOMLNode.parse(text, file: file, locator: locator)
        } catch {
            throw ConfigurationError([error])
        }
        let report = Report(file: file, locator: locator)
        let readFile = readFile ?? protectedReader(account: document["run-as"]?.string ?? CausewayConfiguration().user, report)
        var reader = ConfigurationReader(report: report, readFile: readFile)
        reader.read(document)
        if let exposure, let user = reader.configuredUsers.first(where: { $0.credential != nil }) {
            report.refuse("this file holds a password, but it \(exposure.message)", at: user.path)
        }
        reader.assignTables()
        reader.mergeUsers()
        reader.mergeAccessPeers()
        reader.check()
        guard report.issues.isEmpty else { throw ConfigurationError(inOrder(report.issues, file)) }
        var configuration = reader.configuration
        configuration.warnings = inOrder(report.warnings, file)
        return configuration
    }

    /// A reload happens as the account, not as root: what root can read now and the account cannot is a warning.
    private static func protectedReader(account: String, _ report: Report) -> (String, Int) throws(FileIssue) -> Secret {
        let entry = getpwnam(account).map { (user: $0.pointee.pw_uid, group: $0.pointee.pw_gid) }
        let files = ProtectedFile(trustedOwners: entry.map { [$0.user] } ?? [], group: account)
        return { path, limit throws(FileIssue) in
            let contents = try files.read(path, limit: limit)
            if geteuid() == 0, let entry, let obstacle = files.obstacle(for: entry.user, group: entry.group, at: path) {
                report.warn(obstacle)
            }
            return contents
        }
    }

    /// By line, the configuration file first; what was found first stays first otherwise.
    private static func inOrder(_ issues: [ConfigurationIssue], _ file: String) -> [ConfigurationIssue] {
        let ranked = issues.enumerated().sorted { left, right in
            (left.element.file == file ? 0 : 1, left.element.line ?? 0, left.offset)
                < (right.element.file == file ? 0 : 1, right.element.line ?? 0, right.offset)
        }
        return ranked.map(\.element)
    }
}
