import ArgumentParser
import Foundation
import Gateway

struct Disconnect: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "End the sessions of a user, or one session.",
        discussion: """
            The client is told (LCP Terminate-Request, then Call-Disconnect-Notify) and its address returns to the pool. It may dial \
            again. A name that consists of digits only is taken for a session id; --user takes it for a user's name.

            EXAMPLES
              causeway disconnect ann
              causeway disconnect 42
              causeway disconnect --user 42

            EXIT STATUS
              0  ended    1  there is no such user or session    69  the gateway cannot be reached
            """)

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("A user's name or a session id.", valueName: "user|session")) var target: String
    @Flag(name: .long, help: "The argument is a user's name, digits or not.") var user = false
    @Flag(name: .long, help: "Print JSON.") var json = false

    func run() async throws {
        let path: String
        if !user, let id = UInt64(target) {
            path = "/v1/sessions/\(id)"
        } else {
            var allowed = CharacterSet.urlPathAllowed
            allowed.remove(charactersIn: "/;?%")
            path = "/v1/users/\(target.addingPercentEncoding(withAllowedCharacters: allowed) ?? target)/sessions"
        }
        let ended = try await control.ask { try await $0.delete(path, as: [String: [UInt64]].self) }
        if json { return try printJSON(ended) }
        for id in ended["disconnected"] ?? [] { print("session \(id) is being disconnected") }
    }
}
