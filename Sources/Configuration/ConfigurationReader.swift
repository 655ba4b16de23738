import Addresses
import Authentication

/// Turns the document into a configuration, key by key; what two keys mean together is judged in ConfigurationChecks.swift.
struct ConfigurationReader {
    let report: Report
    /// Reads a protected file: path, size limit.
    let readFile: (String, Int) throws(FileIssue) -> Secret
    var configuration = CausewayConfiguration()
    /// As written in `[[user]]`, for the cross checks and the merge with the secrets files.
    var configuredUsers: [ConfiguredUser] = []
    var configuredNames: Set<[UInt8]> = []
    /// As written in `[[access.peer]]`, in the same order as the configuration's.
    var accessPeers: [ConfiguredAccessPeer] = []
    /// Whether the administrator wrote `secrets`; the default file may be missing.
    var namesSecrets = false

    struct ConfiguredUser {
        var name: [UInt8]
        var credential: UserDirectory.Credential?
        var address: IPAddress?
        var attributes: UserAttributes
        var path: String
    }

    struct ConfiguredAccessPeer {
        var name: [UInt8]
        /// nil: as in the user's entry.
        var prefixes: [IPPrefix]?
        var peer: CausewayConfiguration.Access.Peer
        var path: String
    }

    init(report: Report, readFile: @escaping (String, Int) throws(FileIssue) -> Secret) {
        self.report = report
        self.readFile = readFile
    }

    mutating func read(_ document: [String: TOMLNode]) {
        var root = TableReader(document, path: "", report: report)
        root.read(&configuration.instance, "instance", "1 to 16 of a-z, 0-9 and -", Self.instanceName)
        root.read(&configuration.user, "run-as", "the name of an account", Self.accountName)
        root.read(&configuration.logLevel, "log-level")
        root.read(&configuration.logFormat, "log-format")
        root.read(&configuration.stateDirectory, "state-directory", "an absolute path", Self.absolutePath)
        control(root.table("control"))
        if root.has("api") { api(root.table("api")) } else { root.declare("api") }
        store(root.table("store"))
        migration(root.table("migration"))
        firewall(root.table("firewall"))
        pptp(root.table("pptp"))
        ppp(root.table("ppp"))
        encryption(root.table("encryption"))
        authentication(root.table("authentication"))
        dataPath(root.table("data-path"))
        for table in root.tables("pool", header: "pool") { pool(table) }
        for table in root.tables("tunnel", header: "tunnel") { tunnel(table) }
        for table in root.tables("listen", header: "listen") { listener(table) }
        for table in root.tables("user", header: "user") { user(table) }
        for table in root.tables("webhook", header: "webhook") { webhook(table) }
        if root.has("access") { access(root.table("access")) } else { root.declare("access") }
        root.finish()
    }
}
