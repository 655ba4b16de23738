import ArgumentParser
import Foundation
import Gateway
import HubObserver
import WireGuard

struct Observe: AsyncParsableCommand {
    static let configuration = CommandConfiguration(
        abstract: "On a hub: tell the gateway which users' own devices connect there.",
        discussion: """
            Where users move straight to the hub, the gateway does not see them. This reads the hub's WireGuard interface (the kernel's over \
            netlink, wireguard-go's and others' over their socket), every --interval seconds, and posts what is new to the gateway's API (root or CAP_NET_ADMIN here; a token with scope operate there). It changes \
            nothing on the hub. While the gateway is away, what was seen waits.

            EXAMPLES
              sudo causeway observe wg0 --api https://gw.example.org:8443 --token-file /etc/causeway/observer.token
              sudo causeway observe wg0 --once --api https://gw.example.org:8443 --token-file observer.token

            EXIT STATUS
              0  done (--once, or told to stop)    1  the gateway said no    69  the interface cannot be read, or (--once) the gateway cannot be reached
            """)

    @OptionGroup var control: ControlOption
    @Argument(help: ArgumentHelp("The WireGuard interface.", valueName: "interface")) var interface: String
    @Option(name: .long, help: ArgumentHelp("Between two looks. 1-3600", valueName: "seconds")) var interval = 30
    @Option(name: .long, help: ArgumentHelp("What this hub is called in the history (default: its host name).", valueName: "text")) var name: String?
    @Flag(name: .long, help: "Look once, tell everything, and end.") var once = false

    func validate() throws {
        guard (1...3600).contains(interval) else { throw ValidationError("--interval: 1 to 3600 seconds") }
    }

    func run() async throws {
        let reader: InterfaceReader
        var observer = HubObserver()
        do {
            reader = try InterfaceReader(interfaceName: interface)
            observer.look(try reader.peers(), now: now)
        } catch {
            printError("\(error)")
            throw ExitCode.unavailable
        }
        // Nothing is left of it: whatever waits for the next look or the gateway need not be waited for.
        let signals = [SIGINT, SIGTERM].map { number in
            signal(number, SIG_IGN)
            let source = DispatchSource.makeSignalSource(signal: number, queue: .global())
            source.setEventHandler { Foundation.exit(0) }
            source.activate()
            return source
        }
        defer { for source in signals { source.cancel() } }
        while true {
            do {
                try await tell(&observer)
                if once { return }
            } catch let error as ExitCode {
                // Away for a while, most likely; it has been said.
                if once || error != .unavailable { throw error }
            }
            try await Task.sleep(for: .seconds(interval))
            // The interface may be gone for a moment while it is set up anew.
            do { observer.look(try reader.peers(), now: now) } catch { printError("\(error)") }
        }
    }

    private var now: Int64 { Int64(Date().timeIntervalSince1970) }

    private func tell(_ observer: inout HubObserver) async throws {
        while true {
            let sightings = observer.pending()
            guard !sightings.isEmpty else { return }
            let report = ObservationReport(observer: name ?? ProcessInfo.processInfo.hostName, interface: interface, at: now, peers: sightings)
            _ = try await control.ask { try await $0.send(.post, "/v1/observations", report, as: [String: Int].self) }
            observer.handedOn(sightings)
        }
    }
}
