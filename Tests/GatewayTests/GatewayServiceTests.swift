import Addresses
import Foundation
import Settings
import Testing

@testable import Gateway

@Suite struct GatewayServiceTests {
    static let text = """
        [[listen]]
        address = "127.0.0.2"
        tunnel = "hub"
        pool = "users"
        [[pool]]
        name = "users"
        gateway = "10.8.0.1"
        ranges = ["10.8.0.10-10.8.0.19"]
        [[pool]]
        name = "more"
        gateway = "10.9.0.1"
        ranges = ["10.9.0.10-10.9.0.19"]
        [[tunnel]]
        name = "hub"
        interface = "cw-hub"
        private-key-file = "/key"
        listen-port = 51820
        [[tunnel.peer]]
        public-key = "xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg="
        allowed-ips = ["0.0.0.0/0"]

        """

    @Test func anUnchangedConfigurationStaysTheSame() throws {
        let running = try sample(Self.text)
        #expect(try sample(Self.text).keepingStartOnly(of: running) == running)
    }

    /// Whatever the diff says has to wait for a restart keeps its running value; whatever it calls live is taken.
    @Test func onlyAStartChangesWhatWasOpened() throws {
        let running = try sample(Self.text)
        var new = running
        new.instance = "other"
        new.user = "somebody"
        new.logFormat = .json
        new.controlSocket = "/elsewhere"
        new.dataPath.interface = "cwnew"
        new.dataPath.workers = 7
        new.dataPath.maxSessions = 99
        new.dataPath.allowUserToUser = true
        new.dataPath.allowAddressChange = true
        new.listeners[0].port = 1724
        new.tunnels[0].interface = "cw-new"
        new.tunnels[0].backend = .embedded
        new.tunnels[0].table = 77
        new.tunnels[0].listenPort = 51821
        new.ppp.mru = 1300
        new.encryption.required = false
        new.authentication.whenConnected = .refuse
        new.pptp.maxConnections = 5
        let taken = new.keepingStartOnly(of: running)
        #expect(taken.instance == running.instance)
        #expect(taken.user == running.user)
        #expect(taken.logFormat == running.logFormat)
        #expect(taken.controlSocket == running.controlSocket)
        #expect(taken.listeners == running.listeners)
        #expect(taken.tunnels[0].interface == "cw-hub")
        #expect(taken.tunnels[0].backend == .auto)
        #expect(taken.tunnels[0].table == running.tunnels[0].table)
        #expect(taken.tunnels[0].listenPort == 51821)
        #expect(taken.dataPath.allowAddressChange)
        #expect(taken.ppp.mru == 1300)
        #expect(!taken.encryption.required)
        #expect(taken.authentication.whenConnected == .refuse)
        #expect(taken.pptp.maxConnections == 5)
        // The announcement and the deed agree: what is in force now is exactly what the diff calls live.
        let announced = CausewayConfiguration.diff(running, new)
        let done = CausewayConfiguration.diff(running, taken)
        #expect(done.needsRestart.isEmpty, "\(done.needsRestart)")
        #expect(done.live == announced.live)
    }

    @Test func aListenersUsersMayGoElsewhere() throws {
        let running = try sample(Self.text)
        let new = try sample(Self.text.replacingOccurrences(of: "pool = \"users\"", with: "pool = \"more\""))
        #expect(new.keepingStartOnly(of: running).listeners.map(\.pool) == ["more"])
    }

    /// New and missing listeners and tunnels wait for the restart.
    @Test func nothingIsOpenedOrClosed() throws {
        let running = try sample(Self.text)
        var new = running
        new.listeners.append(new.listeners[0])
        new.listeners[1].address = IPAddress("127.0.0.9")!
        new.tunnels.append(new.tunnels[0])
        new.tunnels[1].name = "second"
        #expect(new.keepingStartOnly(of: running) == running)
        new.listeners = []
        new.tunnels = []
        #expect(new.keepingStartOnly(of: running) == running)
    }

    @Test func loginLimits() throws {
        let limits = try sample(Self.text, authentication: "lockout-failures = 7\nlockout-time = \"90s\"").loginLimits
        #expect(limits.failures == 7)
        #expect(limits.lockTime == .seconds(90))
    }
}
