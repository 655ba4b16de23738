import Authentication
import Webhooks

// [[webhook]]: who hears of the migration over HTTP.
extension ConfigurationReader {
    mutating func webhook(_ table: TableReader) {
        var table = table
        let url = table.required("url", "an http or https address", \.string)
        refuseKey("secret", &table)
        let file = table.required("secret-file", "the absolute path of a file with the secret that signs messages", Self.absolutePath)
        let events = table.list("events", of: "the name of an event", \.string) ?? []
        table.finish()
        guard let url, let file, let secret = webhookSecret(file, at: table.path(of: "secret-file")) else { return }
        do throws(WebhookReceiver.Problem) {
            let receiver = try WebhookReceiver(url: url, secret: secret, events: Set(events))
            if configuration.webhooks.contains(where: { $0.receiver.url == url }) {
                report.refuse("another [[webhook]] has this address already", at: table.path(of: "url"))
            }
            configuration.webhooks.append(.init(secretFile: file, receiver: receiver))
        } catch {
            let key =
                switch error.part {
                case .url: "url"
                case .secret: "secret-file"
                case .events: "events"
                }
            report.refuse(error.description, at: table.path(of: key))
        }
    }

    /// The first line of the file.
    private func webhookSecret(_ path: String, at key: String) -> Secret? {
        do throws(FileIssue) {
            let contents = try readFile(path, 4096)
            return contents.withUnsafeBytes { bytes in Secret(Array(bytes.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") })) }
        } catch {
            report.refuse("\(error)", at: key)
            return nil
        }
    }
}
