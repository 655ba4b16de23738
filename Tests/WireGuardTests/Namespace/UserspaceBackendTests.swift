import Addresses
import CLinux
import Foundation
import Logging
import Netlink
import Testing

@testable import WireGuard

extension PrivateNamespace {
    /// wireguard-go for real. Both ends are made here; one interface then moves to a namespace of its own, while its UDP socket
    /// stays behind: the two meet on 127.0.0.1.
    @Suite struct UserspaceBackendTests {
        let mark = InstanceMark(instance: "test")!
        let logger = Logger(label: "test") { _ in SwiftLogNoOpLogHandler() }

        func backend(_ name: String) async throws -> UserspaceBackend {
            let program = try await DeviceProgram.probe(path: try #require(DeviceProgram.find(), "wireguard-go is not installed"))
            return UserspaceBackend(interfaceName: name, mark: mark, program: program, logger: logger)
        }

        @Test(.enabled(if: !Stage.isUnprivileged), .timeLimit(.minutes(1))) func twoEndsExchangePackets() async throws {
            let pair = try TunnelPair(left: await backend("cweleft"), right: await backend("cweright"))
            try await pair.exchangePackets()
        }

        @Test(.timeLimit(.minutes(1))) func aDeviceIsConfiguredReadAndRemoved() async throws {
            let backend = try await backend("cwewg")
            let index = try await backend.create()
            let socket = try NetlinkSocket(.route)
            let link = try #require(try socket.link(named: "cwewg"))
            #expect(link.index == index)
            #expect(link.alias == "causeway:test")
            let tunnel = BigTunnel("cwewg", peers: 20, prefixesEach: 50)
            try await tunnel.run(on: backend)
            #expect(try socket.link(named: "cwewg")?.mtu == 1380)
            #expect(try socket.addresses(index: index).map(\.address) == [IPAddress("10.9.0.1")!])
            try await backend.remove()
            #expect(try socket.link(named: "cwewg") == nil)
            #expect(access(DeviceProgram.socketPath("cwewg"), F_OK) != 0)
            try await backend.remove()
            await #expect(throws: TunnelError.notCreated("cwewg")) { try await backend.status() }
        }

        @Test(.timeLimit(.minutes(1))) func aKilledDeviceIsStartedAgain() async throws {
            let backend = try await backend("cwewg")
            let index = try await backend.create()
            let configuration = BigTunnel("cwewg", peers: 3, prefixesEach: 2).configuration
            _ = try await backend.apply(configuration, endpoints: [:])
            let first = try devicePID("cwewg")
            kill(first, SIGKILL)
            // It says so, and the interface stays: nothing takes another way meanwhile.
            var health = try await backend.status().health
            for _ in 0..<200 where health != .restarting(reason: "signal 9", attempt: 1) {
                try await Task.sleep(for: .milliseconds(2))
                health = try await backend.status().health
            }
            #expect(health == .restarting(reason: "signal 9", attempt: 1))
            #expect(try NetlinkSocket(.route).link(named: "cwewg")?.index == index)
            await #expect(throws: TunnelError.self) { try await backend.apply(configuration, endpoints: [:]) }
            var status: TunnelStatus?
            for _ in 0..<300 where status?.peers.count != 3 {
                try await Task.sleep(for: .milliseconds(10))
                status = try? await backend.status()
            }
            #expect(status?.health == .running)
            #expect(status?.peers.count == 3)
            #expect(status?.publicKey == configuration.privateKey.publicKey)
            #expect(try devicePID("cwewg") != first)
            try await backend.remove()
        }

        @Test(.timeLimit(.minutes(1))) func whatACrashLeftIsEnded() async throws {
            // As a killed gateway leaves it: marked, held by a device that nobody looks after.
            let program = try await DeviceProgram.probe(path: try #require(DeviceProgram.find()))
            let tun = clinux_tun_open("cwewg", program.tunOptions)
            let socket = try NetlinkSocket(.route)
            let link = try #require(try socket.link(named: "cwewg"))
            try socket.perform(LinkRequest.change(index: link.index, name: "cwewg", LinkChange(alias: mark.alias)))
            let listener = try UAPISocket.listen("cwewg")
            let leftover = try DeviceProcess.start(program.path, interface: "cwewg", tun: tun, listener: listener)
            close(tun)
            close(listener)
            for _ in 0..<200 where (try? UAPISocket.exchange("cwewg", UAPIText.get)) == nil {
                try await Task.sleep(for: .milliseconds(10))
            }
            #expect(try devicePID("cwewg") == leftover.id)

            let backend = UserspaceBackend(interfaceName: "cwewg", mark: mark, program: program, logger: logger)
            let index = try await backend.create()
            #expect(index != link.index)
            #expect(leftover.reap() != nil)
            _ = try await backend.apply(BigTunnel("cwewg", peers: 1, prefixesEach: 1).configuration, endpoints: [:])
            #expect(try await backend.status().health == .running)
            try await backend.remove()
        }

        @Test(.timeLimit(.minutes(1))) func aDeletedInterfaceIsReportedAndMadeAgain() async throws {
            let backend = try await backend("cwewg")
            let index = try await backend.create()
            let configuration = BigTunnel("cwewg", peers: 2, prefixesEach: 1).configuration
            _ = try await backend.apply(configuration, endpoints: [:])
            let socket = try NetlinkSocket(.route)
            try socket.perform(LinkRequest.delete(index: index, name: "cwewg"))
            #expect(try await backend.status().health != .running)
            try await backend.remove()
            #expect(try await backend.create() != index)
            _ = try await backend.apply(configuration, endpoints: [:])
            let status = try await backend.status()
            #expect(status.health == .running)
            #expect(status.peers.count == 2)
            try await backend.remove()
            #expect(try socket.link(named: "cwewg") == nil)
        }

        @Test func anInterfaceOfSomebodyElseIsLeftAlone() async throws {
            let socket = try NetlinkSocket(.route)
            let stranger = clinux_tun_open("cwewg", 0)
            defer { close(stranger) }
            let backend = try await backend("cwewg")
            await #expect(throws: TunnelError.foreignInterface("cwewg", kind: "tun")) { try await backend.create() }
            try await backend.remove()
            #expect(try socket.link(named: "cwewg") != nil)
            await #expect(throws: TunnelError.foreignInterface("cwewg", kind: "tun")) {
                try await KernelBackend(interfaceName: "cwewg", mark: mark).create()
            }
        }

        @Test func aProgramThatIsNotADeviceIsReported() async throws {
            await #expect(throws: TunnelError.self) { try await DeviceProgram.probe(path: "/bin/false") }
            await #expect(throws: TunnelError.self) { try await DeviceProgram.probe(path: "/nonexistent/wireguard-go") }
            let backend = UserspaceBackend(
                interfaceName: "cwewg", mark: mark, program: DeviceProgram(path: "/bin/false", tunOptions: 0), logger: logger)
            await #expect(throws: TunnelError.self) { try await backend.create() }
            #expect(try NetlinkSocket(.route).link(named: "cwewg") == nil)
            #expect(access(DeviceProgram.socketPath("cwewg"), F_OK) != 0)
        }

        /// The same as a service runs: another user with CAP_NET_ADMIN and nothing else.
        @Test(.enabled(if: getuid() == 0 && !Stage.isUnprivileged)) func withoutRoot() throws {
            try sh("chown 65534 /run/wireguard")
            defer { _ = try? sh("chown 0 /run/wireguard") }
            let (code, output) = try Stage.again(
                [
                    "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all,+net_admin",
                    "--ambient-caps=-all,+net_admin",
                    "--bounding-set=-all,+net_admin", "env", "CAUSEWAY_UNPRIVILEGED=1",
                ], filter: "UserspaceBackendTests", seconds: 60)
            #expect(code == 0, "\(output)")
            #expect(output.contains("Test aKilledDeviceIsStartedAgain() passed"), "\(output)")
        }

        private func devicePID(_ interface: String) throws -> pid_t {
            let connection = try UAPISocket.connect(interface)
            defer { close(connection) }
            var id: pid_t = 0
            #expect(clinux_peer_pid(connection, &id) == 0)
            #expect(id != getpid())
            return id
        }
    }
}
